/* Calls from Python that are events: PduCall and XferCall of iscsitools/probes/subscribers.py. */
#ifndef TRACE_CALLS_H
#define TRACE_CALLS_H

#include "trace.h"

/* The arguments of a PduCall, and the buffers that they keep for as long as the event lasts. */
struct pdu_call {
    struct source source;
    struct event event;
    Py_buffer buffer, cdb;
};

/* Make an event of what was given; 0, or -1 with an exception. A pdu_call that was opened is to be closed. */
int pdu_call_open(struct pdu_call *call, PyObject *const *args, Py_ssize_t count);
void pdu_call_close(struct pdu_call *call);
int xfer_call_open(struct source *source, struct event *event, PyObject *const *args, Py_ssize_t count);

#endif
