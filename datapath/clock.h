/* The clock of all that is timed here: CLOCK_MONOTONIC, in nanoseconds, as time.monotonic_ns has it. */
#ifndef CLOCK_H
#define CLOCK_H

#include "python.h"

#include <stdint.h>
#include <time.h>

static inline uint64_t monotonic_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

#endif
