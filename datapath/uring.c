#include "uring.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* The same numbers on every machine but Alpha, where they are not these. */
enum { CALL_SETUP = 425, CALL_ENTER = 426, CALL_REGISTER = 427 };
/* Completions are taken when this thread enters the kernel anyway, not by an interrupt of it; and it is told of them. */
enum { SETUP_COOPERATIVE = 1 << 8, SETUP_TELL = 1 << 9 };
enum { FEATURE_ONE_MAPPING = 1 };
enum { OVERFLOWN = 1 << 1, WORK_WAITS = 1 << 2, GET_EVENTS = 1 };
enum { REGISTER_BUFFERS = 0, REGISTER_FILES = 2, REGISTER_FILES_UPDATE = 6, MOST_PLACES = 256 };
static const int64_t RINGS_AT = 0, SQES_AT = 0x10000000;

struct sq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, unused;
    uint64_t address;
};

struct cq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, unused;
    uint64_t address;
};

struct parameters {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, unused[3];
    struct sq_offsets sq;
    struct cq_offsets cq;
};

struct files_update {
    uint32_t offset, unused;
    uint64_t fds;
};

_Static_assert(sizeof(struct uring_sqe) == 64 && sizeof(struct uring_cqe) == 16 && sizeof(struct parameters) == 120,
               "the kernel's layout");

/* An unsuccessful call's errno, negative. */
static int result_of(long result)
{
    return result < 0 ? -errno : (int)result;
}

static int setup(uint32_t entries, struct parameters *parameters)
{
    int fd;

    *parameters = (struct parameters){.flags = SETUP_COOPERATIVE | SETUP_TELL};
    fd = result_of(syscall(CALL_SETUP, entries, parameters));
    if (fd == -EINVAL) { /* before Linux 5.19 */
        *parameters = (struct parameters){0};
        fd = result_of(syscall(CALL_SETUP, entries, parameters));
    }
    return fd;
}

static void find_parts(struct uring *ring, const struct parameters *parameters)
{
    uint8_t *rings = ring->rings;
    uint32_t *array = (void *)(rings + parameters->sq.array);

    ring->sqes = ring->sqe_memory;
    ring->cqes = (void *)(rings + parameters->cq.cqes);
    ring->entries = parameters->sq_entries;
    ring->sq_mask = parameters->sq_entries - 1;
    ring->cq_mask = parameters->cq_entries - 1;
    ring->sq_head = (void *)(rings + parameters->sq.head);
    ring->sq_tail = (void *)(rings + parameters->sq.tail);
    ring->sq_flags = (void *)(rings + parameters->sq.flags);
    ring->cq_head = (void *)(rings + parameters->cq.head);
    ring->cq_tail = (void *)(rings + parameters->cq.tail);
    for (uint32_t i = 0; i < parameters->sq_entries; i++)
        array[i] = i;
}

int uring_open(struct uring *ring, uint32_t entries)
{
    struct parameters parameters;
    size_t sq_length, cq_length;
    int protection = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;

    *ring = (struct uring){.fd = -1};
    ring->fd = setup(entries, &parameters);
    if (ring->fd < 0)
        return ring->fd;
    sq_length = parameters.sq.array + parameters.sq_entries * sizeof(uint32_t);
    cq_length = parameters.cq.cqes + parameters.cq_entries * sizeof(struct uring_cqe);
    ring->rings_length = sq_length > cq_length ? sq_length : cq_length;
    ring->sqes_length = parameters.sq_entries * sizeof(struct uring_sqe);
    ring->rings = ring->sqe_memory = MAP_FAILED;
    if (parameters.features & FEATURE_ONE_MAPPING) /* since Linux 5.4 */
        ring->rings = mmap(NULL, ring->rings_length, protection, how, ring->fd, (off_t)RINGS_AT);
    if (ring->rings != MAP_FAILED)
        ring->sqe_memory = mmap(NULL, ring->sqes_length, protection, how, ring->fd, (off_t)SQES_AT);
    if (ring->sqe_memory == MAP_FAILED) {
        uring_close(ring);
        return -ENOSYS;
    }
    find_parts(ring, &parameters);
    return 0;
}

void uring_close(struct uring *ring)
{
    if (ring->fd < 0)
        return;
    if (ring->rings != MAP_FAILED)
        munmap(ring->rings, ring->rings_length);
    if (ring->sqe_memory != MAP_FAILED)
        munmap(ring->sqe_memory, ring->sqes_length);
    close(ring->fd);
    ring->fd = -1;
}

struct uring_sqe *uring_next(struct uring *ring)
{
    if (ring->tail - atomic_load_explicit(ring->sq_head, memory_order_acquire) == ring->entries)
        return NULL;
    return memset(&ring->sqes[ring->tail++ & ring->sq_mask], 0, sizeof(struct uring_sqe));
}

int uring_submit(struct uring *ring)
{
    while (ring->submitted != ring->tail) {
        int count;
        atomic_store_explicit(ring->sq_tail, ring->tail, memory_order_release);
        count = result_of(syscall(CALL_ENTER, ring->fd, ring->tail - ring->submitted, 0, 0, NULL, 0));
        if (count == -EINTR)
            continue;
        if (count <= 0)
            return count == 0 ? -EAGAIN : count;
        ring->submitted += (uint32_t)count;
    }
    return 0;
}

const struct uring_sqe *uring_take_back(struct uring *ring)
{
    if (ring->tail == ring->submitted)
        return NULL;
    atomic_store_explicit(ring->sq_tail, --ring->tail, memory_order_release);
    return &ring->sqes[ring->tail & ring->sq_mask];
}

/* Have the kernel bring completions that did not fit, or that it keeps until this thread comes by. */
static void get_events(struct uring *ring)
{
    if (atomic_load_explicit(ring->sq_flags, memory_order_relaxed) & (OVERFLOWN | WORK_WAITS))
        (void)syscall(CALL_ENTER, ring->fd, 0, 0, GET_EVENTS, NULL, 0);
}

bool uring_reap(struct uring *ring, struct uring_cqe *completion)
{
    if (ring->head == atomic_load_explicit(ring->cq_tail, memory_order_acquire)) {
        get_events(ring);
        if (ring->head == atomic_load_explicit(ring->cq_tail, memory_order_acquire))
            return false;
    }
    *completion = ring->cqes[ring->head & ring->cq_mask];
    atomic_store_explicit(ring->cq_head, ++ring->head, memory_order_release);
    return true;
}

static int do_register(const struct uring *ring, unsigned int what, const void *argument, unsigned int count)
{
    int result = result_of(syscall(CALL_REGISTER, ring->fd, what, argument, count));

    return result < 0 ? result : 0;
}

int uring_register_memory(struct uring *ring, void *memory, size_t length)
{
    struct iovec piece = {memory, length};

    return do_register(ring, REGISTER_BUFFERS, &piece, 1);
}

int uring_register_places(struct uring *ring, uint32_t count)
{
    int32_t none[MOST_PLACES];

    if (count > MOST_PLACES)
        return -EINVAL;
    memset(none, -1, sizeof none);
    return do_register(ring, REGISTER_FILES, none, count);
}

int uring_register_file(struct uring *ring, uint32_t place, int fd)
{
    int32_t descriptor = fd;
    struct files_update update = {.offset = place, .fds = (uint64_t)(uintptr_t)&descriptor};

    return do_register(ring, REGISTER_FILES_UPDATE, &update, 1);
}

#else /* there is none */

int uring_open(struct uring *ring, uint32_t entries)
{
    (void)entries;
    *ring = (struct uring){.fd = -1};
    return -ENOSYS;
}

void uring_close(struct uring *ring)
{
    (void)ring;
}

struct uring_sqe *uring_next(struct uring *ring)
{
    (void)ring;
    return NULL;
}

int uring_submit(struct uring *ring)
{
    (void)ring;
    return -ENOSYS;
}

const struct uring_sqe *uring_take_back(struct uring *ring)
{
    (void)ring;
    return NULL;
}

bool uring_reap(struct uring *ring, struct uring_cqe *completion)
{
    (void)ring;
    (void)completion;
    return false;
}

int uring_register_memory(struct uring *ring, void *memory, size_t length)
{
    (void)ring;
    (void)memory;
    (void)length;
    return -ENOSYS;
}

int uring_register_places(struct uring *ring, uint32_t count)
{
    (void)ring;
    (void)count;
    return -ENOSYS;
}

int uring_register_file(struct uring *ring, uint32_t place, int fd)
{
    (void)ring;
    (void)place;
    (void)fd;
    return -ENOSYS;
}

#endif
