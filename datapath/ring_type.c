/* The type Ring: made and closed, handed over and reaped; what flights ask of it, and its methods. */
#include "data_thread.h"
#include "flights.h"
#include "ring_calls.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { ENTRIES = 128 };

PyTypeObject *ring_type;

static PyObject *ring_submit_all(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct ring *ring = (struct ring *)self;

    if (ring->uring.fd >= 0)
        ring_submit(ring);
    return PyBool_FromLong(PyList_Size(ring->air.results) > 0);
}

static PyObject *ring_reap_all(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct ring *ring = (struct ring *)self;
    PyObject *results = ring->air.results;

    PyObject *next = PyList_New(0);

    if (next == NULL)
        return NULL;
    flights_reapings++;
    if (ring->uring.fd >= 0)
        ring_reap(ring);
    ring->air.results = next;
    return results;
}

static PyObject *ring_forget_file(PyObject *self, PyObject *args)
{
    int fd;

    if (!PyArg_ParseTuple(args, "i:forget", &fd))
        return NULL;
    ring_forget((struct ring *)self, fd);
    Py_RETURN_NONE;
}

/* Nobody uses the ring any more. Its files first: the kernel ends a closed ring later, and they would be in use until then. */
static void give_back(struct ring *ring)
{
    for (int i = 0; i < FILE_PLACES && ring->uring.fd >= 0; i++)
        ring_forget(ring, ring->files[i]);
    pool_end(&ring->own_pool);
    uring_close(&ring->uring);
    if (ring->memory != NULL && ring->count == 0)
        munmap(ring->memory, (size_t)RING_SLOTS * SLOT_LENGTH);
    ring->memory = NULL; /* and what is under way keeps its memory: the kernel may still write there */
    if (ring->count == 0)
        airspace_give(ring->air.space);
    ring->air.space = NULL;
}

static PyObject *ring_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct ring *ring = (struct ring *)self;

    if (ring->count != 0)
        return PyErr_Format(PyExc_RuntimeError, "%zd calls are under way", (Py_ssize_t)ring->count);
    give_back(ring);
    Py_RETURN_NONE;
}

/* -- flights */

static struct ring *ring_of(struct air *air)
{
    return (struct ring *)(void *)((char *)air - offsetof(struct ring, air));
}

static bool find_slot(struct air *air, struct flight *flight)
{
    return air->space != NULL && operation_place(ring_of(air), &flight->operation);
}

static int start_flight(struct air *air, struct flight *flight)
{
    return ring_start(ring_of(air), &flight->operation);
}

static bool start_waiting(struct air *air, struct flight *flight)
{
    return start_flight(air, flight) == 0; /* or there is no place in the ring now */
}

static void submit_flights(struct air *air)
{
    ring_submit(ring_of(air));
}

struct ring *ring_make(struct data_thread *thread)
{
    struct uring uring;
    struct ring *ring;
    int failed = uring_open(&uring, ENTRIES);

    if (failed) {
        errno = -failed;
        PyErr_SetFromErrno(PyExc_OSError);
        return NULL;
    }
    ring = (struct ring *)PyType_GenericAlloc(ring_type, 0);
    if (ring == NULL) {
        uring_close(&uring);
        return NULL;
    }
    ring->uring = uring;
    ring->under_way.before = ring->under_way.after = &ring->under_way;
    memset(ring->files, -1, sizeof ring->files);
    ring->places_registered = uring_register_places(&ring->uring, FILE_PLACES) == 0;
    ring->pool = thread == NULL ? &ring->own_pool : &thread->pool;
    ring->air = (struct air){
        .results = PyList_New(0), .longest = LONGEST_FLIGHT, .find_memory = find_slot, .start = start_flight,
        .start_waiting = start_waiting, .submit = submit_flights, .ended = flight_land, .space = airspace_take(),
        .thread = thread,
    };
    if (ring->air.results == NULL)
        Py_CLEAR(ring);
    return ring;
}

static PyObject *ring_new(PyTypeObject *Py_UNUSED(type), PyObject *args, PyObject *named)
{
    static char *names[] = {NULL};

    if (!PyArg_ParseTupleAndKeywords(args, named, ":Ring", names))
        return NULL;
    return (PyObject *)ring_make(NULL);
}

static void ring_dealloc(PyObject *self)
{
    struct ring *ring = (struct ring *)self;
    PyTypeObject *type = Py_TYPE(self);

    give_back(ring);
    Py_XDECREF(ring->air.results);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *get_fd(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((struct ring *)self)->uring.fd);
}

static PyObject *get_under_way(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((struct ring *)self)->count);
}

static PyMethodDef methods[] = {
    {"read", ring_read, METH_VARARGS, "Fill a buffer."},
    {"write", ring_write, METH_VARARGS, "Write a buffer."},
    {"sync", ring_sync, METH_VARARGS, "fdatasync(2)."},
    {"allocate", ring_allocate, METH_VARARGS, "fallocate(2)."},
    {"submit", ring_submit_all, METH_NOARGS, "Hand over what was asked for; whether something has ended at once."},
    {"reap", ring_reap_all, METH_NOARGS, "What has ended: pairs of a cookie, and bytes or a negative errno."},
    {"cancel", ring_cancel, METH_O, "Have a call end soon, if it can be ended."},
    {"forget", ring_forget_file, METH_VARARGS, "A descriptor is going to be closed."},
    {"close", ring_close, METH_NOARGS, "Give the ring back."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"fd", get_fd, NULL, "Can be read when reap has something to do.", NULL},
    {"under_way", get_under_way, NULL, "Calls that have not ended.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "An io_uring; see iscsitools.backstores.ring."},
    {Py_tp_new, (void *)ring_new},
    {Py_tp_dealloc, (void *)ring_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Ring",
    .basicsize = sizeof(struct ring),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int ring_init(PyObject *module)
{
    ring_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return ring_type == NULL ? -1 : PyModule_AddObjectRef(module, "Ring", (PyObject *)ring_type);
}
