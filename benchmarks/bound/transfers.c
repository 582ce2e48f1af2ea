/* Reads and writes by io_uring: submitted once for each turn of the loop, answered as they complete. */
#define _GNU_SOURCE
#include "bound.h"

#include <linux/io_uring.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TRANSFERS 1024

static struct transfer transfers[TRANSFERS], *unused, *sent;
static int file;

void open_transfers(int fd) {
    uint8_t *memory = mmap(NULL, (size_t)TRANSFERS * LONGEST, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        die("mmap");
    }
    for (int i = TRANSFERS - 1; i >= 0; i--) {
        transfers[i].buffer = memory + (size_t)i * LONGEST;
        transfers[i].next = unused;
        unused = &transfers[i];
    }
    file = fd;
}

/* One that nobody uses; the one that was freed last, whose buffer is in the processor's cache. */
struct transfer *get_transfer(struct connection *c, const uint8_t *itt, uint32_t length) {
    struct transfer *t = unused;
    if (!t) {
        die("too many commands at once");
    }
    unused = t->next;
    t->connection = c;
    memcpy(t->itt, itt, 4);
    t->length = length;
    t->is_write = (c->header[32] & 0x1f) == 0x0a;
    return t;
}

void free_transfer(struct transfer *t) {
    t->next = unused;
    unused = t;
}

void submit_transfer(struct transfer *t, uint64_t offset) {
    struct io_uring_sqe *sqe = ring_sqe();
    sqe->opcode = t->is_write ? IORING_OP_WRITE : IORING_OP_READ;
    sqe->fd = file;
    sqe->addr = (uint64_t)(uintptr_t)t->buffer;
    sqe->len = t->length;
    sqe->off = offset;
    sqe->user_data = (uint64_t)(uintptr_t)t;
    t->connection->under_way++;
}

static void finish(struct transfer *t) {
    if (t->is_write) {
        good(t->connection, t->itt);
        free_transfer(t);
    } else {
        data_in(t->connection, t->itt, t->buffer, t->length);
        t->next = sent;
        sent = t;
    }
}

/* Submit what was queued, answer what is complete; one send for each run of one connection's answers. */
void run_transfers(void) {
    struct connection *current = NULL;
    uint64_t user_data;
    int result;
    ring_submit();
    while (ring_reap(&user_data, &result)) {
        struct transfer *t = (struct transfer *)(uintptr_t)user_data;
        if (result != (int)t->length) {
            die("io_uring: a transfer failed");
        }
        if (current && current != t->connection) {
            flush_answers(current);
            current = NULL;
        }
        t->connection->under_way--;
        if (t->connection->closed) { /* nobody waits for it */
            forget(t->connection);
            free_transfer(t);
            continue;
        }
        current = t->connection;
        finish(t);
    }
    if (current) {
        flush_answers(current);
    }
}

/* What was gathered has been sent: its buffers are free. */
void free_sent(void) {
    while (sent) {
        struct transfer *t = sent;
        sent = t->next;
        free_transfer(t);
    }
}
