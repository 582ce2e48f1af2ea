/* A tracer that writes its events as records for a reader; not the io_uring of ring.h. */
#ifndef TRACE_RING_H
#define TRACE_RING_H

#include "trace.h"

enum { TRACE_HEADER = 4096, RECORD = 128 };

struct trace_ring {
    struct tracer base;
    Py_buffer memory; /* obj is NULL once it was let go */
    uint8_t *records; /* in it */
    uint64_t *header; /* before them; NULL with "grant" */
    Py_buffer positions; /* of the reader; obj is NULL with "grant" */
    const uint64_t *position;
    PyObject *introduce, *grant;
    uint64_t capacity; /* records, a power of two */
    uint64_t written, limit;
    uint64_t read, drops; /* the last position that made sense */
    PyObject *last; /* the connection of the last record, as it was then */
    int64_t generation;
};

/* What its base calls, as trace.h says. */
int trace_ring_take(struct tracer *self, struct event *event);
int trace_ring_open(struct tracer *self, const struct source *source, struct user *user, void **place);
void trace_ring_close(struct tracer *self, void *place);
void trace_ring_look(struct tracer *self, bool begins);

#endif
