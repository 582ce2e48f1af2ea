#ifdef __linux__ /* by epoll and eventfd */
#include "data_thread.h"

#include "words.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    OUT_SIZE = 1 << 20,
    TURN_WORK = 512 << 10, /* the budget of a turn, as in turns.py */
    RECEIVES = 4,          /* in one turn, while the rest of a long PDU is there */
    EVENTS = 64,
    MOST_KEPT = 32 << 20, /* of all guests; who needs more goes back, where all memory is counted */
};

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void clear_fd(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* -- the lists, by which the threads meet */

static void push(struct guest **list, struct guest *guest)
{
    guest->next = *list;
    *list = guest;
}

static void take_out(struct guest **list, const struct guest *guest)
{
    while (*list != NULL && *list != guest)
        list = &(*list)->next;
    if (*list != NULL)
        *list = guest->next;
}

void data_thread_lend(struct data_thread *thread, struct guest *guest)
{
    guest->thread = thread;
    guest->stage = COMING;
    pthread_mutex_lock(&thread->lock);
    thread->guests++;
    push(&thread->coming, guest);
    pthread_mutex_unlock(&thread->lock);
    signal_fd(thread->wake);
}

void data_thread_recall(struct data_thread *thread, struct guest *guest)
{
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    if (guest->stage != GOING) {
        guest->called = true;
        if (guest->stage == SERVED_THERE)
            push(&thread->coming, guest);
        signal_fd(thread->wake);
        while (guest->stage != GOING)
            pthread_cond_wait(&thread->changed, &thread->lock);
    }
    take_out(&thread->going, guest);
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
}

struct guest *data_thread_gone(struct data_thread *thread)
{
    struct guest *list;

    clear_fd(thread->ready);
    pthread_mutex_lock(&thread->lock);
    list = thread->going;
    thread->going = NULL;
    pthread_mutex_unlock(&thread->lock);
    return list;
}

/* -- the line of those that have input */

static void stand_in_line(struct data_thread *thread, struct guest *guest)
{
    if (guest->in_line)
        return;
    guest->in_line = true;
    guest->next_in_line = NULL;
    if (thread->first == NULL)
        thread->first = guest;
    else
        thread->last->next_in_line = guest;
    thread->last = guest;
}

static void leave_line(struct data_thread *thread, struct guest *guest)
{
    struct guest *before = NULL;

    if (!guest->in_line)
        return;
    for (struct guest *each = thread->first; each != guest; each = each->next_in_line)
        before = each;
    if (before == NULL)
        thread->first = guest->next_in_line;
    else
        before->next_in_line = guest->next_in_line;
    if (thread->last == guest)
        thread->last = before;
    guest->in_line = false;
}

/* -- one guest */

/* Bytes that are kept of it, or for data of its commands that has not come yet. */
static size_t kept_of(const struct guest *guest)
{
    return guest->input_length + guest->output_length + guest->path->transfers.awaited;
}

/* It goes back: whoever has called it finds it, or the loop's thread is told. */
static void give_back(struct data_thread *thread, struct guest *guest)
{
    bool tells;

    epoll_ctl(thread->poller, EPOLL_CTL_DEL, guest->fd, NULL);
    leave_line(thread, guest);
    thread->kept -= kept_of(guest);
    guest->slow_store = thread->user->slow_store;
    memcpy(guest->slow, thread->user->slow, sizeof guest->slow);
    thread->user->slow_store = NULL;
    pthread_mutex_lock(&thread->lock);
    take_out(&thread->coming, guest); /* it is called back just now */
    tells = thread->going == NULL && !guest->called;
    if (!guest->called)
        push(&thread->going, guest);
    guest->stage = GOING;
    thread->guests--;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
    if (tells)
        signal_fd(thread->ready);
}

static void wait_for_socket(struct data_thread *thread, struct guest *guest, bool sends)
{
    struct epoll_event event = {.events = sends ? EPOLLOUT : EPOLLIN, .data.ptr = guest};

    if (guest->sends != sends)
        epoll_ctl(thread->poller, EPOLL_CTL_MOD, guest->fd, &event);
    guest->sends = sends;
}

/* Keep the first "end" bytes of the buffer; false: there is no memory for them. */
static bool keep_input(struct data_thread *thread, struct guest *guest, size_t end)
{
    if (!guest_keep(&guest->input, &guest->input_length, thread->in, end))
        return false;
    thread->kept += end;
    return true;
}

/* There is no memory for bytes of its stream: it cannot go on. Whoever takes it finds it closed. */
static void abandon(struct data_thread *thread, struct guest *guest)
{
    shutdown(guest->fd, SHUT_RDWR);
    give_back(thread, guest);
}

/* Whether the PDU at the buffer's beginning, which has not all come, will ever fit into it. */
static bool will_fit(const struct data_thread *thread, size_t end)
{
    return end < BHS_LENGTH || (be32(thread->in + 4) & 0xffffff) + 2 * BHS_LENGTH <= RECEIVE_SIZE;
}

/* Serve the PDUs up to "end" of the buffer; what is left of them is moved to its beginning, and *end is where that ends. */
static enum stop serve_batch(struct data_thread *thread, struct guest *guest, size_t *end, size_t *put)
{
    const struct buffers buffers = {thread->in, thread->out, OUT_SIZE, 0};
    struct batch batch = batch_of(guest->path, &buffers, 0, *end, TURN_WORK);
    enum stop stop;

    thread->kept -= guest->path->transfers.awaited;
    batch.user = thread->user;
    if (guest->watch.mask)
        batch.watch = guest->watch;
    user_enter(thread->user);
    stop = batch_serve(&batch);
    user_leave(thread->user);
    batch_commit(&batch);
    guest->path->tail = 0;
    thread->kept += guest->path->transfers.awaited;
    *put = batch.tail;
    *end -= batch.pos;
    if (batch.pos != 0)
        memmove(thread->in, thread->in + batch.pos, *end);
    if (stop == INCOMPLETE && !will_fit(thread, *end))
        return OTHER;
    return thread->user->slow_store == NULL ? stop : OTHER; /* the store is told by the loop's thread */
}

enum turn { GOES_ON, WAITS, LEAVES, BROKEN };

/* Serve what is in the buffer and send the answers. GOES_ON: *end bytes of a PDU are there, and more may be received. */
static enum turn serve(struct data_thread *thread, struct guest *guest, size_t *end)
{
    size_t put = 0;
    enum stop stop;
    bool sent;

    if (guest->watch.mask)
        guest_begin_firing(guest, thread->user);
    stop = serve_batch(thread, guest, end, &put);
    sent = guest_send(guest, thread->out, put);
    if (guest->watch.mask)
        guest_end_firing(guest, thread->user);
    thread->kept += guest->output_length;
    if (!sent)
        return BROKEN;
    if (thread->kept > MOST_KEPT || (stop != INCOMPLETE && stop != BUDGET && stop != OUTPUT_FULL))
        return LEAVES;
    if (guest->output != NULL || stop != INCOMPLETE)
        return WAITS;
    return GOES_ON;
}

/* Receive behind "*end" bytes: false when there is nothing to receive now; *over when there never will be. */
static bool receive(struct data_thread *thread, struct guest *guest, size_t *end, bool *over)
{
    ssize_t count;

    do
        count = recv(guest->fd, thread->in + *end, RECEIVE_SIZE - *end, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (count > 0) {
        *end += (size_t)count;
        guest->path->now = now();
        word_store(&guest->path->heard, guest->path->now);
        return true;
    }
    *over = count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    return false;
}

/* The end of a turn: keep what is left, and wait or leave. */
static void end_turn(struct data_thread *thread, struct guest *guest, enum turn turn, size_t end)
{
    if (!keep_input(thread, guest, end) || turn == BROKEN) {
        abandon(thread, guest);
        return;
    }
    if (turn == LEAVES) {
        give_back(thread, guest);
        return;
    }
    wait_for_socket(thread, guest, guest->output != NULL);
    if (turn == WAITS && guest->output == NULL)
        stand_in_line(thread, guest);
}

/* Take what was kept of its input into the buffer; returns how much. */
static size_t take_input(struct data_thread *thread, struct guest *guest)
{
    size_t length = guest->input_length;

    if (length != 0)
        memcpy(thread->in, guest->input, length);
    thread->kept -= length;
    guest_forget(&guest->input, &guest->input_length);
    return length;
}

/* A turn of a guest: what was kept of its input is served first (kept), else something is received. */
static void take_turn(struct data_thread *thread, struct guest *guest, bool kept)
{
    size_t end = take_input(thread, guest);
    enum turn turn = GOES_ON;
    bool over = false;

    if (kept)
        turn = serve(thread, guest, &end);
    for (int i = 0; turn == GOES_ON && i < RECEIVES; i++) {
        if (!receive(thread, guest, &end, &over))
            break;
        turn = serve(thread, guest, &end);
        if (end == 0)
            break; /* the others have their turn; what has come since is told again */
    }
    end_turn(thread, guest, over ? LEAVES : turn, end);
}

/* Its socket takes more, or is broken. */
static void send_more(struct data_thread *thread, struct guest *guest)
{
    bool sent;

    thread->kept -= guest->output_length;
    if (guest->watch.mask)
        guest_begin_firing(guest, thread->user);
    sent = guest_send_kept(guest);
    if (guest->watch.mask)
        guest_end_firing(guest, thread->user);
    thread->kept += guest->output_length;
    if (!sent) {
        give_back(thread, guest);
    } else if (guest->output == NULL) {
        wait_for_socket(thread, guest, false);
        stand_in_line(thread, guest); /* there may be input that waited for this */
    }
}

/* Errors are met by whoever receives or sends. */
static void on_event(struct data_thread *thread, struct guest *guest)
{
    if (guest->sends)
        send_more(thread, guest);
    else if (!guest->in_line) /* else its turn comes */
        take_turn(thread, guest, false);
}

/* -- the loop */

static bool admit(struct data_thread *thread, struct guest *guest)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};

    thread->kept += kept_of(guest);
    if (epoll_ctl(thread->poller, EPOLL_CTL_ADD, guest->fd, &event) < 0)
        return false;
    if (guest->input != NULL)
        stand_in_line(thread, guest);
    return true;
}

/* Those that come, and those that are called back; false: it is the end. */
static bool meet(struct data_thread *thread)
{
    bool ends;

    for (;;) {
        struct guest *guest;
        bool comes, called;
        pthread_mutex_lock(&thread->lock);
        ends = thread->ends;
        guest = thread->coming;
        if (guest == NULL)
            break;
        thread->coming = guest->next;
        comes = guest->stage == COMING;
        called = guest->called;
        guest->stage = SERVED_THERE;
        pthread_mutex_unlock(&thread->lock);
        if ((comes && !admit(thread, guest)) || called)
            give_back(thread, guest);
    }
    pthread_mutex_unlock(&thread->lock);
    return !ends;
}

/* Each of those that are in line now has one turn. */
static void serve_line(struct data_thread *thread)
{
    const struct guest *last = thread->last;
    bool more = thread->first != NULL;

    while (more) {
        struct guest *guest = thread->first;
        more = guest != last;
        leave_line(thread, guest);
        take_turn(thread, guest, true);
    }
}

/* What is ready; *found: whether something was the last time, so that it looks again for a while (busy_poll). */
static int wait_for_events(const struct data_thread *thread, struct epoll_event *events, bool *found)
{
    uint64_t busy_poll = __atomic_load_n(&thread->busy_poll, __ATOMIC_RELAXED);
    int count = 0;

    if (*found && busy_poll != 0 && thread->first == NULL) {
        uint64_t until = now() + busy_poll;
        do
            count = epoll_wait(thread->poller, events, EVENTS, 0);
        while (count == 0 && now() < until);
    }
    if (count == 0)
        count = epoll_wait(thread->poller, events, EVENTS, thread->first != NULL ? 0 : -1);
    *found = count > 0;
    return count;
}

/* Where to begin with so many events: anywhere, for who is always last has less than the others (Loop._from_anywhere). */
static int anywhere(struct data_thread *thread, int count)
{
    thread->draw ^= thread->draw << 13; /* xorshift */
    thread->draw ^= thread->draw >> 17;
    thread->draw ^= thread->draw << 5;
    return count > 1 ? (int)(thread->draw % (uint32_t)count) : 0;
}

static void *run(void *argument)
{
    struct data_thread *thread = argument;
    struct epoll_event events[EVENTS];
    bool goes_on = true, found = false;

    while (goes_on) {
        int count = wait_for_events(thread, events, &found);
        int first = anywhere(thread, count);
        bool woken = false;
        for (int i = 0; i < count; i++) {
            struct guest *guest = events[(first + i) % count].data.ptr;
            if (guest == NULL)
                woken = true; /* later: who goes back now may have another event here */
            else
                on_event(thread, guest);
        }
        serve_line(thread);
        if (woken) {
            clear_fd(thread->wake);
            goes_on = meet(thread);
        }
    }
    return NULL;
}

/* -- start and end */

int data_thread_start(struct data_thread *thread)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    sigset_t all, before;
    int error;

    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->changed, NULL);
    thread->poller = epoll_create1(EPOLL_CLOEXEC);
    thread->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    thread->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    thread->in = malloc(RECEIVE_SIZE);
    thread->out = malloc(OUT_SIZE);
    thread->user = users_add();
    if (thread->poller < 0 || thread->wake < 0 || thread->ready < 0
        || epoll_ctl(thread->poller, EPOLL_CTL_ADD, thread->wake, &event) < 0)
        return errno;
    if (thread->in == NULL || thread->out == NULL || thread->user == NULL)
        return ENOMEM;
    sigfillset(&all); /* signals are for Python's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread->thread, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    thread->running = error == 0;
    return error;
}

static void end_run(struct data_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    thread->ends = true;
    pthread_mutex_unlock(&thread->lock);
    signal_fd(thread->wake);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(thread->thread, NULL);
    Py_END_ALLOW_THREADS
    thread->running = false;
}

void data_thread_end(struct data_thread *thread)
{
    const int fds[] = {thread->poller, thread->wake, thread->ready};

    if (thread->running)
        end_run(thread);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    thread->poller = thread->wake = thread->ready = -1;
    free(thread->in);
    free(thread->out);
    thread->in = thread->out = NULL;
    if (thread->user != NULL)
        users_remove(thread->user);
    thread->user = NULL;
}

#endif
