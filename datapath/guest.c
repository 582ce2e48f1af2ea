#ifdef __linux__ /* by epoll and eventfd */
#include "guest.h"

#include "words.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

bool guest_keep(uint8_t **place, size_t *length, const uint8_t *from, size_t count)
{
    if (count == 0)
        return true;
    *place = malloc(count);
    if (*place == NULL)
        return false;
    memcpy(*place, from, count);
    *length = count;
    return true;
}

void guest_forget(uint8_t **place, size_t *length)
{
    free(*place);
    *place = NULL;
    *length = 0;
}

/* How much of it the socket took; -1: it is broken. */
static ssize_t send_some(int fd, const uint8_t *from, size_t count)
{
    size_t sent = 0;

    while (sent < count) {
        ssize_t taken = send(fd, from + sent, count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (taken > 0)
            sent += (size_t)taken;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)sent;
}

/* Keep more behind what is kept of its output. */
static bool keep_more(struct guest *guest, const uint8_t *from, size_t count)
{
    uint8_t *longer = realloc(guest->output, guest->output_length + count);

    if (longer == NULL)
        return false;
    memcpy(longer + guest->output_length, from, count);
    guest->output = longer;
    guest->output_length += count;
    return true;
}

bool guest_send(struct guest *guest, const uint8_t *from, size_t count)
{
    ssize_t sent;

    guest->put += count;
    if (guest->output != NULL)
        return keep_more(guest, from, count);
    sent = send_some(guest->fd, from, count);
    guest->output_sent = 0;
    if (sent < 0) /* its poller tells of it too, and then it goes back */
        sent = 0;
    return guest_keep(&guest->output, &guest->output_length, from + sent, count - (size_t)sent);
}

bool guest_send_kept(struct guest *guest)
{
    ssize_t sent = send_some(guest->fd, guest->output + guest->output_sent, guest->output_length - guest->output_sent);

    if (sent < 0)
        return false;
    guest->output_sent += (size_t)sent;
    if (guest->output_sent == guest->output_length)
        guest_forget(&guest->output, &guest->output_length);
    return true;
}

/* Count the path among those that lead through its gates to a data thread, or no more. */
static void lend_gates(struct path *path, int more)
{
    for (size_t i = 0; i < path->gates.size; i++) {
        struct gate *gate = path->gates.entries[i].gate;
        if (gate == NULL)
            continue;
        gate->lent += (uint64_t)(int64_t)more;
        gate_add_up(gate);
    }
}

/* Have who looks ready for what a data thread does with it; 0, or -1 with an exception. */
static int let_look(struct guest *guest, PyObject *object, struct user *user)
{
    struct tracers *tracers = (struct tracers *)(void *)object;
    const struct gates *gates = &guest->path->gates;
    struct source *source = &guest->watch.source;
    uint64_t *luns;

    if (source_read(source, guest->path->info) < 0)
        return -1;
    luns = malloc((gates->count + 1) * sizeof *luns);
    if (luns == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    source->luns = luns;
    for (size_t i = 0; i < gates->size; i++)
        if (gates->entries[i].gate != NULL)
            luns[source->lun_count++] = gates->entries[i].gate->number;
    Py_INCREF(object);
    guest->tracers = object;
    guest->watch.tracers = tracers;
    guest->watch.mask = tracers->mask;
    tracers_open(tracers, source, user, guest->places);
    free(luns);
    source->luns = NULL;
    source->lun_count = 0;
    return 0;
}

void guest_begin_firing(struct guest *guest, struct user *user)
{
    pthread_mutex_lock(&user->counts);
    tracers_begin(guest->watch.tracers);
}

/* What the socket has taken ends transfers of reads, as Output._fire_marks has it. */
void guest_end_firing(struct guest *guest, struct user *user)
{
    const struct path *path = guest->path;
    size_t unsent = guest->output == NULL ? 0 : guest->output_length - guest->output_sent;

    marks_fire((PyObject *)path->marks, guest->watch.tracers, &guest->watch.source,
               path->chunk_begin + guest->put - unsent);
    tracers_end(guest->watch.tracers);
    pthread_mutex_unlock(&user->counts);
}

static void look_away(struct guest *guest)
{
    if (guest->tracers != NULL)
        tracers_close((struct tracers *)(void *)guest->tracers, guest->places);
    Py_CLEAR(guest->tracers);
}

/* It was never lent. */
static struct guest *give_up(struct guest *guest)
{
    look_away(guest);
    free(guest->input);
    free(guest);
    return NULL;
}

struct guest *guest_new(struct path *path, int fd, PyObject *owner, const Py_buffer *input, PyObject *tracers,
                        struct user *user)
{
    size_t looking = tracers_check(tracers) ? ((struct tracers *)(void *)tracers)->count : 0;
    struct guest *guest = calloc(1, sizeof *guest + looking * sizeof guest->places[0]);

    if (guest == NULL || !guest_keep(&guest->input, &guest->input_length, input->buf, (size_t)input->len)) {
        free(guest);
        PyErr_NoMemory();
        return NULL;
    }
    guest->path = path;
    if (looking != 0 && let_look(guest, tracers, user) < 0)
        return give_up(guest);
    if (!transfers_leave(&path->transfers, &path->memory)) {
        PyErr_NoMemory();
        return give_up(guest);
    }
    memory_pass_on(&path->memory, path->memory.used); /* what its commands wait for, the thread holds */
    word_store(&path->waiting, path->transfers.count);
    guest->since = path->transfers.count != 0 ? transfers_since(&path->transfers) : path->now;
    Py_INCREF((PyObject *)path);
    Py_INCREF(owner);
    guest->owner = owner;
    guest->fd = fd;
    path->guest = guest;
    path->busy = true;
    lend_gates(path, 1);
    return guest;
}

/* Its commands that wait for data are Python's again. Where there is no memory for them, the connection is over. */
static void return_transfers(struct guest *guest)
{
    if (transfers_return(&guest->path->transfers, &guest->path->memory))
        return;
    shutdown(guest->fd, SHUT_RDWR);
    guest_forget(&guest->input, &guest->input_length);
}

PyObject *guest_take_home(struct guest *guest)
{
    struct path *path = guest->path;
    bool sent = guest->output == NULL;
    const char *input, *output = sent ? "" : (const char *)guest->output + guest->output_sent;
    PyObject *result;

    return_transfers(guest);
    flights_come_home(path);
    path->memory.held = path->memory.used = path->transfers.awaited; /* take_back claims it */
    input = guest->input == NULL ? "" : (const char *)guest->input;
    result = Py_BuildValue("(Oy#y#K)", guest->owner, input, (Py_ssize_t)guest->input_length, output,
                           (Py_ssize_t)(sent ? 0 : guest->output_length - guest->output_sent),
                           (unsigned long long)guest->put);

    if (guest->slow_store != NULL && result != NULL)
        shortcut_was_slow(guest->slow_store, guest->slow);
    lend_gates(path, -1);
    path->busy = false;
    path->guest = NULL;
    guest_forget(&guest->input, &guest->input_length);
    guest_forget(&guest->output, &guest->output_length);
    look_away(guest);
    Py_DECREF(guest->owner);
    free(guest);
    Py_DECREF((PyObject *)path);
    return result;
}

#endif
