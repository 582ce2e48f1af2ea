/*
 * What Connection.received and TcpConnection.flush do between two looks at the sockets, for a connection of which
 * nothing waits: receive, serve, send. One call instead of some twenty of Python's, which is most of what a turn of one
 * small command costs beside the kernel. It takes an open chunk that lies at hand, and what does not leave at once stays
 * in that, as if Python had put it there; what it does not serve stays in the receive buffer.
 *
 * The interpreter's lock is held throughout, over the two system calls too: neither waits, and whoever gets the lock in
 * between may keep it for five milliseconds.
 */
#include "turn.h"

#include "batch.h"
#include "words.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { RECEIVES = 4 }; /* in one turn, while the rest of a PDU is there; as in tcp_connection.py */
/*
 * The budget of a turn. What is left of it is served in a turn of Python's, out of another chunk, with three more calls of
 * the system; so it is more than theirs is, for a turn here takes less than half as long: a MiB of data and the headers.
 */
enum { HEADERS = 64 << 10, WORK = (1 << 20) + HEADERS };
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores that signal anyway */
#endif

struct turn {
    struct path *path;
    PyObject *chunk;
    int fd;
    size_t pos, end, budget, of_python; /* of_python: what it may spend beside */
    enum stop stop;
    bool over; /* nothing will come any more */
};

/* What comes next: the rest of a long data segment, and what is behind it; or what is behind the input. */
static ssize_t receive_some(const struct turn *turn)
{
    struct path *path = turn->path;
    struct iovec behind = {(uint8_t *)path->receive.buf + turn->end, (size_t)path->receive.len - turn->end};
    struct iovec pieces[] = {arriving_rest(&path->arriving), behind};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};

    if (path->arriving.buffer == NULL)
        return recv(turn->fd, behind.iov_base, behind.iov_len, MSG_DONTWAIT);
    return recvmsg(turn->fd, &message, MSG_DONTWAIT);
}

/* Receive behind what is there: 1, 0 when there is nothing now, or -1 with OSError. */
static int receive(struct turn *turn)
{
    ssize_t count;

    do
        count = receive_some(turn);
    while (count < 0 && errno == EINTR);
    if (count > 0) {
        struct arriving *arriving = &turn->path->arriving;
        turn->end += arriving->buffer == NULL ? (size_t)count : arriving_took(arriving, (size_t)count);
        return 1;
    }
    if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    turn->over = count == 0;
    return 0;
}

/* Send all of the chunk and begin it anew; false: the socket does not take all of it now, or is broken. */
static bool send_all(struct turn *turn)
{
    struct path *path = turn->path;
    const uint8_t *from = path->chunk.buf;

    while (path->sent - path->chunk_begin < path->tail) {
        size_t done = (size_t)(path->sent - path->chunk_begin);
        ssize_t taken = send(turn->fd, from + done, (size_t)path->tail - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (taken < 0 && errno != EINTR)
            return false; /* whoever sends the rest meets the error */
        path->sent += taken < 0 ? 0 : (uint64_t)taken;
    }
    path->chunk_begin += path->tail;
    path->tail = 0;
    return true;
}

/* The data segment on its way, if there is one: 1 when it has been served, 0 when it is Python's, or -1, an exception. */
static int end_segment(struct turn *turn)
{
    int result = arriving_serve(turn->path);

    if (result == 0)
        turn->stop = OTHER;
    return result;
}

/*
 * Serve what is in the buffer and send the answers: 1 while all of them have gone out, 0, or -1 with an exception. A long
 * data segment at its end, the rest of which is to come, is taken out.
 */
static int serve(struct turn *turn)
{
    struct path *path = turn->path;
    int served = 1;

    if (path->arriving.buffer != NULL) {
        if (arriving_rest(&path->arriving).iov_len == 0)
            served = end_segment(turn);
        if (path->arriving.buffer != NULL)
            return served;
    }
    do {
        size_t put;
        turn->stop = path_serve(path, &turn->pos, turn->end, turn->budget);
        if (turn->stop == RAISED)
            return -1;
        put = (size_t)path->tail;
        /* A refused flight has its answer put by Python, which may have exchanged the chunk. */
        if (path->chunk_object != turn->chunk || !send_all(turn))
            return 0;
        turn->budget -= put < turn->budget ? put : turn->budget;
    } while (turn->stop == OUTPUT_FULL && turn->budget > HEADERS);
    if (turn->stop == INCOMPLETE && arriving_begin(path, turn->pos, turn->end))
        turn->pos = turn->end = 0;
    return 1;
}

/* What is left of the input is moved to the buffer's beginning, to be followed by the next bytes. */
static void begin_anew(struct turn *turn)
{
    uint8_t *in = turn->path->receive.buf;

    turn->end -= turn->pos;
    memmove(in, in + turn->pos, turn->end);
    turn->pos = 0;
}

/* 0, or -1 with an exception. */
static int take(struct turn *turn)
{
    int going = 1;

    for (int i = 0; going > 0 && i < RECEIVES; i++) {
        if (turn->pos != 0)
            begin_anew(turn);
        if (turn->end == (size_t)turn->path->receive.len)
            break; /* a PDU that does not fit */
        going = receive(turn);
        if (going > 0)
            going = serve(turn);
        if (turn->stop != INCOMPLETE || (turn->pos == turn->end && turn->path->arriving.buffer == NULL))
            break; /* the others have their turn */
    }
    return going < 0 ? -1 : 0;
}

/* What turn returns: see path_state.py. */
static PyObject *result_of(const struct turn *turn)
{
    const struct path *path = turn->path;
    bool kept = path->chunk_begin + path->tail != path->sent || path->chunk_object != NULL;
    size_t budget = turn->budget < turn->of_python ? turn->budget : turn->of_python;

    if (turn->pos == turn->end && !turn->over && !kept && turn->stop == INCOMPLETE && path->marks->count == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("(nnOnOO)", (Py_ssize_t)turn->pos, (Py_ssize_t)turn->end, stop_object(turn->stop),
                         (Py_ssize_t)budget, kept ? Py_True : Py_False, turn->over ? Py_True : Py_False);
}

static bool may_begin_turn(const struct path *path)
{
    return !path->busy && path->chunk_object == NULL && path->chunk_begin + path->tail == path->sent;
}

PyObject *turn_take(struct path *path, int fd, PyObject *chunk, size_t fill, size_t of_python, uint64_t now)
{
    struct turn turn = {.path = path, .chunk = chunk, .fd = fd, .end = fill, .of_python = of_python,
                        .budget = WORK, .stop = INCOMPLETE};
    PyObject *result;
    int failed;

    path->alone = 0;
    if (!may_begin_turn(path))
        Py_RETURN_FALSE;
    path->now = now;
    word_store(&path->heard, now);
    if (path_enter_chunk(path, chunk) < 0)
        return NULL;
    path->chunk_begin += path->tail;
    path->tail = 0;
    failed = take(&turn);
    memory_settle(&path->memory);
    if (path->chunk_object == chunk && path->tail == 0)
        path_leave_chunk(path);
    result = failed ? NULL : result_of(&turn);
    path->alone = result == Py_None;
    return result;
}

PyObject *path_turn(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct path *path = (struct path *)self;
    const uint64_t most[] = {INT_MAX, (uint64_t)path->receive.len, UINT32_MAX, UINT64_MAX};
    uint64_t numbers[4];

    if (count != 5)
        return PyErr_Format(PyExc_TypeError, "takes 5 arguments, not %zd", count);
    for (int i = 0; i < 4; i++)
        if (number_of(args[i == 0 ? 0 : i + 1], most[i], &numbers[i]) < 0)
            return NULL;
    return turn_take(path, (int)numbers[0], args[1], (size_t)numbers[1], (size_t)numbers[2], numbers[3]);
}
