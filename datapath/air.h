/* What flies (flights.h), of one ring or of one carrier. */
#ifndef AIR_H
#define AIR_H

#include "python.h"

#include <stdbool.h>

struct flight;

struct air {
    struct flight *first, *last; /* oldest first */
    uint64_t waiting, reaps;     /* flights that have not begun; how often completions were looked at */
    PyObject *results;           /* what reap is going to return, or NULL */
    /* Memory for a flight whose length is known; false: there is none now. */
    bool (*find_memory)(struct air *air, struct flight *flight);
    /* Begin one; 0, or a negative errno, and then nothing was done. */
    int (*start)(struct air *air, struct flight *flight);
    /* The same of one that has waited for others; false: not now, but when the next one has landed. */
    bool (*start_waiting)(struct air *air, struct flight *flight);
    void (*submit)(struct air *air); /* hand over what was begun, once for many; NULL: each was when it began */
};

#endif
