/* An image with a client of its own, and the requests that librbd has. */
#ifndef IMAGE_H
#define IMAGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "carrier_interface.h"
#include "ceph.h"

enum operation { READ = ISCSITOOLS_READ, WRITE = ISCSITOOLS_WRITE, DISCARD, ZERO };

/*
 * One request, or one call of a data path in C. librbd reads into "data", which is ours until it has answered: one whose
 * time was over has its buffer back, and "request" and "call" are NULL then. What is written librbd copies before its call
 * returns.
 */
struct flight {
    struct flight *before, *after; /* in the order of sending */
    PyObject *request, *buffer;
    struct iscsitools_call *call;
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
    Py_ssize_t late;   /* how many have lost their request or call */
};

/* Beginning and end of an Image; see opening.c. */
PyObject *image_new(PyTypeObject *type, PyObject *unused, PyObject *named);
int image_init(PyObject *self, PyObject *args, PyObject *named);
PyObject *image_close(PyObject *self, PyObject *unused);
void image_dealloc(PyObject *self);

/* Raise OSError for a negative errno: NULL. */
PyObject *image_failed(int code, const char *what);

/* The methods that hand over requests; see calls.c. */
PyObject *image_submit(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *image_reap(PyObject *self, PyObject *failed);
PyObject *image_overdue(PyObject *self, PyObject *args);
PyObject *image_waiting(PyObject *self, PyObject *unused);

/* A call of a data path: 0, or a negative errno, and then nothing has been done. */
int image_begin(struct image *image, struct iscsitools_call *call);

/* Make the type Carrier and put it into the module; see carrier.c. 0, or -1 with an exception. */
int carrier_init(PyObject *module);

/* Free what librbd has answered, or never will because the image is closed. */
void flights_free(struct image *image);

#endif
