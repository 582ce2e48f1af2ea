/* What flies (flights.h), of one ring or of one carrier. */
#ifndef AIR_H
#define AIR_H

#include "python.h"

#include "airspace.h"

#include <stdbool.h>

struct flight;
struct operation;

struct air {
    struct flight *first, *last; /* oldest first */
    uint64_t waiting;            /* flights that have not begun */
    PyObject *results;           /* what reap is going to return, or NULL */
    struct airspace *space;      /* where others see what flies; NULL: there is nobody else */
    size_t longest;              /* bytes of a flight, at most */
    struct data_thread *thread;  /* the data thread whose it is; NULL: it is the loop's thread's */
    /* Memory for a flight whose length is known; false: there is none now. */
    bool (*find_memory)(struct air *air, struct flight *flight);
    /* Begin one; 0, or a negative errno, and then nothing was done. */
    int (*start)(struct air *air, struct flight *flight);
    /* The same of one that has waited for others; false: not now, but when the next one has landed. */
    bool (*start_waiting)(struct air *air, struct flight *flight);
    void (*submit)(struct air *air); /* hand over what was begun, once for many; NULL: each was when it began */
    /* One of a ring has ended: operation.ended. */
    void (*ended)(struct operation *operation, int64_t result);
    /* The loop's thread has done with one of a data thread, whose its memory is; NULL: it is freed at once. */
    void (*give_back)(struct air *air, struct flight *flight);
};

#endif
