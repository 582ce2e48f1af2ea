/* Bytes out: all answers of one event are gathered and sent at once. Waits in place while the socket is full, since the
 * load generator reads all the time. */
#define _GNU_SOURCE
#include "bound.h"

#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ARENA (4 << 20)

static uint8_t arena[ARENA];
static size_t used;
static struct iovec vectors[IOV_MAX];
static size_t vector_count;

/* Send what is gathered unless so many bytes more find room. */
void make_room(struct connection *c, size_t size) {
    if (used + size > ARENA) {
        flush_answers(c);
    }
}

/* Neighbours in memory leave as one vector, so that a run of headers and data in the arena is one. */
void answer_from(struct connection *c, uint8_t *memory, uint32_t size) {
    if (vector_count) {
        struct iovec *last = &vectors[vector_count - 1];
        if ((uint8_t *)last->iov_base + last->iov_len == memory) {
            last->iov_len += size;
            return;
        }
    }
    if (vector_count == IOV_MAX) {
        size_t kept = used; /* the bytes that are to be sent next lie there */
        flush_answers(c);
        used = kept;
    }
    vectors[vector_count++] = (struct iovec){memory, size};
}

uint8_t *answer_memory(struct connection *c, uint32_t size) {
    uint8_t *memory = arena + used;
    used += size;
    answer_from(c, memory, size);
    return memory;
}

/* The header of an answer with this request's ITT; what is common to all is filled in. */
uint8_t *answer(struct connection *c, uint8_t opcode, uint8_t flags, const uint8_t *itt) {
    make_room(c, BHS);
    uint8_t *h = answer_memory(c, BHS);
    memset(h, 0, BHS);
    h[0] = opcode;
    h[1] = flags;
    memcpy(h + 16, itt, 4);
    if (opcode == DATA_IN) {
        put32(h + 20, 0xffffffff); /* the TTT; a Data-In without status has no StatSN (RFC 7143 11.7.4) */
    }
    if (opcode != DATA_IN || flags & 1) {
        put32(h + 24, c->stat_sn++);
    }
    put32(h + 28, c->exp_cmd_sn);
    put32(h + 32, c->exp_cmd_sn + WINDOW - 1);
    return h;
}

void flush_answers(struct connection *c) {
    struct iovec *v = vectors;
    while (vector_count) {
        struct msghdr message = {.msg_iov = v, .msg_iovlen = vector_count};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (sent < 0) { /* the initiator has gone, or the mapped file has become shorter */
            c->closing = 1;
            vector_count = 0;
            break;
        }
        while (vector_count && (size_t)sent >= v->iov_len) {
            sent -= (ssize_t)v->iov_len;
            v++;
            vector_count--;
        }
        if (vector_count) {
            v->iov_base = (char *)v->iov_base + sent;
            v->iov_len -= (size_t)sent;
        }
    }
    used = 0;
    free_sent();
}
