/* iscsitools.scsi.core.gate.Gate: what the data path has to know of one I_T_L nexus. */
#ifndef GATE_H
#define GATE_H

#include "shortcut.h"
#include "python.h"

struct gate {
    PyObject_HEAD
    PyObject *store;
    struct shortcut shortcut;
    uint64_t number, block_size, blocks;
    uint64_t read_open, write_open;
};

/* The type, after gate_init. */
extern PyTypeObject *gate_type;

/* Make the type; 0, or -1 with an exception. */
int gate_init(void);

#endif
