/* One io_uring by its system calls, its file descriptor fit for epoll.
 *
 * Completions wait until this thread enters the kernel anyway (COOP_TASKRUN), which it is told of by a flag
 * (TASKRUN_FLAG). DEFER_TASKRUN would be cheaper still, but does not wake an epoll on the ring's descriptor. */
#define _GNU_SOURCE
#include "bound.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SETUP_COOP_TASKRUN /* headers older than Linux 5.19 and 6.0 */
#define IORING_SETUP_COOP_TASKRUN (1u << 8)
#define IORING_SETUP_TASKRUN_FLAG (1u << 9)
#define IORING_SQ_TASKRUN (1u << 2)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1u << 12)
#endif

static struct {
    int fd;
    unsigned entries, mask, tail, submitted, completion_mask, head;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    _Atomic unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
} ring;

static void enter(unsigned flags) {
    atomic_store_explicit(ring.sq_tail, ring.tail, memory_order_release);
    long taken = syscall(SYS_io_uring_enter, ring.fd, ring.tail - ring.submitted, 0, flags, NULL, 0);
    if (taken < 0) {
        die("io_uring_enter");
    }
    ring.submitted += (unsigned)taken;
}

static void *map(size_t size, off_t what) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, what);
    if (memory == MAP_FAILED) {
        die("mmap of io_uring");
    }
    return memory;
}

static void map_queues(const struct io_uring_params *p) {
    size_t submissions = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t completions = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    char *base = map(submissions > completions ? submissions : completions, IORING_OFF_SQ_RING);
    ring.sqes = map(p->sq_entries * sizeof *ring.sqes, IORING_OFF_SQES);
    ring.sq_head = (void *)(base + p->sq_off.head);
    ring.sq_tail = (void *)(base + p->sq_off.tail);
    ring.sq_flags = (void *)(base + p->sq_off.flags);
    ring.cq_head = (void *)(base + p->cq_off.head);
    ring.cq_tail = (void *)(base + p->cq_off.tail);
    ring.cqes = (void *)(base + p->cq_off.cqes);
    ring.entries = p->sq_entries;
    ring.mask = p->sq_entries - 1;
    ring.completion_mask = p->cq_entries - 1;
    unsigned *array = (void *)(base + p->sq_off.array);
    for (unsigned i = 0; i < p->sq_entries; i++) {
        array[i] = i;
    }
}

/* Open the ring of this thread; returns its descriptor. */
int ring_open(unsigned entries) {
    struct io_uring_params p = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG};
    ring.fd = (int)syscall(SYS_io_uring_setup, entries, &p);
    if (ring.fd < 0 && errno == EINVAL) { /* before Linux 6.0 */
        p = (struct io_uring_params){.flags = 0};
        ring.fd = (int)syscall(SYS_io_uring_setup, entries, &p);
    }
    if (ring.fd < 0) {
        die("io_uring_setup");
    }
    map_queues(&p);
    return ring.fd;
}

/* An empty entry at the queue's end; the queue is submitted when it is full. */
struct io_uring_sqe *ring_sqe(void) {
    if (ring.tail - atomic_load_explicit(ring.sq_head, memory_order_acquire) == ring.entries) {
        enter(0);
    }
    return memset(&ring.sqes[ring.tail++ & ring.mask], 0, sizeof(struct io_uring_sqe));
}

void ring_submit(void) {
    if (ring.tail != ring.submitted) {
        enter(0);
    }
}

/* The next completion; returns 0 when there is none. */
int ring_reap(uint64_t *user_data, int *result) {
    if (ring.head == atomic_load_explicit(ring.cq_tail, memory_order_acquire)) {
        unsigned flags = atomic_load_explicit(ring.sq_flags, memory_order_relaxed);
        if (!(flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN))) {
            return 0;
        }
        enter(IORING_ENTER_GETEVENTS);
        if (ring.head == atomic_load_explicit(ring.cq_tail, memory_order_acquire)) {
            return 0;
        }
    }
    const struct io_uring_cqe *cqe = &ring.cqes[ring.head & ring.completion_mask];
    *user_data = cqe->user_data;
    *result = cqe->res;
    atomic_store_explicit(ring.cq_head, ++ring.head, memory_order_release);
    return 1;
}
