/*
 * What is under way in a ring. A call that moved less than it was to is continued; one that the kernel cannot take ends
 * with an error, and its caller does it in another way.
 */
#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 4096, LOGICAL_BLOCK = 512 };

/* -- memory */

/* The slots, with the first call that wants one. Registered memory counts against RLIMIT_MEMLOCK: it may go without. */
static bool open_slots(struct ring *ring)
{
    void *memory;

    if (ring->memory != NULL)
        return true;
    memory = mmap(NULL, (size_t)RING_SLOTS * SLOT_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    ring->memory = memory;
    ring->memory_registered = uring_register_memory(&ring->uring, memory, (size_t)RING_SLOTS * SLOT_LENGTH) == 0;
    for (int i = 0; i < RING_SLOTS; i++)
        ring->free_slots[i] = RING_SLOTS - 1 - i; /* the first ones first: others look at fewer */
    ring->free_count = RING_SLOTS;
    return true;
}

static bool take_slot(struct ring *ring, struct operation *operation)
{
    operation->slot = NO_SLOT;
    if (!open_slots(ring) || ring->free_count == 0)
        return false;
    operation->slot = ring->free_slots[--ring->free_count];
    operation->memory = ring->memory + (size_t)operation->slot * SLOT_LENGTH;
    operation->ring = ring;
    return true;
}

bool operation_memory(struct ring *ring, struct operation *operation)
{
    void *memory = NULL;

    if (operation->length <= SLOT_LENGTH && take_slot(ring, operation))
        return true;
    operation->own = posix_memalign(&memory, ALIGNMENT, operation->length) == 0;
    operation->memory = memory;
    return operation->own;
}

bool operation_place(struct ring *ring, struct operation *operation)
{
    if (!take_slot(ring, operation))
        return false;
    if (operation->length <= SLOT_LENGTH)
        return true;
    if (ring->long_bytes + operation->length <= MOST_LONG)
        operation->memory = pool_take(ring->pool, operation->length);
    else
        operation->memory = NULL;
    operation->pooled = operation->memory != NULL;
    ring->long_bytes += operation->pooled ? operation->length : 0;
    return operation->pooled;
}

void operation_release(struct operation *operation)
{
    if (operation->pooled) {
        operation->ring->long_bytes -= operation->length;
        pool_give(operation->ring->pool, operation->memory, operation->length);
    }
    if (operation->slot != NO_SLOT)
        operation->ring->free_slots[operation->ring->free_count++] = operation->slot;
    if (operation->own)
        free(operation->memory);
    operation->slot = NO_SLOT;
    operation->own = operation->pooled = false;
}

/* -- files */

/* The place of a registered descriptor, or -1; it is registered now if there is a place. */
static int place_of(struct ring *ring, int fd)
{
    int empty = -1;

    for (int i = 0; ring->places_registered && i < FILE_PLACES; i++) {
        int known = __atomic_load_n(&ring->files[i], __ATOMIC_ACQUIRE);
        if (known == fd)
            return i;
        if (known < 0 && empty < 0)
            empty = i;
    }
    if (empty >= 0 && uring_register_file(&ring->uring, (uint32_t)empty, fd) == 0)
        __atomic_store_n(&ring->files[empty], fd, __ATOMIC_RELEASE);
    else
        empty = -1;
    return empty;
}

/* The place is empty for its thread once the kernel has let go of the file. */
void ring_forget(struct ring *ring, int fd)
{
    for (int i = 0; i < FILE_PLACES; i++)
        if (fd >= 0 && __atomic_load_n(&ring->files[i], __ATOMIC_ACQUIRE) == fd) {
            (void)uring_register_file(&ring->uring, (uint32_t)i, -1);
            __atomic_store_n(&ring->files[i], -1, __ATOMIC_RELEASE);
        }
}

/* -- calls */

static void set_file(struct ring *ring, struct uring_sqe *entry, int fd)
{
    int place = place_of(ring, fd);

    entry->fd = place < 0 ? fd : place;
    entry->flags = place < 0 ? 0 : URING_FIXED_FILE;
}

static void fill(struct ring *ring, struct uring_sqe *entry, const struct operation *operation)
{
    bool fixed = ring->memory_registered && operation->slot != NO_SLOT && !operation->pooled;

    set_file(ring, entry, operation->fd);
    entry->opcode = (uint8_t)operation->opcode;
    entry->data = (uint64_t)(uintptr_t)operation;
    switch (operation->opcode) {
    case URING_READ:
    case URING_WRITE:
        if (fixed)
            entry->opcode = operation->opcode == URING_READ ? URING_READ_FIXED : URING_WRITE_FIXED;
        entry->offset = operation->offset + operation->done;
        entry->address = (uint64_t)(uintptr_t)(operation->memory + operation->done);
        entry->length = (uint32_t)(operation->length - operation->done);
        entry->operation_flags = operation->flags;
        break;
    case URING_FALLOCATE:
        entry->offset = operation->offset;
        entry->address = operation->length; /* the kernel has the length here, and the mode there */
        entry->length = operation->flags;
        break;
    default:
        entry->operation_flags = URING_DATASYNC;
        break;
    }
}

static int queue(struct ring *ring, struct operation *operation)
{
    struct uring_sqe *entry = uring_next(&ring->uring);

    if (entry == NULL)
        return -EBUSY;
    fill(ring, entry, operation);
    return 0;
}

int ring_start(struct ring *ring, struct operation *operation)
{
    int failed = ring->uring.fd < 0 ? -EBADF : queue(ring, operation);

    if (failed)
        return failed;
    operation->ring = ring;
    operation->after = &ring->under_way;
    operation->before = ring->under_way.before;
    operation->before->after = operation->after->before = operation;
    ring->count++;
    return 0;
}

static void end(struct operation *operation, int64_t result)
{
    operation->before->after = operation->after;
    operation->after->before = operation->before;
    operation->ring->count--;
    operation->ended(operation, result);
}

void ring_submit(struct ring *ring)
{
    int failed = uring_submit(&ring->uring);
    const struct uring_sqe *entry;

    while (failed && (entry = uring_take_back(&ring->uring)) != NULL)
        if (entry->data != 0)
            end((struct operation *)(uintptr_t)entry->data, failed);
}

/* Bytes were moved: go on with the rest, but at the end of the file. */
static void moved(struct operation *operation, int32_t count)
{
    bool at_end = count == 0 || (operation->direct && count % LOGICAL_BLOCK != 0);

    operation->done += (size_t)count;
    if (operation->done < operation->length && !at_end) {
        if (queue(operation->ring, operation) == 0)
            return;
        ring_submit(operation->ring);
        if (queue(operation->ring, operation) == 0)
            return;
    }
    if (operation->done < operation->length && (!at_end || operation->opcode == URING_WRITE))
        end(operation, at_end ? -EIO : -EBUSY);
    else
        end(operation, (int64_t)operation->done);
}

void ring_reap(struct ring *ring)
{
    struct uring_cqe completion;

    while (uring_reap(&ring->uring, &completion)) {
        struct operation *operation = (struct operation *)(uintptr_t)completion.data;
        if (operation == NULL)
            continue; /* what came of a cancellation */
        if (completion.result < 0)
            end(operation, completion.result);
        else if (operation->opcode == URING_READ || operation->opcode == URING_WRITE)
            moved(operation, completion.result);
        else
            end(operation, 0);
    }
    ring_submit(ring);
}
