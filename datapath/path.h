/* The hot state of one connection, as iscsitools.iscsi.connection.datapath.DataPath has it in Python. */
#ifndef PATH_H
#define PATH_H

#include "arriving.h"
#include "flights.h"
#include "gates.h"
#include "python.h"
#include "tags.h"
#include "trace_marks.h"
#include "transfers.h"

/* Bytes of the largest READ that is answered here; and of the smallest chunk, which has room for it and its headers. */
enum { LARGEST_READ = 1 << 20, SMALLEST_CHUNK = LARGEST_READ + (128 << 10) };

struct path {
    PyObject_HEAD
    Py_buffer receive;      /* the receive buffer; its obj is the bytearray */
    PyObject *receive_view; /* a memoryview of it */
    PyObject *info, *probes;
    struct marks *marks;
    PyObject *chunk_object; /* the open chunk, or NULL */
    PyObject *chunk_view;   /* a memoryview of its bytes */
    Py_buffer chunk;
    struct tags *tags;
    struct gates gates;
    struct transfers transfers;
    struct flights flights;
    struct gate *departing; /* of flights that the kernel does not know of yet */
    uint64_t landed_in;     /* the last reaping in which flights have landed, by the ring's count */
    struct memory memory;
    struct arriving arriving;
    /* Serial numbers, all of 32 bits, and the command window (RFC 7143 4.2.2). */
    uint64_t exp_cmdsn, window, statsn, in_order;
    uint64_t header_digest, data_digest;
    /* What was agreed on. largest_in_parts: of a READ that is answered by several Data-Ins. */
    uint64_t largest_read, largest_in_parts, largest_write, max_send, max_burst, first_burst, initial_r2t, outstanding;
    uint64_t tail, chunk_begin, sent; /* sent: bytes of all that was put, which the socket took */
    uint64_t commands, read_bytes, written_bytes;
    uint64_t fired;
    uint64_t ttt, now; /* the last Target Transfer Tag; monotonic nanoseconds of the turn */
    uint64_t waiting;    /* commands that wait for data, at the end of the last batch */
    uint64_t alone;      /* nothing but its last turn has had to do with it, and that has left nothing */
    uint64_t heard;      /* when a data thread last received something of it, in monotonic nanoseconds */
    struct guest *guest; /* what a data thread has of it; NULL: it is the loop's thread's */
    bool busy; /* inside of consume, or a data thread's: its buffers may not be exchanged now */
};

static inline uint32_t max_cmdsn_of(const struct path *path)
{
    return (uint32_t)(path->exp_cmdsn + path->window - 1);
}

/* Whether it may be served from, with an exception: there is a chunk, and nobody is at it. 0 or -1. */
int path_check_open(const struct path *path);

/* Whether no data thread changes it now, with an exception: 0 or -1. */
int path_check_here(const struct path *path);

/* The methods that serve; see consume.c, turn.c and in_place.c. */
PyObject *path_consume(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *path_turn(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *path_write_in_place(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *path_data_in_place(PyObject *self, PyObject *const *args, Py_ssize_t count);

/* Who else has to see or take over a transfer; see path_transfers.c. */
PyObject *path_lend_by(PyObject *self, PyObject *args);
PyObject *path_place_for(PyObject *self, PyObject *args);
PyObject *path_take_over(PyObject *self, PyObject *itt);
PyObject *path_pending(PyObject *self, PyObject *unused);

/* The tables of the type; see path_methods.c and path_attributes.c. */
extern PyMethodDef path_methods[];
extern PyGetSetDef path_attributes[];
int path_attributes_init(void);

/* Make a chunk of Python's the open one; 0, or -1 with an exception. Let go of the open chunk, if there is one. */
int path_enter_chunk(struct path *path, PyObject *chunk);
void path_leave_chunk(struct path *path);

/* Make the type and put it into the module; 0, or -1 with an exception. */
int path_init(PyObject *module);

#endif
