/* A backstore's own way to its blocks, in C (carrier_interface.h), as the data path sees it. */
#ifndef CARRIER_H
#define CARRIER_H

#include "air.h"

/* The type, after carrier_init. */
extern PyTypeObject *carrier_type;

/* What flies with one. */
struct air *carrier_air(PyObject *carrier);

/* Make the type and put it into the module; 0, or -1 with an exception. */
int carrier_init(PyObject *module);

#endif
