/* The methods of a Ring by which Python's side begins and cancels calls; their results come with its method reap. */
#ifndef RING_CALLS_H
#define RING_CALLS_H

#include "ring.h"

PyObject *ring_read(PyObject *self, PyObject *args);
PyObject *ring_write(PyObject *self, PyObject *args);
PyObject *ring_sync(PyObject *self, PyObject *args);
PyObject *ring_allocate(PyObject *self, PyObject *args);
PyObject *ring_cancel(PyObject *self, PyObject *cookie);

#endif
