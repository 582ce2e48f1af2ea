/* Reads whose data waits to be sent: a queue, of which Python sees tuples (Mark of iscsitools/probes/subscribers.py). */
#ifndef TRACE_MARKS_H
#define TRACE_MARKS_H

#include "python.h"

#include <stddef.h>
#include <stdint.h>

#include "trace_set.h"

/* Where in all that is ever sent a read's data ends, and what it was. */
struct mark {
    uint64_t place, lun, address;
    uint32_t itt, offset, length;
};

/* A Python object with append, popleft, clear, len(), [index]. */
struct marks {
    PyObject_HEAD
    struct mark *entries;
    size_t size, first, count; /* size: a power of two, or 0 */
};

/* A new, empty one; NULL with an exception. */
PyObject *marks_new(void);

/* Put one at the end; 0, or -1 without memory. A data thread may. */
int marks_append(struct marks *marks, const struct mark *mark);

/* Fire xfer-done of those that end up to "upto", and take them off. An object that is no such queue stays as it is. */
void marks_fire(PyObject *object, const struct tracers *set, const struct source *source, uint64_t upto);

/* Make the type; 0, or -1 with an exception. */
int marks_init(void);

#endif
