/* The same calls with the same arguments as the Python twin makes, so that nobody who looks sees which one it is. */
#include "fire.h"

#include "guest.h"
#include "trace_fire.h"

enum { SHORT_CDB = 10, LONG_CDB = 16, CDB = 32, XFER_READ = 0, XFER_WRITE = 1 };

static PyObject *mask_name, *clock_name, *read_name, *write_name, *pdu_name, *xfer_name, *data_name, *native_name;

static int not_none(PyObject *probes, PyObject *name, PyObject **found)
{
    PyObject *value = PyObject_GetAttr(probes, name);

    if (value == Py_None)
        Py_CLEAR(value);
    else if (value == NULL)
        return -1;
    *found = value;
    return 0;
}

int watch_begin(struct watch *watch, PyObject *probes, PyObject *info)
{
    PyObject *mask = PyObject_GetAttr(probes, mask_name);

    *watch = (struct watch){0};
    if (mask == NULL)
        return -1;
    watch->mask = PyLong_AsUnsignedLong(mask);
    Py_DECREF(mask);
    if (watch->mask == 0)
        return 0;
    if (watch->mask == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    if (not_none(probes, native_name, &watch->native) < 0)
        return -1;
    if (watch->native != NULL && tracers_check(watch->native)) {
        watch->tracers = (struct tracers *)(void *)watch->native;
        tracers_begin(watch->tracers);
        return source_read(&watch->source, info);
    }
    return not_none(probes, clock_name, &watch->clock) < 0 || not_none(probes, read_name, &watch->read) < 0
                   || not_none(probes, write_name, &watch->write) < 0
               ? -1
               : 0;
}

void watch_end(struct watch *watch)
{
    if (watch->tracers != NULL)
        tracers_end(watch->tracers);
    watch->tracers = NULL;
    Py_CLEAR(watch->clock);
    Py_CLEAR(watch->read);
    Py_CLEAR(watch->write);
    Py_CLEAR(watch->native);
}

bool watch_takes_times(const struct watch *watch)
{
    return watch->tracers != NULL ? !watch->tracers->at_once : watch->write != NULL;
}

int watch_now(const struct watch *watch, PyObject **time)
{
    *time = PyObject_CallFunctionObjArgs(watch->clock, NULL);
    return *time == NULL ? -1 : 0;
}

/* What became of a call: 0, or -1 when it raised. */
static int finished(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *call_of(const struct served *served, PyObject *name)
{
    return PyObject_GetAttr(served->path->probes, name);
}

static PyObject *answer_buffer(const struct served *served)
{
    return PyObject_GetAttr(served->path->chunk_object, data_name);
}

int fire_command(const struct watch *watch, const struct served *served)
{
    const uint8_t *bhs = (const uint8_t *)served->path->receive.buf + served->at;
    int length = bhs[CDB] < 0x80 ? SHORT_CDB : LONG_CDB;
    PyObject *pdu, *result;

    if (!(watch->mask & FIRE_SCSI_COMMAND))
        return 0;
    if (watch->tracers != NULL) {
        trace_command(watch, served, 0);
        return 0;
    }
    pdu = call_of(served, pdu_name);
    if (pdu == NULL)
        return -1;
    result = PyObject_CallFunction(pdu, "iOKOny#", PROBE_SCSI_COMMAND, served->path->info, (unsigned long long)served->lun,
                                   served->request, (Py_ssize_t)served->at, bhs + CDB, (Py_ssize_t)length);
    Py_DECREF(pdu);
    return finished(result);
}

static int fire_xfer(const struct watch *watch, const struct served *served, int probe, int kind)
{
    PyObject *xfer, *result;

    if (watch->tracers != NULL) {
        trace_xfer(watch, served, probe, (uint32_t)kind, 0);
        return 0;
    }
    xfer = call_of(served, xfer_name);
    if (xfer == NULL)
        return -1;
    result = PyObject_CallFunction(xfer, "iOKIIKiIi", probe, served->path->info, (unsigned long long)served->lun,
                                   served->command->itt, RESERVED_TAG, (unsigned long long)served->address, 0,
                                   served->command->edtl, kind);
    Py_DECREF(xfer);
    return finished(result);
}

int fire_transfer(const struct watch *watch, const struct served *served)
{
    if (watch->mask & FIRE_XFER_START && fire_xfer(watch, served, PROBE_XFER_START, XFER_WRITE) < 0)
        return -1;
    return watch->mask & FIRE_XFER_DONE ? fire_xfer(watch, served, PROBE_XFER_DONE, XFER_WRITE) : 0;
}

/* A PDU of the open chunk. */
static int fire_answer(const struct watch *watch, const struct served *served, int probe)
{
    PyObject *pdu, *answer, *result = NULL;

    if (watch->tracers != NULL) {
        trace_answer(watch, served, probe);
        return 0;
    }
    pdu = call_of(served, pdu_name);
    answer = answer_buffer(served);
    if (pdu != NULL && answer != NULL)
        result = PyObject_CallFunction(pdu, "iOKOn", probe, served->path->info, (unsigned long long)served->lun, answer,
                                       (Py_ssize_t)served->tail);
    Py_XDECREF(pdu);
    Py_XDECREF(answer);
    return finished(result);
}

int fire_response(const struct watch *watch, const struct served *served)
{
    return watch->mask & FIRE_SCSI_RESPONSE ? fire_answer(watch, served, PROBE_SCSI_RESPONSE) : 0;
}

/* The output fires xfer-done of the read when the byte before "done" of the chunk was accepted by the socket. */
static int put_mark(const struct served *served)
{
    const struct command *command = served->command;
    const struct guest *guest = served->path->guest;
    uint64_t begin = served->path->chunk_begin + (guest == NULL ? 0 : guest->put);
    struct mark mark = {begin + served->done, served->lun, served->address, command->itt, 0, command->edtl};

    return marks_append(served->path->marks, &mark);
}

int fire_read_one_by_one(const struct watch *watch, const struct served *served)
{
    if (watch->mask & FIRE_XFER_START && fire_xfer(watch, served, PROBE_XFER_START, XFER_READ) < 0)
        return -1;
    if (watch->mask & FIRE_DATA_SEND && fire_answer(watch, served, PROBE_DATA_SEND) < 0)
        return -1;
    return watch->mask & FIRE_XFER_DONE ? put_mark(served) : 0;
}

int fire_all_of_read(const struct watch *watch, const struct served *served, PyObject *began)
{
    const struct command *command = served->command;
    PyObject *answer = answer_buffer(served);
    PyObject *result = NULL;

    if (answer != NULL)
        result = PyObject_CallFunction(watch->read, "OOKIIKIOnOn", began, served->path->info,
                                       (unsigned long long)served->lun, command->operation, command->itt,
                                       (unsigned long long)served->address, command->edtl, served->request,
                                       (Py_ssize_t)served->at, answer, (Py_ssize_t)served->tail);
    Py_XDECREF(answer);
    if (finished(result) < 0)
        return -1;
    return watch->mask & FIRE_XFER_DONE ? put_mark(served) : 0;
}

int fire_all_of_write(const struct watch *watch, const struct served *served, PyObject *const *times)
{
    const struct command *command = served->command;
    PyObject *answer = answer_buffer(served);
    PyObject *result = NULL;

    if (answer != NULL)
        result = PyObject_CallFunction(watch->write, "OOOOKIIKIOnOn", times[0], times[1], times[2], served->path->info,
                                       (unsigned long long)served->lun, command->operation, command->itt,
                                       (unsigned long long)served->address, command->edtl, served->request,
                                       (Py_ssize_t)served->at, answer, (Py_ssize_t)served->tail);
    Py_XDECREF(answer);
    return finished(result);
}

static int intern(PyObject **name, const char *text)
{
    *name = PyUnicode_InternFromString(text);
    return *name == NULL ? -1 : 0;
}

int fire_init(void)
{
    return intern(&mask_name, "mask") < 0 || intern(&clock_name, "clock") < 0 || intern(&read_name, "read") < 0
                   || intern(&write_name, "write") < 0 || intern(&pdu_name, "pdu") < 0
                   || intern(&xfer_name, "xfer") < 0 || intern(&native_name, "native") < 0
                   || intern(&data_name, "data") < 0
               ? -1
               : 0;
}
