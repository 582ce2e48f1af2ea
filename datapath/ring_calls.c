/* Calls of Python's side: they are asked for with an object, the cookie, and end as a pair of it and a result. */
#include "ring_calls.h"

#include <errno.h>
#include <string.h>

/* A call of Python's. "buffer": what is lent for it; "cookie": whose it is. */
struct asked {
    struct operation operation;
    Py_buffer buffer;
    PyObject *cookie;
};

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

PyObject *ring_read(PyObject *self, PyObject *args)
{
    return transfer((struct ring *)self, args, URING_READ);
}

PyObject *ring_write(PyObject *self, PyObject *args)
{
    return transfer((struct ring *)self, args, URING_WRITE);
}

PyObject *ring_sync(PyObject *self, PyObject *args)
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

PyObject *ring_allocate(PyObject *self, PyObject *args)
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

static bool is_of(const struct operation *operation, PyObject *cookie)
{
    return operation->ended == asked_ended
           && PyObject_RichCompareBool(((const struct asked *)operation)->cookie, cookie, Py_EQ) > 0;
}

PyObject *ring_cancel(PyObject *self, PyObject *cookie)
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
