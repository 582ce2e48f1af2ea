/* A set of task tags: open addressing, at most half full. */
#ifndef TAGS_H
#define TAGS_H

#include "python.h"

#include <stdbool.h>
#include <stdint.h>

/* A Python object with add, discard, "in" and len(). */
struct tags {
    PyObject_HEAD
    uint64_t *slots; /* a tag and IN_USE, or 0 */
    size_t mask, count;
};

/* A new, empty set; NULL with an exception. */
PyObject *tags_new(void);

bool tags_contain(const struct tags *tags, uint32_t tag);

/* Make the type; 0, or -1 with an exception. */
int tags_init(void);

#endif
