/* Events that are taken without Python, while a connection is alone with its data path. */
#ifndef TAKER_H
#define TAKER_H

#include "python.h"

/* events(fd, buffers, budget, on_event, left): a method of DataPath. */
PyObject *path_events(PyObject *self, PyObject *args);

/* Make the type; 0, or -1 with an exception. */
int taker_init(void);

#endif
