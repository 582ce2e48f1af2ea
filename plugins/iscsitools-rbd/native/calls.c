/*
 * Requests to librbd and their completions, without a call of Python in librbd's threads: those write to an eventfd, and
 * the event loop reaps a batch. The interpreter's lock is held throughout, which is what keeps the ring of flights whole;
 * librbd's calls here return at once, and its threads never ask for that lock.
 */
#include "image.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { BATCH = 64 };

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void link_last(struct image *image, struct flight *flight)
{
    flight->after = &image->all;
    flight->before = image->all.before;
    flight->before->after = flight;
    image->all.before = flight;
}

static void unlink_flight(struct flight *flight)
{
    flight->before->after = flight->after;
    flight->after->before = flight->before;
}

static void free_flight(struct flight *flight)
{
    Py_XDECREF(flight->request);
    Py_XDECREF(flight->buffer);
    PyMem_Free(flight);
}

void flights_free(struct image *image)
{
    while (image->all.after != &image->all) {
        struct flight *flight = image->all.after;
        unlink_flight(flight);
        ceph.rbd_aio_release(flight->completion);
        if (flight->call != NULL)
            flight->call->ended(flight->call, -ESHUTDOWN);
        free_flight(flight);
    }
    image->late = 0;
}

static int is_late(const struct flight *flight)
{
    return flight->request == NULL && flight->call == NULL;
}

/* Whether a late change may still land on these blocks. */
static int kept_off(const struct image *image, uint64_t offset, uint64_t length)
{
    if (image->late == 0)
        return 0;
    for (const struct flight *at = image->all.after; at != &image->all; at = at->after)
        if (is_late(at) && at->operation != READ && at->offset < offset + length && offset < at->offset + at->length)
            return 1;
    return 0;
}

static int send(struct image *image, struct flight *flight, const void *data)
{
    switch (flight->operation) {
    case READ:
        return ceph.rbd_aio_read(image->image, flight->offset, flight->length, flight->data, flight->completion);
    case WRITE:
        return ceph.rbd_aio_write(image->image, flight->offset, flight->length, data, flight->completion);
    case DISCARD:
        return ceph.rbd_aio_discard(image->image, flight->offset, flight->length, flight->completion);
    case ZERO:
        break;
    }
    return ceph.rbd_aio_write_zeroes(image->image, flight->offset, flight->length, flight->completion, 0, 0);
}

/* 0, or a negative errno. */
static int begin(struct image *image, struct flight *flight, const void *data)
{
    int code = ceph.rbd_aio_create_completion(flight, NULL, &flight->completion);

    if (code != 0)
        return code;
    link_last(image, flight);
    code = send(image, flight, data);
    if (code != 0) {
        unlink_flight(flight);
        ceph.rbd_aio_release(flight->completion);
    }
    return code;
}

static struct flight *new_flight(enum operation operation, uint64_t offset, uint64_t length)
{
    struct flight *flight = PyMem_Malloc(sizeof *flight + (operation == READ ? length : 0));

    if (flight == NULL)
        return NULL;
    flight->request = flight->buffer = NULL;
    flight->call = NULL;
    flight->operation = operation;
    flight->offset = offset;
    flight->length = length;
    flight->sent = now();
    return flight;
}

int image_begin(struct image *image, struct iscsitools_call *call)
{
    struct flight *flight;
    int code;

    if (image->image == NULL)
        return -ENODEV;
    if (kept_off(image, call->offset, call->length))
        return -EBUSY;
    flight = new_flight((enum operation)call->operation, call->offset, call->length);
    if (flight == NULL)
        return -ENOMEM;
    flight->call = call;
    code = begin(image, flight, call->memory);
    if (code != 0)
        free_flight(flight);
    return code;
}

/* submit(request, operation, offset, length, buffer): False: a change that is late may still land on these blocks. */
PyObject *image_submit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct image *image = (struct image *)self;
    unsigned long operation;
    uint64_t offset, length;
    struct flight *flight;
    Py_buffer view;
    int code = 0;

    if (count != 5)
        return PyErr_Format(PyExc_TypeError, "takes 5 arguments, not %zd", count);
    operation = PyLong_AsUnsignedLong(args[1]);
    offset = PyLong_AsUnsignedLongLong(args[2]);
    length = PyLong_AsUnsignedLongLong(args[3]);
    if (PyErr_Occurred())
        return NULL;
    if (image->image == NULL || operation > ZERO)
        return PyErr_Format(PyExc_ValueError, "the image is closed, or there is no such operation");
    if (kept_off(image, offset, length))
        Py_RETURN_FALSE;
    if (PyObject_GetBuffer(args[4], &view, operation == READ ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return NULL;
    if (operation <= WRITE && (uint64_t)view.len != length) {
        PyBuffer_Release(&view);
        return PyErr_Format(PyExc_ValueError, "the buffer is not as long as the request");
    }
    flight = new_flight((enum operation)operation, offset, length);
    if (flight != NULL) {
        flight->request = Py_NewRef(args[0]);
        flight->buffer = Py_NewRef(args[4]);
        code = begin(image, flight, view.buf);
    }
    PyBuffer_Release(&view);
    if (flight == NULL)
        return PyErr_NoMemory();
    if (code == 0)
        Py_RETURN_TRUE;
    free_flight(flight);
    errno = -code;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Give the reader what was read. */
static int deliver(const struct flight *flight)
{
    Py_buffer view;

    if (PyObject_GetBuffer(flight->buffer, &view, PyBUF_WRITABLE) < 0)
        return -1;
    memcpy(view.buf, flight->data, (size_t)flight->length);
    PyBuffer_Release(&view);
    return 0;
}

/* The same of a data path, which has lent its memory until it is told. */
static void finish_call(struct flight *flight, ssize_t code)
{
    struct iscsitools_call *call = flight->call;

    if (code >= 0 && flight->operation == READ) {
        memcpy(call->memory, flight->data, (size_t)code);
        code = (uint64_t)code == flight->length ? code : -EIO;
    } else if (code >= 0) {
        code = (ssize_t)flight->length;
    }
    call->ended(call, code);
}

/* One that librbd has answered: its request is complete, or "failed" is told the code. */
static int finish(struct image *image, rbd_completion_t completion, PyObject *complete, PyObject *failed)
{
    struct flight *flight = ceph.rbd_aio_get_arg(completion);
    ssize_t code = ceph.rbd_aio_get_return_value(completion);
    PyObject *result = Py_None;

    ceph.rbd_aio_release(completion);
    unlink_flight(flight);
    if (flight->request == NULL) {
        if (flight->call != NULL)
            finish_call(flight, code);
        else
            image->late--;
        free_flight(flight);
        return 0;
    }
    if (code < 0 || (flight->operation == READ && (uint64_t)code != flight->length))
        result = PyObject_CallFunction(failed, "On", flight->request, code);
    else if (flight->operation == READ && deliver(flight) < 0)
        result = NULL;
    else
        result = PyObject_CallMethodNoArgs(flight->request, complete);
    free_flight(flight);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* reap(failed): complete the requests that librbd has answered. */
PyObject *image_reap(PyObject *self, PyObject *failed)
{
    struct image *image = (struct image *)self;
    rbd_completion_t batch[BATCH];
    PyObject *complete = PyUnicode_InternFromString("complete");
    int count = BATCH, bad = complete == NULL;

    while (!bad && count == BATCH && image->image != NULL) {
        count = ceph.rbd_poll_io_events(image->image, batch, BATCH);
        for (int i = 0; i < count; i++)
            bad |= finish(image, batch[i], complete, failed) < 0;
    }
    Py_XDECREF(complete);
    if (bad)
        return NULL;
    Py_RETURN_NONE;
}

/*
 * overdue(seconds, errno): the requests that were sent longer ago; librbd still has them, and they are late now. Calls of a
 * data path end here, with that error.
 */
PyObject *image_overdue(PyObject *self, PyObject *args)
{
    struct image *image = (struct image *)self;
    double seconds, before;
    PyObject *found;
    int code;

    if (!PyArg_ParseTuple(args, "di:overdue", &seconds, &code))
        return NULL;
    before = now() - seconds;
    found = PyList_New(0);

    for (struct flight *at = image->all.after; found != NULL && at != &image->all && at->sent <= before; at = at->after) {
        if (is_late(at))
            continue;
        image->late++;
        if (at->call != NULL) {
            at->call->ended(at->call, -code);
            at->call = NULL;
            continue;
        }
        if (PyList_Append(found, at->request) < 0) {
            image->late--;
            Py_CLEAR(found);
            break;
        }
        Py_CLEAR(at->request);
        Py_CLEAR(at->buffer);
    }
    return found;
}

/* waiting(): seconds since the oldest one that is late was sent; 0: none is. */
PyObject *image_waiting(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const struct image *image = (const struct image *)self;

    for (const struct flight *at = image->all.after; image->late && at != &image->all; at = at->after)
        if (is_late(at))
            return PyFloat_FromDouble(now() - at->sent);
    return PyFloat_FromDouble(0.0);
}
