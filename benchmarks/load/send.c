/* Commands and data out. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

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
    return q;
}

/* READ(10) or WRITE(10), or the 16-byte forms where the numbers need them. */
static void put_cdb(uint8_t *cdb, int is_write, uint64_t lba) {
    if (lba + unit.blocks_per_io > 0xffffffffull || unit.blocks_per_io > 0xffff) {
        cdb[0] = is_write ? 0x8a : 0x88;
        put64(cdb + 2, lba);
        put32(cdb + 10, unit.blocks_per_io);
        return;
    }
    cdb[0] = is_write ? 0x2a : 0x28;
    put32(cdb + 2, lba);
    cdb[7] = unit.blocks_per_io >> 8;
    cdb[8] = unit.blocks_per_io;
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
    uint32_t immediate = 0;
    uint32_t first = smaller(opt.block, c->first_burst);
    if (opt.raw) {
        immediate = first = opt.block;
    } else if (c->immediate_data) {
        immediate = smaller(first, c->target_segment);
    }
    int unsolicited = !opt.raw && !c->initial_r2t && immediate < first;
    uint8_t *h = q->header;
    h[1] = (unsolicited ? 0 : 0x80) | 0x21;
    q->data = pattern;
    q->data_length = immediate;
    put24(h + 5, immediate);
    put_cdb(h + 32, 1, lba);
    if (unsolicited) {
        queue_data(c, itt, h + 8, NO_TAG, immediate, first);
    }
}

static uint64_t next_lba(struct connection *c) {
    uint64_t units = unit.blocks / unit.blocks_per_io;
    return (opt.sequential ? c->position++ % units : next_random() % units) * unit.blocks_per_io;
}

/* Queue one command; 0 when no slot is free or the command window is shut. */
int issue(struct connection *c, uint64_t now) {
    if (!c->free_count || (int32_t)(c->max_cmd_sn - c->cmd_sn) < 0) {
        return 0;
    }
    uint32_t itt = c->free_slots[--c->free_count];
    struct slot *slot = &c->slots[itt];
    *slot = (struct slot){.started = now, .lba = next_lba(c), .busy = 1};
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
        queue_write(c, q, itt, slot->lba);
    } else {
        h[1] = 0x80 | 0x41;
        put_cdb(h + 32, 0, slot->lba);
    }
    return 1;
}

/* Gather queued PDUs; returns how many vectors, and their bytes in `total`. */
static int gather(struct connection *c, struct iovec *v, uint64_t *total) {
    int n = 0;
    uint32_t offset = c->out_offset;
    for (uint32_t i = c->out_head; i != c->out_tail && n < 254; i++) {
        if (opt.pdus_per_send && i - c->out_head >= opt.pdus_per_send) {
            break;
        }
        struct queued *q = &c->out[i % QUEUED_PDUS];
        if (offset < BHS) {
            v[n++] = (struct iovec){q->header + offset, BHS - offset};
            *total += BHS - offset;
            offset = 0;
        } else {
            offset -= BHS;
        }
        if (q->data_length > offset) {
            v[n++] = (struct iovec){(void *)(q->data + offset), q->data_length - offset};
            *total += q->data_length - offset;
        }
        offset = 0;
    }
    return n;
}

static void drop_sent(struct connection *c, uint64_t sent) {
    while (sent) {
        uint32_t size = BHS + c->out[c->out_head % QUEUED_PDUS].data_length - c->out_offset;
        if (sent < size) {
            c->out_offset += sent;
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
        struct iovec v[256];
        uint64_t total = 0;
        struct msghdr message = {.msg_iov = v, .msg_iovlen = gather(c, v, &total)};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        totals.sends++;
        if (sent < 0 && errno == EAGAIN) {
            break;
        }
        if (sent < 0) {
            die("send");
        }
        drop_sent(c, sent);
        if ((uint64_t)sent < total) {
            break;
        }
    }
    int wants_out = c->out_head != c->out_tail;
    if (wants_out != c->wants_out) {
        c->wants_out = wants_out;
        struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
}
