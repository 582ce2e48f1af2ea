/* Answers in. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static void complete(struct connection *c, uint32_t itt, uint64_t now) {
    if (itt >= (uint32_t)opt.depth || !c->slots[itt].busy) {
        die("bad ITT completed");
    }
    struct slot *slot = &c->slots[itt];
    slot->busy = 0;
    c->free_slots[c->free_count++] = itt;
    if (!totals.measuring) {
        return;
    }
    uint64_t latency = now - slot->started;
    uint64_t bucket = latency / 100;
    totals.ios++;
    c->done++;
    totals.bytes += opt.nop ? 0 : opt.block;
    totals.latency_ns += latency;
    totals.histogram[bucket < HISTOGRAM ? bucket : HISTOGRAM - 1]++;
}

static void on_data_in(struct connection *c, const uint8_t *h, uint32_t itt, uint64_t now) {
    int known = itt < (uint32_t)opt.depth;
    if (known) {
        c->slots[itt].received += get24(h + 5);
    }
    if (!(h[1] & 1)) { /* no status */
        return;
    }
    if (!opt.raw) {
        c->exp_stat_sn = get32(h + 24) + 1;
    }
    if (h[3]) {
        fprintf(stderr, "status %02x\n", h[3]);
        die("bad status in Data-In");
    }
    if (known && c->slots[itt].received != opt.block) {
        die("short data-in");
    }
    complete(c, itt, now);
}

static void on_response(struct connection *c, const uint8_t *h, uint32_t itt, uint64_t now) {
    int known = itt < (uint32_t)opt.depth;
    c->exp_stat_sn = get32(h + 24) + 1;
    if (h[2] || h[3]) {
        fprintf(stderr, "response %02x status %02x\n", h[2], h[3]);
        die("SCSI error status");
    }
    if (known && !c->slots[itt].is_write && c->slots[itt].received != opt.block) {
        die("short read");
    }
    complete(c, itt, now);
}

static void on_nop_in(struct connection *c, const uint8_t *h, uint32_t itt, uint64_t now) {
    if (itt != NO_TAG) {
        c->exp_stat_sn = get32(h + 24) + 1;
        complete(c, itt, now);
    } else if (get32(h + 20) != NO_TAG) { /* a ping of the target's */
        uint8_t *answer = enqueue(c)->header;
        answer[0] = NOP_OUT | IMMEDIATE;
        answer[1] = 0x80;
        memcpy(answer + 8, h + 8, 8);
        put32(answer + 16, NO_TAG);
        memcpy(answer + 20, h + 20, 4);
        put32(answer + 24, c->cmd_sn);
        put32(answer + 28, c->exp_stat_sn);
    }
}

static void on_pdu(struct connection *c, const uint8_t *h, uint64_t now) {
    uint32_t itt = get32(h + 16);
    if (!opt.raw && (int32_t)(get32(h + 32) - c->max_cmd_sn) > 0) {
        c->max_cmd_sn = get32(h + 32);
    }
    switch (h[0] & 0x3f) {
    case DATA_IN:
        on_data_in(c, h, itt, now);
        break;
    case SCSI_RESPONSE:
        on_response(c, h, itt, now);
        break;
    case R2T:
        if ((uint64_t)get32(h + 40) + get32(h + 44) > opt.block) {
            die("R2T out of range");
        }
        queue_data(c, itt, h + 8, get32(h + 20), get32(h + 40), get32(h + 40) + get32(h + 44));
        break;
    case NOP_IN:
        on_nop_in(c, h, itt, now);
        break;
    case REJECT:
        die("Reject received");
    case ASYNC:
        die("async message received");
    default:
        fprintf(stderr, "opcode %02x\n", h[0] & 0x3f);
        die("unexpected opcode");
    }
}

/* Receive once; a long data segment is dropped in the kernel, since its bytes are not looked at. */
static ssize_t receive(struct connection *c, size_t *want) {
    totals.receives++;
    if (c->skip >= 32768) {
        *want = c->skip;
        ssize_t got = recv(c->fd, NULL, *want, MSG_TRUNC | MSG_DONTWAIT);
        c->skip -= got > 0 ? got : 0;
        return got;
    }
    if (c->in_start == c->in_end) {
        c->in_start = c->in_end = 0;
    } else if (c->in_start > RECEIVE_BUFFER / 2) {
        memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
        c->in_end -= c->in_start;
        c->in_start = 0;
    }
    *want = RECEIVE_BUFFER - c->in_end;
    if (opt.block >= 65536 && *want > 4096) {
        *want = 4096; /* leave the data segment to the truncating receive above */
    }
    ssize_t got = recv(c->fd, c->in + c->in_end, *want, MSG_DONTWAIT);
    c->in_end += got > 0 ? got : 0;
    return got;
}

static void parse(struct connection *c, uint64_t now) {
    for (;;) {
        uint32_t available = c->in_end - c->in_start;
        if (c->skip) {
            uint64_t skipped = c->skip < available ? c->skip : available;
            c->in_start += skipped;
            c->skip -= skipped;
            available -= skipped;
            if (c->skip) {
                return;
            }
        }
        if (available < BHS) {
            return;
        }
        const uint8_t *h = c->in + c->in_start;
        c->in_start += BHS;
        c->skip = padded(get24(h + 5)) + 4u * h[4];
        on_pdu(c, h, now);
    }
}

void on_readable(struct connection *c) {
    for (int turns = 0; turns <= 16; turns++) {
        size_t want;
        ssize_t got = receive(c, &want);
        if (got == 0) {
            die("connection closed by target");
        }
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got < 0) {
            die("recv");
        }
        parse(c, now_ns());
        if ((size_t)got < want) {
            return;
        }
    }
}
