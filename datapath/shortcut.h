/* Backstores whose bytes are reached without a call of Python: iscsitools/backstores/shortcut.py says what they offer. */
#ifndef SHORTCUT_H
#define SHORTCUT_H

#include "python.h"

#include <stdbool.h>
#include <stdint.h>

enum shortcut_kind { SHORTCUT_NONE, SHORTCUT_FILE, SHORTCUT_RAM, SHORTCUT_NULL };

/* The plain words of a backstore; the array is shared with it. */
struct shortcut {
    enum shortcut_kind kind;
    Py_buffer words;
    PyObject *chunks; /* of ram: by number, a bytearray each */
    PyObject *slow;   /* of file: called with begin and end of a write that was slow */
};

/* What became of an attempt. */
enum attempt {
    DONE,
    CANNOT,  /* not without waiting, and asking the backstore would bring nothing else */
    ASK,     /* only its own methods know */
};

/* Take over what "store" offers; 0, or -1 with an exception. */
int shortcut_open(struct shortcut *shortcut, PyObject *store);

/* Whether something that was written may not be durable; -1: its "unflushed" says so. */
int shortcut_unflushed(const struct shortcut *shortcut);

enum attempt shortcut_read(const struct shortcut *shortcut, uint64_t offset, uint8_t *to, size_t length);
enum attempt shortcut_write(const struct shortcut *shortcut, uint64_t offset, const uint8_t *from, size_t length);

int shortcut_visit(const struct shortcut *shortcut, visitproc visit, void *arg);
void shortcut_close(struct shortcut *shortcut);

#endif
