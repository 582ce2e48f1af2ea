#ifdef __linux__ /* by epoll */
/* What a data thread does for its guests: a turn of one, and the line of those that have input. */
#include "data_thread_parts.h"

#include "clock.h"
#include "words.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    TURN_WORK = 512 << 10, /* the budget of a turn, as in turns.py */
    RECEIVES = 4,          /* in one turn, while the rest of a long PDU is there */
    MOST_KEPT = 32 << 20,  /* of all guests; who needs more goes back, where all memory is counted */
};

/* -- the line of those that have input */

void line_join(struct data_thread *thread, struct guest *guest)
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
}

/* -- one guest */

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
    data_thread_give_back(thread, guest);
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
        guest->path->now = monotonic_now();
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
        data_thread_give_back(thread, guest);
        return;
    }
    wait_for_socket(thread, guest, guest->output != NULL);
    if (turn == WAITS && guest->output == NULL)
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
