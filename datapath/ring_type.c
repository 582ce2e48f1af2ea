/* The type Ring: calls of Python's side, which are asked for with an object and end as a pair of it and a result. */
#include "data_thread.h"
#include "flights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ENTRIES = 128 };

/* A call of Python's. "buffer": what is lent for it; "cookie": whose it is. */
struct asked {
    struct operation operation;
    Py_buffer buffer;
    PyObject *cookie;
};

PyTypeObject *ring_type;

static void asked_free(struct asked *asked)
{
    operation_release(&asked->operation);
    if (asked->buffer.obj != NULL)
        PyBuffer_Release(&asked->buffer);
    Py_XDECREF(asked->cookie);
    PyMem_Free(asked);
}

static void asked_ended(struct operation *operation, int64_t result)
{
    struct asked *asked = (struct asked *)operation;
    PyObject *results = operation->ring->air.results;
    PyObject *pair;

    if (operation->opcode == URING_READ && result > 0 && operation->memory != asked->buffer.buf)
        memcpy(asked->buffer.buf, operation->memory, (size_t)result);
    pair = results == NULL ? NULL : Py_BuildValue("(OL)", asked->cookie, (long long)result);
    if (pair == NULL || PyList_Append(results, pair) < 0)
        PyErr_WriteUnraisable(asked->cookie); /* there is no memory for a pair */
    Py_XDECREF(pair);
    asked_free(asked);
}

static struct asked *asked_new(PyObject *cookie)
{
    struct asked *asked = PyMem_Calloc(1, sizeof *asked);

    if (asked == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    Py_INCREF(cookie);
    asked->cookie = cookie;
    asked->operation.slot = NO_SLOT;
    asked->operation.ended = asked_ended;
    return asked;
}

static PyObject *begin(struct ring *ring, struct asked *asked)
{
    int failed = ring_start(ring, &asked->operation);

    if (failed == -EBUSY) {
        ring_submit(ring);
        failed = ring_start(ring, &asked->operation);
    }
    if (failed) {
        asked_free(asked);
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* Lend the buffer, or memory that lies as O_DIRECT wants it. */
static int lend(struct ring *ring, struct asked *asked, PyObject *buffer)
{
    struct operation *operation = &asked->operation;
    bool writes = operation->opcode == URING_WRITE;

    if (PyObject_GetBuffer(buffer, &asked->buffer, writes ? PyBUF_SIMPLE : PyBUF_WRITABLE) < 0)
        return -1;
    operation->length = (size_t)asked->buffer.len;
    operation->memory = asked->buffer.buf;
    if (operation->length > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "too long for one call");
        return -1;
    }
    if (!operation->direct || ((uintptr_t)operation->memory & 4095) == 0)
        return 0;
    if (!operation_memory(ring, operation)) {
        PyErr_NoMemory();
        return -1;
    }
    if (writes)
        memcpy(operation->memory, asked->buffer.buf, operation->length);
    return 0;
}

static PyObject *transfer(struct ring *ring, PyObject *args, enum uring_opcode opcode)
{
    PyObject *buffer, *cookie;
    struct asked *asked;
    int fd, direct;
    unsigned long long offset;
    unsigned int flags;

    if (!PyArg_ParseTuple(args, "iKOIpO", &fd, &offset, &buffer, &flags, &direct, &cookie))
        return NULL;
    asked = asked_new(cookie);
    if (asked == NULL)
        return NULL;
    asked->operation.opcode = opcode;
    asked->operation.fd = fd;
    asked->operation.offset = offset;
    asked->operation.flags = flags;
    asked->operation.direct = direct != 0;
    if (lend(ring, asked, buffer) < 0) {
        asked_free(asked);
        return NULL;
    }
    return begin(ring, asked);
}

static PyObject *ring_read(PyObject *self, PyObject *args)
{
    return transfer((struct ring *)self, args, URING_READ);
}

static PyObject *ring_write(PyObject *self, PyObject *args)
{
    return transfer((struct ring *)self, args, URING_WRITE);
}

static PyObject *ring_sync(PyObject *self, PyObject *args)
{
    struct asked *asked;
    PyObject *cookie;
    int fd;

    if (!PyArg_ParseTuple(args, "iO:sync", &fd, &cookie) || (asked = asked_new(cookie)) == NULL)
        return NULL;
    asked->operation.opcode = URING_FSYNC;
    asked->operation.fd = fd;
    return begin((struct ring *)self, asked);
}

static PyObject *ring_allocate(PyObject *self, PyObject *args)
{
    struct asked *asked;
    PyObject *cookie;
    int fd;
    unsigned int mode;
    unsigned long long offset, length;

    if (!PyArg_ParseTuple(args, "iIKKO:allocate", &fd, &mode, &offset, &length, &cookie)
        || (asked = asked_new(cookie)) == NULL)
        return NULL;
    asked->operation.opcode = URING_FALLOCATE;
    asked->operation.fd = fd;
    asked->operation.flags = mode;
    asked->operation.offset = offset;
    asked->operation.length = (size_t)length;
    return begin((struct ring *)self, asked);
}

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

static bool is_of(const struct operation *operation, PyObject *cookie)
{
    return operation->ended == asked_ended
           && PyObject_RichCompareBool(((const struct asked *)operation)->cookie, cookie, Py_EQ) > 0;
}

static PyObject *ring_cancel(PyObject *self, PyObject *cookie)
{
    struct ring *ring = (struct ring *)self;

    for (struct operation *each = ring->under_way.after; each != &ring->under_way; each = each->after) {
        struct uring_sqe *entry;
        if (!is_of(each, cookie))
            continue;
        entry = uring_next(&ring->uring);
        if (entry == NULL)
            break;
        entry->opcode = URING_CANCEL;
        entry->fd = -1;
        entry->address = (uint64_t)(uintptr_t)each;
        ring_submit(ring);
        break;
    }
    PyErr_Clear(); /* cookies that cannot be compared are not alike */
    Py_RETURN_NONE;
}

static PyObject *ring_forget_file(PyObject *self, PyObject *args)
{
    int fd;

    if (!PyArg_ParseTuple(args, "i:forget", &fd))
        return NULL;
    ring_forget((struct ring *)self, fd);
    Py_RETURN_NONE;
}

static void give_back(struct ring *ring)
{
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
