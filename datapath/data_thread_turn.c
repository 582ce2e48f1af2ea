#ifdef __linux__ /* by epoll */
/* What a data thread does for its guests: a turn of one, and the line of those that have input. */
#include "data_thread_parts.h"

#include "clock.h"
#include "words.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    TURN_WORK = 512 << 10, /* the budget of a turn, as in turns.py */
    RECEIVES = 4,          /* in one turn, while the rest of a long PDU is there */
};

/* -- the line of those that have input */

void line_join(struct data_thread *thread, struct guest *guest)
{
    if (guest->in_line)
        return;
    guest->in_line = true;
    thread->in_line++;
    thread->held_up += guest->held_up;
    guest->next_in_line = NULL;
    if (thread->first == NULL)
        thread->first = guest;
    else
        thread->last->next_in_line = guest;
    thread->last = guest;
}

void line_leave(struct data_thread *thread, struct guest *guest)
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
    thread->in_line--;
    thread->held_up -= guest->held_up;
}

/* -- one guest */

static void wait_for_socket(struct data_thread *thread, struct guest *guest, bool sends)
{
    struct epoll_event event = {.events = sends ? EPOLLOUT : EPOLLIN, .data.ptr = guest};

    if (guest->sends != sends || guest->deaf)
        epoll_ctl(thread->poller, EPOLL_CTL_MOD, guest->fd, &event);
    guest->sends = sends;
    guest->deaf = false;
}

/* More input has come, which has to wait too: else it would be told of all the time. */
static void turn_deaf(struct data_thread *thread, struct guest *guest)
{
    struct epoll_event event = {.events = 0, .data.ptr = guest};

    if (!guest->deaf)
        epoll_ctl(thread->poller, EPOLL_CTL_MOD, guest->fd, &event);
    guest->deaf = true;
}

/* Keep the first "end" bytes of the buffer; false: there is no memory for them. */
static bool keep_input(struct data_thread *thread, struct guest *guest, size_t end)
{
    if (!guest_keep(&guest->input, &guest->input_length, thread->in, end))
        return false;
    thread->kept += end;
    return true;
}

void guest_wait(struct data_thread *thread, struct guest *guest)
{
    wait_for_socket(thread, guest, guest->output != NULL);
}

void guest_break(const struct guest *guest)
{
    shutdown(guest->fd, SHUT_RDWR);
}

/* Whether the PDU at the buffer's beginning, which has not all come, will ever fit into it. */
static bool will_fit(const struct data_thread *thread, size_t end)
{
    return end < BHS_LENGTH || (be32(thread->in + 4) & 0xffffff) + 2 * BHS_LENGTH <= RECEIVE_SIZE;
}

/* How much more may be kept for guests. */
static size_t room_of(const struct data_thread *thread)
{
    size_t kept = all_kept(thread);

    return kept < MOST_KEPT ? MOST_KEPT - kept : 0;
}

/*
 * Serve the long segment that was on its way and the PDUs up to "end" of the buffer. What is left of them is moved to its
 * beginning, and *end is where that ends; or it is the beginning of another long segment, and goes where it belongs.
 */
static enum stop serve_batch(struct data_thread *thread, struct guest *guest, size_t *end, size_t *put)
{
    const struct buffers buffers = {thread->in, thread->out, OUT_SIZE, 0};
    struct batch batch = batch_of(guest->path, &buffers, 0, *end, TURN_WORK);
    enum stop stop;

    thread->kept -= guest->path->transfers.awaited + guest->segment.size;
    batch.user = thread->user;
    batch.memory = &thread->memory;
    thread->user->held_up = false;
    if (guest->watch.mask)
        batch.watch = guest->watch;
    user_enter(thread->user);
    stop = segment_serve(&guest->segment, &batch);
    if (stop == SERVED)
        stop = batch_serve(&batch);
    user_leave(thread->user);
    if (stop == INCOMPLETE && guest->segment.data == NULL)
        segment_begin(&guest->segment, &batch, room_of(thread));
    batch_commit(&batch);
    guest->path->tail = 0;
    thread->kept += guest->path->transfers.awaited + guest->segment.size;
    *put = batch.tail;
    *end -= batch.pos;
    if (batch.pos != 0)
        memmove(thread->in, thread->in + batch.pos, *end);
    if (stop == INCOMPLETE && !will_fit(thread, *end))
        return OTHER;
    return thread->user->slow_store == NULL ? stop : OTHER; /* the store is told by the loop's thread */
}

enum turn { GOES_ON, WAITS, HELD_UP, LEAVES, BROKEN };

/*
 * Whether what stopped a batch is only a flight of another ring, which lands soon: then its connection waits here. At home it
 * would become a task, which all connections to its unit are called back for.
 */
static bool may_wait(const struct data_thread *thread)
{
    return thread->user->held_up && thread->user->slow_store == NULL && all_kept(thread) <= MOST_KEPT;
}

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
    if (stop == OTHER && may_wait(thread))
        return guest->output != NULL ? WAITS : HELD_UP;
    if (all_kept(thread) > MOST_KEPT || (stop != INCOMPLETE && stop != BUDGET && stop != OUTPUT_FULL))
        return LEAVES;
    if (guest->output != NULL || stop != INCOMPLETE)
        return WAITS;
    return GOES_ON;
}

/* Room in the buffer behind "end" bytes: what is there goes back behind a long segment, and all has to fit then. */
static size_t room_behind(const struct guest *guest, size_t end)
{
    const struct segment *segment = &guest->segment;

    return RECEIVE_SIZE - end - (segment->data == NULL ? 0 : sizeof segment->header + segment->length);
}

/* Receive the rest of a long segment, and what is behind it. */
static ssize_t receive_in_place(struct data_thread *thread, struct guest *guest, size_t end)
{
    struct segment *segment = &guest->segment;
    struct iovec places[2] = {{segment->data + segment->have, segment_missing(segment)},
                              {thread->in + end, room_behind(guest, end)}};
    struct msghdr message = {.msg_iov = places, .msg_iovlen = 2};

    return recvmsg(guest->fd, &message, MSG_DONTWAIT);
}

/* Receive behind "*end" bytes: false when there is nothing to receive now; *over when there never will be. */
static bool receive(struct data_thread *thread, struct guest *guest, size_t *end, bool *over)
{
    size_t missing = segment_missing(&guest->segment), placed;
    ssize_t count;

    do
        count = missing != 0 ? receive_in_place(thread, guest, *end)
                             : recv(guest->fd, thread->in + *end, room_behind(guest, *end), MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (count > 0) {
        placed = (size_t)count < missing ? (size_t)count : missing;
        guest->segment.have += placed;
        *end += (size_t)count - placed;
        guest->path->now = monotonic_now();
        word_store(&guest->path->heard, guest->path->now);
        return true;
    }
    *over = count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    return false;
}

/* Keep in mind whether it is held up, and since when at this command; false: it has been for too long. */
static bool hold_up(const struct data_thread *thread, struct guest *guest, enum turn turn)
{
    uint64_t now;

    guest->held_up = turn == HELD_UP;
    if (turn != HELD_UP) {
        guest->held_since = 0;
        return true;
    }
    now = monotonic_now();
    if (guest->held_since == 0 || guest->held_at != guest->path->exp_cmdsn)
        guest->held_since = now;
    guest->held_at = guest->path->exp_cmdsn;
    return now - guest->held_since <= __atomic_load_n(&thread->patience, __ATOMIC_RELAXED);
}

/* The end of a turn: keep what is left, and wait or leave. */
static void end_turn(struct data_thread *thread, struct guest *guest, enum turn turn, size_t end)
{
    if (!hold_up(thread, guest, turn))
        turn = LEAVES;
    if (!keep_input(thread, guest, end) || turn == BROKEN) {
        guest_break(guest);
        data_thread_give_back(thread, guest);
        return;
    }
    if (turn == LEAVES) {
        data_thread_give_back(thread, guest);
        return;
    }
    guest_wait(thread, guest);
    if (turn == HELD_UP || (turn == WAITS && guest->output == NULL))
        line_join(thread, guest);
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
        if (end == 0 && guest->segment.data == NULL)
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
        data_thread_give_back(thread, guest);
    } else if (guest->output == NULL) {
        wait_for_socket(thread, guest, false);
        line_join(thread, guest); /* there may be input that waited for this */
    }
}

/* Errors are met by whoever receives or sends. */
void guest_on_event(struct data_thread *thread, struct guest *guest)
{
    if (guest->sends)
        send_more(thread, guest);
    else if (!guest->in_line) /* else its turn comes */
        take_turn(thread, guest, false);
    else if (guest->held_up)
        turn_deaf(thread, guest);
}

/* Each of those that are in line now has one turn. */
void line_serve(struct data_thread *thread)
{
    const struct guest *last = thread->last;
    bool more = thread->first != NULL;

    while (more) {
        struct guest *guest = thread->first;
        more = guest != last;
        line_leave(thread, guest);
        take_turn(thread, guest, true);
    }
}

#endif
