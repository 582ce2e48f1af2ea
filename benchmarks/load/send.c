/* Commands and data out. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define VECTORS 255 /* three for each PDU */

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A PDU at the end of the queue, its header zeroed. */
struct queued *enqueue(struct connection *c) {
    struct queued *q = &c->out[c->out_tail % QUEUED_PDUS];
    if (c->out_tail - c->out_head >= QUEUED_PDUS) {
        die("out queue full");
    }
    c->out_tail++;
    memset(q->header, 0, BHS);
    q->data = NULL;
    q->data_length = 0;
    q->sealed = 0;
    return q;
}

/* READ or WRITE in the form that was asked for, or the next longer one that the numbers fit (SBC-3 5.10 to 5.13). */
static void put_cdb(uint8_t *cdb, int is_write, uint64_t lba) {
    uint32_t count = unit.blocks_per_io;
    cdb[1] = opt.cdb_flags;
    if (opt.cdb_size == 6 && lba < 1 << 21 && count < 256) {
        put24(cdb + 1, (uint32_t)lba);
        cdb[0] = is_write ? 0x0a : 0x08;
        cdb[4] = (uint8_t)count;
    } else if (opt.cdb_size <= 10 && lba <= 0xffffffff && count <= 0xffff) {
        cdb[0] = is_write ? 0x2a : 0x28;
        put32(cdb + 2, (uint32_t)lba);
        put16(cdb + 7, count);
    } else if (opt.cdb_size <= 12 && lba <= 0xffffffff) {
        cdb[0] = is_write ? 0xaa : 0xa8;
        put32(cdb + 2, (uint32_t)lba);
        put32(cdb + 6, count);
    } else {
        cdb[0] = is_write ? 0x8a : 0x88;
        put64(cdb + 2, lba);
        put32(cdb + 10, count);
    }
}

/* The bytes from `offset` to `end` of a write as a sequence of Data-Outs (RFC 7143 11.7). */
void queue_data(struct connection *c, uint32_t itt, const uint8_t *lun, uint32_t ttt, uint32_t offset, uint32_t end) {
    for (uint32_t data_sn = 0; offset < end; data_sn++) {
        uint32_t length = smaller(end - offset, c->target_segment);
        struct queued *q = enqueue(c);
        uint8_t *h = q->header;
        h[0] = DATA_OUT;
        h[1] = offset + length == end ? 0x80 : 0;
        put24(h + 5, length);
        memcpy(h + 8, lun, 8);
        put32(h + 16, itt);
        put32(h + 20, ttt);
        put32(h + 28, c->exp_stat_sn);
        put32(h + 36, data_sn);
        put32(h + 40, offset);
        q->data = pattern + offset;
        q->data_length = length;
        offset += length;
    }
}

static void queue_write(struct connection *c, struct queued *q, uint32_t itt, uint64_t lba) {
    uint32_t first = smaller(opt.block, c->first_burst);
    uint32_t immediate = c->immediate_data ? smaller(first, c->target_segment) : 0;
    int unsolicited = !c->initial_r2t && immediate < first;
    uint8_t *h = q->header;
    h[1] = (uint8_t)((unsolicited ? 0 : 0x80) | 0x20 | opt.attribute);
    q->data = pattern;
    q->data_length = immediate;
    put24(h + 5, immediate);
    put_cdb(h + 32, 1, lba);
    if (unsolicited) {
        queue_data(c, itt, h + 8, NO_TAG, immediate, first);
    }
}

/* Where the next I/O goes; an unaligned one one block beside. */
static uint64_t next_lba(struct connection *c) {
    uint64_t units = unit.blocks / unit.blocks_per_io;
    if (opt.sequential) {
        return c->position++ % units * unit.blocks_per_io;
    }
    if (opt.unaligned) {
        return next_random() % (units - 1) * unit.blocks_per_io + 1;
    }
    return next_random() % units * unit.blocks_per_io;
}

/* Queue one command; 0 when no slot is free or the command window is shut. */
int issue(struct connection *c, uint64_t now) {
    if (!c->free_count || (int32_t)(c->max_cmd_sn - c->cmd_sn) < 0) {
        return 0;
    }
    uint32_t itt = c->free_slots[--c->free_count];
    struct slot *slot = &c->slots[itt];
    *slot = (struct slot){.started = now, .busy = 1};
    struct queued *q = enqueue(c);
    uint8_t *h = q->header;
    h[9] = opt.lun;
    put32(h + 16, itt);
    put32(h + 24, c->cmd_sn++);
    put32(h + 28, c->exp_stat_sn);
    if (opt.nop) {
        h[1] = 0x80;
        put32(h + 20, NO_TAG);
        return 1;
    }
    slot->is_write = opt.read_percent < 0 ? opt.writes : (int)(next_random() % 100) >= opt.read_percent;
    h[0] = SCSI_COMMAND;
    put32(h + 20, opt.block);
    if (slot->is_write) {
        queue_write(c, q, itt, next_lba(c));
    } else {
        h[1] = 0xc0 | opt.attribute;
        put_cdb(h + 32, 0, next_lba(c));
    }
    return 1;
}

static uint32_t header_size(const struct connection *c) { return c->digests ? BHS + DIGEST : BHS; }

static uint32_t digest_size(const struct connection *c, const struct queued *q) {
    return c->digests && q->data_length ? DIGEST : 0;
}

/* Compute the digests; the header is complete only now. */
static void seal(const struct connection *c, struct queued *q) {
    if (c->digests && !q->sealed) {
        uint32_t digest = htole32(crc32c(q->header, BHS));
        memcpy(q->header + BHS, &digest, DIGEST);
        q->data_digest = htole32(crc32c(q->data, q->data_length));
    }
    q->sealed = 1;
}

/* Gather queued PDUs; returns how many vectors, and their bytes in `total`. */
static size_t gather(struct connection *c, struct iovec *v, uint64_t *total) {
    size_t n = 0;
    uint32_t offset = c->out_offset;
    for (uint32_t i = c->out_head; i != c->out_tail && n + 3 <= VECTORS; i++) {
        if (opt.pdus_per_send && i - c->out_head >= opt.pdus_per_send) {
            break;
        }
        struct queued *q = &c->out[i % QUEUED_PDUS];
        seal(c, q);
        const struct iovec parts[] = {{q->header, header_size(c)},
                                      {(void *)(uintptr_t)q->data, q->data_length},
                                      {&q->data_digest, digest_size(c, q)}};
        for (int part = 0; part < 3; part++) {
            uint32_t size = (uint32_t)parts[part].iov_len;
            if (offset < size) {
                v[n++] = (struct iovec){(char *)parts[part].iov_base + offset, size - offset};
                *total += size - offset;
            }
            offset -= smaller(offset, size);
        }
    }
    return n;
}

static void drop_sent(struct connection *c, uint64_t sent) {
    while (sent) {
        const struct queued *q = &c->out[c->out_head % QUEUED_PDUS];
        uint32_t size = header_size(c) + q->data_length + digest_size(c, q) - c->out_offset;
        if (sent < size) {
            c->out_offset += (uint32_t)sent;
            return;
        }
        sent -= size;
        c->out_head++;
        c->out_offset = 0;
    }
}

/* Send what is queued, as far as the socket takes it. */
void flush_out(struct connection *c, int epoll) {
    while (c->out_head != c->out_tail) {
        struct iovec v[VECTORS];
        uint64_t total = 0;
        struct msghdr message = {.msg_iov = v, .msg_iovlen = gather(c, v, &total)};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        count_calls(1, 0);
        if (sent < 0 && errno == EAGAIN) {
            break;
        }
        if (sent < 0) {
            die("send");
        }
        drop_sent(c, (uint64_t)sent);
        if ((uint64_t)sent < total) {
            break;
        }
    }
    int wants_out = c->out_head != c->out_tail;
    if (wants_out != c->wants_out) {
        c->wants_out = wants_out;
        struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0u), .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
}
