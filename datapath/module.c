/* iscsitools.datapath._native: the data path's twin in C, the gate that it reads, and threads that serve by it. */
#include "path.h"

#include "crc32c.h"
#ifdef __linux__
#include "data_thread.h"
#endif
#include "carrier.h"
#include "ring.h"
#include "taker.h"
#include "trace.h"

/* checksum(data, by_table=False): for tests. */
static PyObject *native_checksum(PyObject *Py_UNUSED(self), PyObject *args)
{
    Py_buffer data;
    int by_table = 0;
    uint32_t crc;

    if (!PyArg_ParseTuple(args, "y*|p:checksum", &data, &by_table))
        return NULL;
    crc = (by_table ? crc32c_by_table : crc32c)(0, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *native_settle(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    users_settle();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"checksum", native_checksum, METH_VARARGS, "The CRC32C of bytes; by_table: without the processor's instruction."},
    {"settle", native_settle, METH_NOARGS, "Wait until no data thread is at what it began before this call."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "The data path in C.", -1, methods, NULL, NULL, NULL, NULL,
};

/* What it was built of (iscsitools/sources.py); whoever builds it otherwise need not tell. */
#ifndef ISCSITOOLS_SOURCES
#define ISCSITOOLS_SOURCES ""
#endif

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module;

    crc32c_init();
    if (tags_init() < 0 || gate_init() < 0 || taker_init() < 0 || (module = PyModule_Create(&definition)) == NULL)
        return NULL;
    if (PyModule_AddStringConstant(module, "SOURCES", ISCSITOOLS_SOURCES) < 0
        || PyModule_AddObjectRef(module, "Gate", (PyObject *)gate_type) < 0 || path_init(module) < 0
        || ring_init(module) < 0 || carrier_init(module) < 0 || trace_init(module) < 0)
        Py_CLEAR(module);
#ifdef __linux__
    if (module != NULL && data_thread_init(module) < 0)
        Py_CLEAR(module);
#endif
    return module;
}
