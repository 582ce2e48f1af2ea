/* The gates of a connection by LUN: open addressing, at most half full. Gates are added and never taken out. */
#ifndef GATES_H
#define GATES_H

#include "gate.h"

struct gates_entry {
    uint64_t lun; /* the 8-byte field */
    struct gate *gate;
};

struct gates {
    struct gates_entry *entries;
    size_t size, count;
};

/* The gate of a LUN, or NULL. */
struct gate *gates_find(const struct gates *gates, uint64_t lun);

/* Set the gate of a LUN; 0, or -1 with an exception. */
int gates_set(struct gates *gates, uint64_t lun, struct gate *gate);

int gates_visit(const struct gates *gates, visitproc visit, void *arg);
void gates_clear(struct gates *gates);

#endif
