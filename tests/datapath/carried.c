/*
 * A disk in memory whose READs and WRITEs come by a capsule (datapath/carrier_interface.h), and end where a test wants it:
 * in a thread of this file's, without the interpreter's lock, or within "submit".
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "carrier_interface.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { MOST = 256 };

struct disk {
    PyObject_HEAD
    struct iscsitools_carrier offer;
    Py_buffer memory;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct iscsitools_call *queue[MOST], *held[MOST];
    int queued, holding;
    int refuse; /* an errno, or 0 */
    long submitted, durable;
    bool hold, within, end;
};

static void do_call(struct disk *disk, struct iscsitools_call *call)
{
    char *place = (char *)disk->memory.buf + call->offset;

    if (call->operation == ISCSITOOLS_READ)
        memcpy(call->memory, place, call->length);
    else
        memcpy(place, call->memory, call->length);
    call->ended(call, (int64_t)call->length);
}

static void *work(void *argument)
{
    struct disk *disk = argument;

    pthread_mutex_lock(&disk->lock);
    while (!disk->end) {
        if (disk->queued == 0) {
            pthread_cond_wait(&disk->changed, &disk->lock);
            continue;
        }
        struct iscsitools_call *call = disk->queue[0];
        disk->queued--;
        memmove(disk->queue, disk->queue + 1, sizeof *disk->queue * (size_t)disk->queued);
        pthread_mutex_unlock(&disk->lock);
        do_call(disk, call);
        pthread_mutex_lock(&disk->lock);
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

static int submit(void *store, struct iscsitools_call *call)
{
    struct disk *disk = store;
    bool within = false;
    int refused;

    pthread_mutex_lock(&disk->lock);
    refused = disk->refuse ? disk->refuse : disk->queued == MOST || disk->holding == MOST ? EAGAIN : 0;
    if (!refused) {
        disk->submitted++;
        disk->durable += call->durable != 0;
        within = disk->within && !disk->hold;
        if (disk->hold)
            disk->held[disk->holding++] = call;
        else if (!within)
            disk->queue[disk->queued++] = call;
        pthread_cond_signal(&disk->changed);
    }
    pthread_mutex_unlock(&disk->lock);
    if (within)
        do_call(disk, call);
    return -refused;
}

/* Disk(bytearray) */
static PyObject *disk_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named))
{
    struct disk *disk = (struct disk *)PyType_GenericAlloc(type, 0);

    if (disk == NULL || !PyArg_ParseTuple(args, "w*", &disk->memory))
        return NULL;
    disk->offer = (struct iscsitools_carrier){disk, submit};
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->changed, NULL);
    pthread_create(&disk->thread, NULL, work, disk);
    return (PyObject *)disk;
}

static PyObject *disk_capsule(PyObject *self, PyObject *args)
{
    const char *name = ISCSITOOLS_CARRIER;

    return PyArg_ParseTuple(args, "|s", &name) ? PyCapsule_New(&((struct disk *)self)->offer, name, NULL) : NULL;
}

/* set(hold, within, refuse) */
static PyObject *disk_set(PyObject *self, PyObject *args)
{
    struct disk *disk = (struct disk *)self;
    int hold, within, refuse;

    if (!PyArg_ParseTuple(args, "ppi", &hold, &within, &refuse))
        return NULL;
    pthread_mutex_lock(&disk->lock);
    disk->hold = hold != 0;
    disk->within = within != 0;
    disk->refuse = refuse;
    pthread_mutex_unlock(&disk->lock);
    Py_RETURN_NONE;
}

/* release(result): what is held is done (0), or ends so, in the calling thread. */
static PyObject *disk_release(PyObject *self, PyObject *args)
{
    struct disk *disk = (struct disk *)self;
    long long result;
    int count;

    if (!PyArg_ParseTuple(args, "L", &result))
        return NULL;
    pthread_mutex_lock(&disk->lock);
    count = disk->holding;
    disk->holding = 0;
    pthread_mutex_unlock(&disk->lock);
    for (int i = 0; i < count; i++)
        if (result != 0)
            disk->held[i]->ended(disk->held[i], result);
        else
            do_call(disk, disk->held[i]);
    return PyLong_FromLong(count);
}

static PyObject *disk_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct disk *disk = (struct disk *)self;

    pthread_mutex_lock(&disk->lock);
    disk->end = true;
    pthread_cond_signal(&disk->changed);
    pthread_mutex_unlock(&disk->lock);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(disk->thread, NULL);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&disk->memory);
    Py_RETURN_NONE;
}

static PyObject *get_submitted(PyObject *self, void *Py_UNUSED(unused))
{
    return PyLong_FromLong(((struct disk *)self)->submitted);
}

static PyObject *get_durable(PyObject *self, void *Py_UNUSED(unused))
{
    return PyLong_FromLong(((struct disk *)self)->durable);
}

static PyMethodDef methods[] = {
    {"capsule", disk_capsule, METH_VARARGS, NULL}, {"set", disk_set, METH_VARARGS, NULL},
    {"release", disk_release, METH_VARARGS, NULL}, {"close", disk_close, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL},
};
static PyGetSetDef attributes[] = {
    {"submitted", get_submitted, NULL, NULL, NULL},
    {"durable", get_durable, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_new, disk_new}, {Py_tp_methods, methods}, {Py_tp_getset, attributes}, {0, NULL},
};
static PyType_Spec spec = {"carried.Disk", sizeof(struct disk), 0, Py_TPFLAGS_DEFAULT, slots};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "carried", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_carried(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && PyModule_AddObject(module, "Disk", PyType_FromSpec(&spec)) < 0)
        Py_CLEAR(module);
    return module;
}
