/*
 * Who looks at the probes, in C: tracers, and the events that they get.
 *
 * A tracer is the ring of a reader, sums, or the provider for the system's tracers. All that are attached make one set
 * (trace_set.h), which the data path fires into, and Python's call sites too.
 */
#ifndef TRACE_H
#define TRACE_H

#include "python.h"

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* Numbers of probes, as in iscsitools/probes/table.py. */
enum {
    PROBE_SCSI_COMMAND = 6,
    PROBE_SCSI_RESPONSE = 7,
    PROBE_DATA_SEND = 8,
    PROBE_DATA_RECEIVE = 9,
    PROBE_TASK_COMMAND = 11,
    PROBE_TASK_RESPONSE = 12,
    PROBE_XFER_START = 16,
    PROBE_XFER_DONE = 17,
    PROBES = 20,
};

/*
 * A connection as its strings are now: a ConnectionInfo, its number, and how often the strings have changed.
 *
 * places: for a connection that a data thread serves, what each tracer of the set has for it (see open), or NULL where
 * it wants nothing of it. Of a connection of the loop's thread, where tracers may call Python: NULL.
 */
struct source {
    PyObject *info;
    uint32_t ident;
    int64_t generation;
    void **places;
    const uint64_t *luns; /* of the units that it may use there, while "open" is called */
    size_t lun_count;
};

/* A transfer between a buffer and the initiator (xferinfo_t); "kind": 0 a read, 1 a write. */
struct xfer {
    uint32_t itt, ttt;
    uint64_t address;
    uint32_t offset, length, kind;
};

/* One event. Of a PDU "bhs" is set; "cdb" is all of the CDB in scsi-command, "sense" what its status carries. */
struct event {
    const struct source *source;
    PyObject *clock; /* NULL: the system's */
    void *place;     /* of the source's places, that of the tracer which takes it now */
    uint64_t now;    /* 0: nobody has asked yet */
    uint64_t lun;
    int probe;
    const uint8_t *bhs, *cdb;
    size_t cdb_length;
    uint32_t sense;
    struct xfer xfer;
};

/* What an event's time is: read once, when the first one asks. 0, or -1 with an exception. */
int event_time(struct event *event, uint64_t *now);

/* Look at a ConnectionInfo; 0, or -1 with an exception. */
int source_read(struct source *source, PyObject *info);

struct user;

/*
 * What all tracers begin with.
 *
 * A tracer that data threads may fire into has "open": it is called under the interpreter's lock, before a thread has a
 * connection, and returns 1 and a place that "take" finds in the event; 0: it wants none of its events; -1 with an
 * exception. "close" ends that, under the lock too. Between them "take" calls nothing of Python for such an event, and
 * returns -1 for want of memory.
 */
struct tracer {
    PyObject_HEAD
    int (*take)(struct tracer *self, struct event *event); /* 0, or -1 with an exception */
    int (*open)(struct tracer *self, const struct source *source, struct user *user, void **place);
    void (*close)(struct tracer *self, void *place);
    void (*look)(struct tracer *self, bool begins); /* events may come from now on, or come no more for now; or NULL */
    PyObject *clock;                                       /* for what it is called with by itself; NULL: the system's */
    PyObject *fail;                                        /* called with the exception; then it gets no more */
    bool one_lun;
    bool broken;     /* it gets no more events; threads look at it by themselves */
    bool failed;     /* in a data thread, and nobody was told yet */
    bool at_once;    /* it has a clock of its own: nothing may be told later than it happens */
    uint64_t lun;    /* the one that it wants */
    uint32_t always; /* probes that it wants of every LUN */
};

/* "fail", "clock" and the LUN, or None, which its constructor was given; 0, or -1 with an exception. */
int tracer_begin(struct tracer *self, PyObject *fail, PyObject *clock, PyObject *lun);
int tracer_visit(const struct tracer *self, visitproc visit, void *arg);
void tracer_end(struct tracer *self);

/* The methods pdu and xfer that every tracer has: PduCall and XferCall of iscsitools/probes/subscribers.py. */
PyObject *tracer_pdu(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *tracer_xfer(PyObject *self, PyObject *const *args, Py_ssize_t count);
#define TRACER_METHODS                                                                           \
    {"pdu", (PyCFunction)(void (*)(void))tracer_pdu, METH_FASTCALL, "Take a PDU's event."},      \
    {"xfer", (PyCFunction)(void (*)(void))tracer_xfer, METH_FASTCALL, "Take a transfer's event."}

/* Give an event to a tracer that wants it. It never fails: who does is told, and gets no more. */
void tracer_take(struct tracer *self, struct event *event);

/* The same in a data thread. */
void tracer_take_there(struct tracer *self, struct event *event);

/* It is told of the exception that there is, and gets no more events. */
void tracer_give_up(struct tracer *self);

static inline bool tracer_is_broken(const struct tracer *self)
{
    return __atomic_load_n(&self->broken, __ATOMIC_RELAXED);
}

/* Keep a clock, or nothing for None. */
void clock_keep(PyObject **kept, PyObject *clock);

/* Whether it is a tracer of this module. */
bool tracer_check(PyObject *object);

/* Take over a type of tracer: what Tracers accepts. 0, or -1 with an exception. */
int trace_add_type(PyObject *module, const char *name, PyType_Spec *spec);

/* Make the types and put them into the module; 0, or -1 with an exception. The first makes all others. */
int trace_init(PyObject *module);
int trace_set_init(PyObject *module);
int trace_ring_init(PyObject *module);
int trace_sums_init(PyObject *module);
int trace_provider_init(PyObject *module);

#endif
