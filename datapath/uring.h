/* io_uring by its system calls (io_uring(7), linux/io_uring.h): one ring, which one thread submits to and reaps. */
#ifndef URING_H
#define URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As the kernel has them; written out, so that what is built on an old system has them too. */
struct uring_sqe {
    uint8_t opcode, flags;
    uint16_t priority;
    int32_t fd;
    uint64_t offset, address;
    uint32_t length, operation_flags; /* operation_flags: rw_flags, fsync_flags, cancel_flags */
    uint64_t data;
    uint16_t buffer, personality;
    uint32_t file;
    uint64_t unused[2];
};

struct uring_cqe {
    uint64_t data;
    int32_t result;
    uint32_t flags;
};

enum uring_opcode {
    URING_FSYNC = 3,
    URING_READ_FIXED = 4,
    URING_WRITE_FIXED = 5,
    URING_CANCEL = 14,
    URING_FALLOCATE = 17,
    URING_READ = 22,
    URING_WRITE = 23,
};
enum { URING_FIXED_FILE = 1, URING_DATASYNC = 1 };

struct uring {
    int fd;
    uint32_t sq_mask, cq_mask, entries, tail, submitted, head;
    void *rings, *sqe_memory;
    size_t rings_length, sqes_length;
    struct uring_sqe *sqes;
    struct uring_cqe *cqes;
    _Atomic uint32_t *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
};

/* Open a ring with places for so many entries, a power of two; 0, or a negative errno (ENOSYS, EPERM: it is forbidden). */
int uring_open(struct uring *ring, uint32_t entries);

/* Give it back. What is under way may still use its memory. */
void uring_close(struct uring *ring);

/* The next entry, zeroed; NULL: all are waiting for uring_submit. */
struct uring_sqe *uring_next(struct uring *ring);

/* Hand the entries to the kernel; 0, or a negative errno, and then they wait for the next time. */
int uring_submit(struct uring *ring);

/* The last entry that was not handed over, which is not an entry any more; NULL: there is none. */
const struct uring_sqe *uring_take_back(struct uring *ring);

/* Take the next completion; false: there is none now. */
bool uring_reap(struct uring *ring, struct uring_cqe *completion);

/* Registration (io_uring_register(2)): memory for the _FIXED operations, as buffer 0; places for descriptors, empty at
 * first; a descriptor for one of them, or -1. 0, or a negative errno: it goes without. */
int uring_register_memory(struct uring *ring, void *memory, size_t length);
int uring_register_places(struct uring *ring, uint32_t count);
int uring_register_file(struct uring *ring, uint32_t place, int fd);

#endif
