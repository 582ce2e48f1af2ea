/* The arguments of calls from Python, as events. */
#include "trace_calls.h"

#include "words.h"

static int probe_of(PyObject *object, int *probe)
{
    long number = PyLong_AsLong(object);

    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < 0 || number >= PROBES) {
        PyErr_Format(PyExc_ValueError, "there is no probe %ld", number);
        return -1;
    }
    *probe = (int)number;
    return 0;
}

static int lun_of(PyObject *object, uint64_t *lun)
{
    return number_of(object, UINT64_MAX, lun);
}

void pdu_call_close(struct pdu_call *call)
{
    if (call->buffer.obj != NULL)
        PyBuffer_Release(&call->buffer);
    if (call->cdb.obj != NULL)
        PyBuffer_Release(&call->cdb);
}

static int open_buffers(struct pdu_call *call, PyObject *const *args, Py_ssize_t count)
{
    uint64_t offset = 0, sense = 0;

    if (PyObject_GetBuffer(args[3], &call->buffer, PyBUF_SIMPLE) < 0)
        return -1;
    if (call->buffer.len < BHS_LENGTH) {
        PyErr_SetString(PyExc_ValueError, "a basic header segment has 48 bytes");
        return -1;
    }
    if (count > 4 && number_of(args[4], (uint64_t)call->buffer.len - BHS_LENGTH, &offset) < 0)
        return -1;
    if (count > 5 && PyObject_GetBuffer(args[5], &call->cdb, PyBUF_SIMPLE) < 0)
        return -1;
    if (count > 6 && number_of(args[6], UINT32_MAX, &sense) < 0)
        return -1;
    call->event.bhs = (const uint8_t *)call->buffer.buf + offset;
    call->event.cdb = call->cdb.buf;
    call->event.cdb_length = (size_t)call->cdb.len;
    call->event.sense = (uint32_t)sense;
    return 0;
}

int pdu_call_open(struct pdu_call *call, PyObject *const *args, Py_ssize_t count)
{
    *call = (struct pdu_call){.event = {.source = &call->source}};
    if (count < 4 || count > 7) {
        PyErr_Format(PyExc_TypeError, "takes 4 to 7 arguments, not %zd", count);
        return -1;
    }
    if (probe_of(args[0], &call->event.probe) < 0 || source_read(&call->source, args[1]) < 0
        || lun_of(args[2], &call->event.lun) < 0 || open_buffers(call, args, count) < 0) {
        pdu_call_close(call);
        return -1;
    }
    return 0;
}

static int word_of(PyObject *object, uint32_t *word)
{
    uint64_t number;

    if (number_of(object, UINT32_MAX, &number) < 0)
        return -1;
    *word = (uint32_t)number;
    return 0;
}

int xfer_call_open(struct source *source, struct event *event, PyObject *const *args, Py_ssize_t count)
{
    *event = (struct event){.source = source};
    if (count != 9) {
        PyErr_Format(PyExc_TypeError, "takes 9 arguments, not %zd", count);
        return -1;
    }
    return probe_of(args[0], &event->probe) < 0 || source_read(source, args[1]) < 0 || lun_of(args[2], &event->lun) < 0
                   || word_of(args[3], &event->xfer.itt) < 0 || word_of(args[4], &event->xfer.ttt) < 0
                   || number_of(args[5], UINT64_MAX, &event->xfer.address) < 0
                   || word_of(args[6], &event->xfer.offset) < 0 || word_of(args[7], &event->xfer.length) < 0
                   || word_of(args[8], &event->xfer.kind) < 0
               ? -1
               : 0;
}

PyObject *tracer_pdu(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct pdu_call call;

    if (pdu_call_open(&call, args, count) < 0) {
        tracer_give_up((struct tracer *)self);
    } else {
        call.event.clock = ((struct tracer *)self)->clock;
        tracer_take((struct tracer *)self, &call.event);
        pdu_call_close(&call);
    }
    Py_RETURN_NONE;
}

PyObject *tracer_xfer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct source source;
    struct event event;

    if (xfer_call_open(&source, &event, args, count) < 0) {
        tracer_give_up((struct tracer *)self);
    } else {
        event.clock = ((struct tracer *)self)->clock;
        tracer_take((struct tracer *)self, &event);
    }
    Py_RETURN_NONE;
}
