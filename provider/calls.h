/* What the data path's module calls to fire the provider's probes without a call of Python: in a capsule of that name. */
#ifndef CALLS_H
#define CALLS_H

/* The limited API of Python 3.11: one build serves that and every later version. Before all system headers. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <stdint.h>

#define CALLS_CAPSULE "iscsitools.provider._native.calls"

/* As on_pdu and on_xfer of the module; 0, or -1 with an exception. Of a probe of the provider only. */
struct calls {
    int (*pdu)(int probe, PyObject *conn, uint64_t lun, const uint8_t *bhs, const uint8_t *cdb, size_t cdb_length);
    int (*xfer)(int probe, PyObject *conn, uint64_t lun, uint32_t itt, uint32_t ttt, uint64_t address, uint32_t offset,
                uint32_t length, uint32_t kind);
    /* The same without the interpreter's lock, on any thread: by a copy of the strings. NULL with an exception. */
    void *(*open)(PyObject *conn);
    void (*close)(void *copy);
    void (*pdu_of)(int probe, const void *copy, uint64_t lun, const uint8_t *bhs, const uint8_t *cdb, size_t cdb_length);
    void (*xfer_of)(int probe, const void *copy, uint64_t lun, uint32_t itt, uint32_t ttt, uint64_t address,
                    uint32_t offset, uint32_t length, uint32_t kind);
};

#endif
