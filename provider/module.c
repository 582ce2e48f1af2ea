/*
 * iscsitools.provider._native: the probes' tracepoints, and their arguments, in C. The loop's thread calls it; data threads
 * fire through pdu_of and xfer_of, each with an event of its own.
 */
#include "calls.h"
#include "connection.h"
#include "sdt.h"
#include "table.h"
#include "tracepoints.h"

static struct event event; /* the loop's thread's */
static int sdt_on; /* whether SDT semaphores are looked at: a tracer may be attached that this server is not to serve */

static uint32_t current_mask(void)
{
    uint32_t mask = tracepoints_convention == CONVENTION_NONE ? 0 : tracepoints_mask();

#if HAVE_SDT
    if (sdt_on)
        mask |= sdt_mask();
#endif
    return mask;
}

static void fire(int probe, const struct event *fired)
{
#if HAVE_SDT
    if (sdt_on)
        sdt_fire(probe, fired);
#endif
    tracepoints_fire(probe, fired);
}

static int is_probe(long probe)
{
    if (probe >= 0 && probe < PROBE_COUNT)
        return 1;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "the provider has no probe %ld", probe);
    return 0;
}

static int has_count(Py_ssize_t count, Py_ssize_t expected)
{
    if (count != expected)
        PyErr_Format(PyExc_TypeError, "takes %zd arguments, not %zd", expected, count);
    return count == expected;
}

/* The low 64 bits of a number; 0, or -1 with an exception, after which nothing else of Python may be called. */
static int get_word(PyObject *object, uint64_t *word)
{
    *word = PyLong_AsUnsignedLongLongMask(object);
    return *word == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *native_mask(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromUnsignedLong(current_mask());
}

static PyObject *native_enabled(PyObject *Py_UNUSED(self), PyObject *argument)
{
    long probe = PyLong_AsLong(argument);
    int enabled;

    if (!is_probe(probe))
        return NULL;
    enabled = tracepoints_enabled((int)probe);
#if HAVE_SDT
    enabled |= sdt_on && sdt_count((int)probe) != 0;
#endif
    return PyBool_FromLong(enabled);
}

static PyObject *native_semaphores(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
#if HAVE_SDT
    PyObject *counts = PyTuple_New(PROBE_COUNT);

    for (int i = 0; counts != NULL && i < PROBE_COUNT; i++) {
        PyObject *count = PyLong_FromUnsignedLong(sdt_count(i));
        if (count == NULL || PyTuple_SetItem(counts, i, count) < 0)
            Py_CLEAR(counts);
    }
    return counts;
#else
    return PyTuple_New(0);
#endif
}

/* -- an event, from Python or from the data path */

static int fire_pdu(int probe, PyObject *conn, uint64_t lun, const uint8_t *bhs, const uint8_t *cdb, size_t cdb_length)
{
    if (event_set_connection(&event, conn) < 0)
        return -1;
    event_from_bhs(&event, probe, lun, bhs, cdb, cdb_length);
    fire(probe, &event);
    return 0;
}

static int fire_xfer(int probe, PyObject *conn, uint64_t lun, uint32_t itt, uint32_t ttt, uint64_t address, uint32_t offset,
                     uint32_t length, uint32_t kind)
{
    uiscsixfer_t xfer = {.xfer_laddr = address, .xfer_loffset = offset, .xfer_len = length, .xfer_type = kind};

    if (event_set_connection(&event, conn) < 0)
        return -1;
    event_from_xfer(&event, lun, itt, ttt, &xfer);
    fire(probe, &event);
    return 0;
}

static void *open_copy(PyObject *conn)
{
    return connection_copy(conn);
}

static void close_copy(void *copy)
{
    connection_forget(copy);
}

static void fire_pdu_of(int probe, const void *copy, uint64_t lun, const uint8_t *bhs, const uint8_t *cdb, size_t cdb_length)
{
    struct event own = {0};

    event_set_copy(&own, copy);
    event_from_bhs(&own, probe, lun, bhs, cdb, cdb_length);
    fire(probe, &own);
}

static void fire_xfer_of(int probe, const void *copy, uint64_t lun, uint32_t itt, uint32_t ttt, uint64_t address,
                         uint32_t offset, uint32_t length, uint32_t kind)
{
    uiscsixfer_t xfer = {.xfer_laddr = address, .xfer_loffset = offset, .xfer_len = length, .xfer_type = kind};
    struct event own = {0};

    event_set_copy(&own, copy);
    event_from_xfer(&own, lun, itt, ttt, &xfer);
    fire(probe, &own);
}

static const struct calls calls = {fire_pdu, fire_xfer, open_copy, close_copy, fire_pdu_of, fire_xfer_of};

/* on_pdu(probe, now, conn, lun, bhs, cdb, sense): as Subscriber.on_pdu. */
static PyObject *native_on_pdu(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    char *bhs, *cdb;
    Py_ssize_t bhs_size, cdb_size;
    long probe;
    uint64_t lun;

    if (!has_count(count, 7) || !is_probe(probe = PyLong_AsLong(args[0])))
        return NULL;
    if (PyBytes_AsStringAndSize(args[4], &bhs, &bhs_size) < 0 || PyBytes_AsStringAndSize(args[5], &cdb, &cdb_size) < 0)
        return NULL;
    if (bhs_size < BHS_SIZE) {
        PyErr_Format(PyExc_ValueError, "a basic header segment has 48 bytes, not %zd", bhs_size);
        return NULL;
    }
    if (get_word(args[3], &lun) < 0
        || fire_pdu((int)probe, args[2], lun, (const uint8_t *)bhs, (const uint8_t *)cdb, (size_t)cdb_size) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* on_xfer(probe, now, conn, lun, xfer): as Subscriber.on_xfer. */
static PyObject *native_on_xfer(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    long probe;
    uint64_t lun, numbers[6];

    if (!has_count(count, 5) || !is_probe(probe = PyLong_AsLong(args[0])))
        return NULL;
    if (!PyTuple_Check(args[4]) || PyTuple_Size(args[4]) != 6) {
        PyErr_SetString(PyExc_TypeError, "xfer has to be an Xfer");
        return NULL;
    }
    for (int i = 0; i < 6; i++)
        if (get_word(PyTuple_GetItem(args[4], i), &numbers[i]) < 0)
            return NULL;
    if (get_word(args[3], &lun) < 0
        || fire_xfer((int)probe, args[2], lun, (uint32_t)numbers[0], (uint32_t)numbers[1], numbers[2],
                     (uint32_t)numbers[3], (uint32_t)numbers[4], (uint32_t)numbers[5]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *native_use_sdt(PyObject *Py_UNUSED(self), PyObject *argument)
{
    int on = PyObject_IsTrue(argument);

    if (on < 0)
        return NULL;
    sdt_on = on && HAVE_SDT;
    Py_RETURN_NONE;
}

static PyObject *native_set_tracepoints(PyObject *Py_UNUSED(self), PyObject *args)
{
    int convention;
    const char *pairs;
    Py_ssize_t size;
    unsigned long long is_enabled, fire_probe;

    if (!PyArg_ParseTuple(args, "iy#KK", &convention, &pairs, &size, &is_enabled, &fire_probe))
        return NULL;
    if (convention < CONVENTION_NONE || convention > CONVENTION_LINUX
        || (convention != CONVENTION_NONE && size != PROBE_COUNT * 16)) {
        PyErr_SetString(PyExc_ValueError, "a convention, and two addresses of 8 bytes for each probe");
        return NULL;
    }
    tracepoints_set((enum convention)convention, (const uint64_t (*)[2])pairs, is_enabled, fire_probe);
    Py_RETURN_NONE;
}

static PyObject *native_last_event(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("(y#y#y#)", &event.proto, (Py_ssize_t)sizeof event.proto, &event.command,
                         (Py_ssize_t)sizeof event.command, &event.xfer, (Py_ssize_t)sizeof event.xfer);
}

static PyObject *native_forget(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    connections_forget();
    event = (struct event){0};
    Py_RETURN_NONE;
}

static PyObject *native_fence(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"mask", native_mask, METH_NOARGS, "The enabled probes, one bit each."},
    {"enabled", native_enabled, METH_O, "Whether a probe is enabled now."},
    {"semaphores", native_semaphores, METH_NOARGS, "How many tracers are attached to each SDT probe."},
    {"on_pdu", (PyCFunction)(void (*)(void))native_on_pdu, METH_FASTCALL, "Fire a PDU's probe."},
    {"on_xfer", (PyCFunction)(void (*)(void))native_on_xfer, METH_FASTCALL, "Fire xfer-start or xfer-done."},
    {"use_sdt", native_use_sdt, METH_O, "Whether tracers of the SDT notes are served."},
    {"set_tracepoints", native_set_tracepoints, METH_VARARGS, "The tracepoints of a registered DTrace provider."},
    {"last_event", native_last_event, METH_NOARGS, "The bytes of the last event's three structures."},
    {"forget", native_forget, METH_NOARGS, "Let go of all copies of connections' strings."},
    {"fence", native_fence, METH_NOARGS, "Let no load or store pass this point, in either direction."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "The iscsi provider's probes.", -1, methods, NULL, NULL, NULL, NULL,
};

static int add_calls(PyObject *module)
{
    PyObject *capsule = PyCapsule_New((void *)(uintptr_t)&calls, CALLS_CAPSULE, NULL);
    int result = capsule == NULL ? -1 : PyModule_AddObjectRef(module, "calls", capsule);

    Py_XDECREF(capsule);
    return result;
}

/* What it was built of (iscsitools/sources.py); whoever builds it otherwise need not tell. */
#ifndef ISCSITOOLS_SOURCES
#define ISCSITOOLS_SOURCES ""
#endif

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module;

    if (connections_init() < 0 || (module = PyModule_Create(&definition)) == NULL)
        return NULL;
    if (add_calls(module) < 0 || PyModule_AddStringConstant(module, "SOURCES", ISCSITOOLS_SOURCES) < 0
        || PyModule_AddIntConstant(module, "HAVE_SDT", HAVE_SDT) < 0
        || PyModule_AddIntConstant(module, "CONVENTION_NONE", CONVENTION_NONE) < 0
        || PyModule_AddIntConstant(module, "CONVENTION_LIBUSDT", CONVENTION_LIBUSDT) < 0
        || PyModule_AddIntConstant(module, "CONVENTION_LINUX", CONVENTION_LINUX) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
