/*
 * Numbers by number: open addressing, at most half full. A value is never 0, which says that there is none.
 *
 * Data threads use them too: -1 is for want of memory, and no exception of Python.
 */
#ifndef TRACE_MAP_H
#define TRACE_MAP_H

#include "python.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key, value;
};

/* All zeros is an empty one. */
struct map {
    struct map_slot *slots;
    size_t size, count;
};

/* The value of a key, or 0. */
uint64_t map_get(const struct map *map, uint64_t key);

/* A value that is a pointer. */
static inline void *pointer(uint64_t value)
{
    return (void *)(uintptr_t)value;
}

/* Set a value; 0, or -1. */
int map_put(struct map *map, uint64_t key, uint64_t value);

/* Add to a value, which is 0 where there is none; 0, or -1. */
int map_add(struct map *map, uint64_t key, uint64_t value);

/* Take a value out: it, or 0. */
uint64_t map_take(struct map *map, uint64_t key);

/* Forget all; what values point to is the caller's. */
void map_clear(struct map *map);

/* A dict of all; NULL with an exception. */
PyObject *map_to_dict(const struct map *map);

#endif
