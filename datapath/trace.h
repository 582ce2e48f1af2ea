/*
 * Who looks at the probes, in C: tracers, and the events that they get.
 *
 * A tracer is the ring of a reader, sums, or the provider for the system's tracers. All that are attached make one set
 * (the type Tracers), which the data path fires into, and Python's call sites too.
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

/* A connection as its strings are now: a ConnectionInfo, its number, and how often the strings have changed. */
struct source {
    PyObject *info;
    uint32_t ident;
    int64_t generation;
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

/* What all tracers begin with. */
struct tracer {
    PyObject_HEAD
    int (*take)(struct tracer *self, struct event *event); /* 0, or -1 with an exception */
    PyObject *clock;                                       /* for what it is called with by itself; NULL: the system's */
    PyObject *fail;                                        /* called with the exception; then it gets no more */
    bool one_lun, broken;
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

/* All that are attached. */
struct tracers {
    PyObject_HEAD
    PyObject *clock;
    size_t count;
    bool at_once; /* one of them is so */
    struct member {
        uint32_t mask;
        struct tracer *tracer;
    } *members;
};

/* Whether it is such a set. */
bool tracers_check(PyObject *object);

/* Give an event to all that want it. */
static inline void tracers_fire(const struct tracers *set, struct event *event)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->members[i].mask >> event->probe & 1)
            tracer_take(set->members[i].tracer, event);
}

/* Take over a type of tracer: what Tracers accepts. 0, or -1 with an exception. */
int trace_add_type(PyObject *module, const char *name, PyType_Spec *spec);

/* Make the types and put them into the module; 0, or -1 with an exception. */
int trace_init(PyObject *module);
int trace_ring_init(PyObject *module);
int trace_sums_init(PyObject *module);
int trace_provider_init(PyObject *module);

#endif
