/*
 * A ring and what is under way in it. It serves the loop of one thread: the loop's, which holds the interpreter's lock
 * throughout, or a data thread, which does not.
 */
#ifndef RING_H
#define RING_H

#include "air.h"
#include "pool.h"
#include "uring.h"

enum { RING_SLOTS = 128, SLOT_LENGTH = 64 << 10, FILE_PLACES = 64, NO_SLOT = -1 };
enum { MOST_LONG = 8 << 20 /* bytes of flights that are longer than a slot */ };

/* One call. Whoever starts it fills all down to "ended", and takes memory by operation_memory or sets it. */
struct operation {
    enum uring_opcode opcode; /* URING_READ, URING_WRITE, URING_FSYNC or URING_FALLOCATE */
    int fd;
    bool direct;    /* O_DIRECT: aligned memory */
    uint32_t flags; /* of preadv2(2) or pwritev2(2); of URING_FALLOCATE the mode */
    uint64_t offset;
    size_t length;
    /* Called once with what was done, bytes or 0, or a negative errno; frees the operation. */
    void (*ended)(struct operation *operation, int64_t result);
    uint8_t *memory;
    int slot; /* the ring's own memory, or NO_SLOT */
    bool own; /* "memory" was allocated for it */
    bool pooled; /* it is of the ring's pool, and of its slot only the number is used */
    size_t done;
    struct ring *ring;
    struct operation *before, *after;
};

struct ring {
    PyObject_HEAD
    struct uring uring;
    struct operation under_way; /* the list's head */
    uint64_t count;
    uint8_t *memory; /* RING_SLOTS of SLOT_LENGTH; NULL: none yet */
    int free_slots[RING_SLOTS], free_count;
    struct pool own_pool, *pool; /* for what is longer; a data thread's ring has its thread's */
    size_t long_bytes;           /* that are in use of it */
    bool memory_registered, places_registered;
    int files[FILE_PLACES]; /* the descriptor in each place, or -1, atomic: another thread may empty one */
    struct air air;
};

/* The type, after ring_init. */
extern PyTypeObject *ring_type;

/* Take memory of "length" for an operation of this ring: a slot, or allocated; false: there is none. */
bool operation_memory(struct ring *ring, struct operation *operation);

/* The same with a slot's number in any case, which no other operation has; false: there is none now. */
bool operation_place(struct ring *ring, struct operation *operation);

/* Give it back. */
void operation_release(struct operation *operation);

/* Begin; 0, or a negative errno, and then nothing was done. Goes to the kernel with ring_submit. */
int ring_start(struct ring *ring, struct operation *operation);

/* Hand over what was begun. What the kernel does not take ends with an error. */
void ring_submit(struct ring *ring);

/* End what is done. */
void ring_reap(struct ring *ring);

/* A ring, or NULL with an exception. "thread": the data thread whose it is, or NULL. */
struct ring *ring_make(struct data_thread *thread);

/* A descriptor is going to be closed, and nothing of it is under way: from any thread. */
void ring_forget(struct ring *ring, int fd);

/* Make the type and put it into the module; 0, or -1 with an exception. */
int ring_init(PyObject *module);

#endif
