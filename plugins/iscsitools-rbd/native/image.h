/* An image with a client of its own, and the requests that librbd has. */
#ifndef IMAGE_H
#define IMAGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ceph.h"

enum operation { READ, WRITE, DISCARD, ZERO };

/*
 * One request. librbd reads into "data", which is ours until it has answered: a request whose time was over has its buffer
 * back, and "request" is NULL then. What is written librbd copies before its call returns.
 */
struct flight {
    struct flight *before, *after; /* in the order of sending */
    PyObject *request, *buffer;
    rbd_completion_t completion;
    enum operation operation;
    uint64_t offset, length;
    double sent; /* seconds of the monotonic clock */
    char data[];
};

struct image {
    PyObject_HEAD
    rados_t cluster;
    rados_ioctx_t pool;
    rbd_image_t image; /* NULL: it is closed, or being closed in a thread */
    struct flight all; /* a ring */
    Py_ssize_t late;   /* how many have lost their request */
};

/* The methods that hand over requests; see calls.c. */
PyObject *image_submit(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *image_reap(PyObject *self, PyObject *failed);
PyObject *image_overdue(PyObject *self, PyObject *seconds);
PyObject *image_waiting(PyObject *self, PyObject *unused);

/* Free what librbd has answered, or never will because the image is closed. */
void flights_free(struct image *image);

#endif
