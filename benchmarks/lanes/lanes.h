/* A thread's part of the benchmark without sockets, and the two ways to do it: lanes.c and bare.c. */
#ifndef LANES_H
#define LANES_H

#include "batch.h"

enum { BATCH = 32, MOST_STRETCHES = 1 << 15 };
enum { DATA = 4096, STRIDE = BHS_LENGTH + DATA, ROOM = 1 << 20, MOST_LEFT = 10000 };

/* What the bare loop does for each command. */
enum bare { BARE_PREAD, BARE_COPY_FROM, BARE_CLEAR, BARE_PWRITE, BARE_COPY_TO, BARE_COUNT };

/* Some commands: when they began and ended, and what processor time they took, in nanoseconds (together.py). */
struct stretch {
    uint64_t begin, end, cpu;
    uint64_t waits, preempted; /* how often the thread gave its processor up, and how often it was made to */
};

/* What lanes.py says, and what it gets: lanes.py has the same. Threads write to it only at their end. */
struct lane {
    struct path *path;
    const uint8_t *headers; /* the recorded stream: headers of READs and WRITEs of 4 KiB, by CmdSN from 1 on */
    uint64_t count;         /* of them, a multiple of those in a stretch */
    uint64_t stretch;       /* how many are in one, a multiple of BATCH */
    uint64_t segment;       /* bytes of the data segment behind each: 0 or DATA */
    const uint64_t *places; /* for the bare loop: the address of each MiB of a disk in memory */
    int64_t fd;             /* and a file of its own */
    uint64_t bare;          /* enum bare */
    struct stretch *stretches; /* what it noted */
    uint64_t noted;
    uint64_t left;          /* how often a command was left, and tried again: its page was not there */
};

/* A thread's own: nobody else touches these lines while it runs. */
struct job {
    _Alignas(APART) struct lane lane;
    struct user *user;
    pthread_barrier_t *start;
    uint64_t nanoseconds; /* to serve */
    int cpu;
    void (*serve)(struct job *job, const uint8_t *headers); /* those of a stretch */
    uint8_t *in, *out;
};

/* Only what has to be done with the bytes: no PDU, no gate, nobody else thought of. */
void bare_serve(struct job *job, const uint8_t *headers);

#endif
