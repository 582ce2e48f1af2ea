/* Bytes in: headers are collected, data segments go where they belong as they come. */
#define _GNU_SOURCE
#include "bound.h"

#include <errno.h>
#include <sys/socket.h>

static void answer_nop(struct connection *c) {
    uint8_t *h = answer(c, NOP_IN, FINAL, c->header + 16);
    put32(h + 20, 0xffffffff);
}

static void answer_logout(struct connection *c) {
    answer(c, LOGOUT_RESPONSE, FINAL, c->header + 16);
    c->closing = 1;
}

static void on_header(struct connection *c) {
    const uint8_t *h = c->header;
    c->left = padded(get24(h + 5));
    c->place = 0;
    c->write = NULL;
    if (!(h[0] & 0x40) && (h[0] & 0x3f) != DATA_OUT) { /* not immediate: it has a CmdSN of its own */
        c->exp_cmd_sn = get32(h + 24) + 1;
    }
    switch (h[0] & 0x3f) {
    case SCSI_COMMAND:
        begin_command(c);
        break;
    case DATA_OUT:
        begin_data_out(c);
        break;
    default:
        break; /* answered when its data is here */
    }
}

static void on_data(struct connection *c, const uint8_t *data, uint32_t size) {
    if (c->write) {
        write_piece(c, data, size);
    } else if (c->place + size < sizeof c->text) {
        memcpy(c->text + c->place, data, size);
    }
    c->place += size;
}

static void on_end(struct connection *c) {
    switch (c->header[0] & 0x3f) {
    case SCSI_COMMAND:
    case DATA_OUT:
        if (c->write) {
            end_of_segment(c);
        }
        break;
    case LOGIN_REQUEST:
        answer_login(c);
        break;
    case NOP_OUT:
        answer_nop(c);
        break;
    case LOGOUT_REQUEST:
        answer_logout(c);
        break;
    default:
        c->closing = 1;
    }
}

static void take(struct connection *c, const uint8_t *data, uint32_t size) {
    while (size) {
        uint32_t n;
        if (c->left) {
            n = smaller(c->left, size);
            on_data(c, data, n);
            c->left -= n;
        } else {
            n = smaller(BHS - c->have, size);
            memcpy(c->header + c->have, data, n);
            c->have += n;
            if (c->have == BHS) {
                on_header(c);
            }
        }
        data += n;
        size -= n;
        if (c->have == BHS && !c->left) {
            c->have = 0;
            on_end(c);
        }
    }
}

/* Returns 0 when the connection is to be closed. */
int on_readable(struct connection *c) {
    static uint8_t in[256 << 10];
    ssize_t got = recv(c->fd, in, sizeof in, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        return 1;
    }
    if (got <= 0) {
        return 0;
    }
    take(c, in, (uint32_t)got);
    flush_answers(c);
    return !c->closing;
}
