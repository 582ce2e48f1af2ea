/* Answers in. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static struct slot *slot_of(struct connection *c, uint32_t itt) {
    if (itt >= (uint32_t)opt.depth || !c->slots[itt].busy) {
        die("an answer to a command that is not under way");
    }
    return &c->slots[itt];
}

static void complete(struct connection *c, uint32_t itt, uint64_t now) {
    struct slot *slot = slot_of(c, itt);
    slot->busy = 0;
    c->free_slots[c->free_count++] = itt;
    if (measuring()) {
        c->done++;
        count_io(now - slot->started);
    }
}

static void on_data_in(struct connection *c, const uint8_t *h, uint32_t itt, uint64_t now) {
    struct slot *slot = slot_of(c, itt);
    slot->received += get24(h + 5);
    if (!(h[1] & 1)) { /* no status */
        return;
    }
    c->exp_stat_sn = get32(h + 24) + 1;
    if (h[3]) {
        fprintf(stderr, "status %02x\n", h[3]);
        die("bad status in Data-In");
    }
    if (slot->received != opt.block) {
        die("short data-in");
    }
    complete(c, itt, now);
}

static void on_response(struct connection *c, const uint8_t *h, uint32_t itt, uint64_t now) {
    const struct slot *slot = slot_of(c, itt);
    c->exp_stat_sn = get32(h + 24) + 1;
    if (h[2] || h[3]) {
        fprintf(stderr, "response %02x status %02x\n", h[2], h[3]);
        die("SCSI error status");
    }
    if (!slot->is_write && slot->received != opt.block) {
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
    if ((int32_t)(get32(h + 32) - c->max_cmd_sn) > 0) {
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
    count_calls(0, 1);
    if (c->skip >= 32768) {
        *want = c->skip;
        ssize_t got = recv(c->fd, NULL, *want, MSG_TRUNC | MSG_DONTWAIT);
        c->skip -= got > 0 ? (uint64_t)got : 0;
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
    c->in_end += got > 0 ? (uint32_t)got : 0;
    return got;
}

static void check_header_digest(const uint8_t *h) {
    uint32_t digest;
    memcpy(&digest, h + BHS, DIGEST);
    if (le32toh(digest) != crc32c(h, BHS)) {
        die("wrong header digest");
    }
}

static void parse(struct connection *c, uint64_t now) {
    const uint32_t header = c->digests ? BHS + DIGEST : BHS;
    for (;;) {
        uint32_t available = c->in_end - c->in_start;
        uint32_t skipped = c->skip < available ? (uint32_t)c->skip : available;
        c->in_start += skipped;
        c->skip -= skipped;
        if (c->skip || available - skipped < header) {
            return;
        }
        const uint8_t *h = c->in + c->in_start;
        uint32_t length = get24(h + 5);
        c->in_start += header;
        c->skip = padded(length) + 4u * h[4] + (c->digests && length ? DIGEST : 0);
        if (c->digests) {
            check_header_digest(h);
        }
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
