/* Login and READ CAPACITY, with blocking calls, before the run. */
#define _GNU_SOURCE
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void receive_all(int fd, void *buffer, size_t size) {
    while (size) {
        ssize_t got = recv(fd, buffer, size, 0);
        if (got <= 0) {
            die("recv (login)");
        }
        buffer = (char *)buffer + got;
        size -= got;
    }
}

static void send_all(int fd, const void *buffer, size_t size) {
    while (size) {
        ssize_t sent = send(fd, buffer, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            die("send (login)");
        }
        buffer = (const char *)buffer + sent;
        size -= sent;
    }
}

/* Receive one PDU; returns its data, which the caller frees. */
static uint8_t *receive_pdu(int fd, uint8_t *header, uint32_t *length) {
    receive_all(fd, header, BHS);
    *length = get24(header + 5);
    uint8_t *data = calloc(1, padded(*length) + 4);
    receive_all(fd, data, padded(*length));
    return data;
}

struct text {
    char bytes[2048];
    int length;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text->length += 1 + vsnprintf(text->bytes + text->length, sizeof text->bytes - text->length, format, arguments);
    va_end(arguments);
}

static void offer(struct text *text) {
    add(text, "InitiatorName=%s", opt.initiator);
    add(text, "TargetName=%s", opt.target);
    add(text, "SessionType=Normal");
    add(text, "HeaderDigest=None");
    add(text, "DataDigest=None");
    add(text, "InitialR2T=%s", opt.initial_r2t ? "Yes" : "No");
    add(text, "ImmediateData=%s", opt.immediate_data ? "Yes" : "No");
    add(text, "MaxRecvDataSegmentLength=%u", opt.segment);
    add(text, "MaxBurstLength=%u", opt.max_burst);
    add(text, "FirstBurstLength=%u", opt.first_burst);
    add(text, "MaxOutstandingR2T=1");
    add(text, "MaxConnections=1");
    add(text, "ErrorRecoveryLevel=0");
    add(text, "DefaultTime2Wait=2");
    add(text, "DefaultTime2Retain=0");
    add(text, "DataPDUInOrder=Yes");
    add(text, "DataSequenceInOrder=Yes");
}

static const char *value_of(const char *text, int length, const char *key) {
    int key_length = strlen(key);
    for (int at = 0; at < length; at += strlen(text + at) + 1) {
        if (!strncmp(text + at, key, key_length) && text[at + key_length] == '=') {
            return text + at + key_length + 1;
        }
    }
    return NULL;
}

static void take_answers(struct connection *c, const char *text, int length) {
    const char *value;
    if ((value = value_of(text, length, "MaxRecvDataSegmentLength"))) {
        c->target_segment = atoi(value);
    }
    if ((value = value_of(text, length, "FirstBurstLength"))) {
        c->first_burst = smaller(atoi(value), opt.first_burst);
    }
    if ((value = value_of(text, length, "MaxBurstLength"))) {
        c->max_burst = atoi(value);
    }
    if ((value = value_of(text, length, "ImmediateData"))) {
        c->immediate_data = !strcmp(value, "Yes") && opt.immediate_data;
    }
    if ((value = value_of(text, length, "InitialR2T"))) {
        c->initial_r2t = !strcmp(value, "Yes") || opt.initial_r2t;
    }
    if (getenv("LOGIN_DEBUG")) {
        for (int at = 0; at < length; at += strlen(text + at) + 1) {
            fprintf(stderr, "  <- %s\n", text + at);
        }
    }
}

static void send_login(struct connection *c, int index, const struct text *text) {
    static const uint8_t zeros[4];
    uint8_t h[BHS] = {LOGIN_REQUEST | IMMEDIATE, 0x80 | 1 << 2 | 3}; /* operational stage, on to full feature */
    put24(h + 5, text->length);
    h[8] = 0x40 | (index >> 8 & 0x3f); /* a random ISID: pid and index */
    h[9] = index;
    h[10] = getpid() >> 8;
    h[11] = getpid();
    h[13] = index + 1;
    put32(h + 24, c->cmd_sn);
    put32(h + 28, c->exp_stat_sn);
    send_all(c->fd, h, BHS);
    send_all(c->fd, text->bytes, text->length);
    send_all(c->fd, zeros, padded(text->length) - text->length);
}

void login(struct connection *c, int index) {
    c->target_segment = 8192; /* the defaults of RFC 7143 chapter 13 */
    c->first_burst = smaller(65536, opt.first_burst);
    c->max_burst = 262144;
    c->immediate_data = 1;
    c->initial_r2t = 1;
    c->cmd_sn = 1;
    struct text text = {.length = 0};
    offer(&text);
    for (int round = 0; round < 6; round++) {
        send_login(c, index, &text);
        uint8_t header[BHS];
        uint32_t length;
        char *answer = (char *)receive_pdu(c->fd, header, &length);
        if ((header[0] & 0x3f) != LOGIN_RESPONSE) {
            fprintf(stderr, "opcode %02x\n", header[0]);
            die("login: unexpected opcode");
        }
        if (header[36]) {
            fprintf(stderr, "login status %02x%02x\n", header[36], header[37]);
            exit(2);
        }
        c->exp_stat_sn = get32(header + 24) + 1;
        c->cmd_sn = get32(header + 28);
        c->max_cmd_sn = get32(header + 32);
        take_answers(c, answer, length);
        free(answer);
        text.length = 0;
        if ((header[1] & 0x83) == 0x83) { /* transit to full feature */
            return;
        }
    }
    die("login did not complete");
}

/* One command that reads at most `size` bytes; returns its status. */
static int command(struct connection *c, const uint8_t *cdb, uint8_t *buffer, uint32_t size) {
    uint8_t h[BHS] = {SCSI_COMMAND, 0x80 | (size ? 0x40 : 0) | 1};
    h[9] = opt.lun;
    put32(h + 16, 0x77);
    put32(h + 20, size);
    put32(h + 24, c->cmd_sn++);
    put32(h + 28, c->exp_stat_sn);
    memcpy(h + 32, cdb, 16);
    send_all(c->fd, h, BHS);
    for (;;) {
        uint32_t length;
        uint8_t *data = receive_pdu(c->fd, h, &length);
        int opcode = h[0] & 0x3f;
        c->max_cmd_sn = get32(h + 32);
        if (opcode == DATA_IN && get32(h + 40) + length <= size) {
            memcpy(buffer + get32(h + 40), data, length);
        }
        free(data);
        if (opcode == SCSI_RESPONSE || (opcode == DATA_IN && h[1] & 1)) {
            c->exp_stat_sn = get32(h + 24) + 1;
            return h[3];
        }
        if (opcode != DATA_IN && opcode != NOP_IN) {
            fprintf(stderr, "opcode %02x\n", opcode);
            die("unexpected opcode before the run");
        }
    }
}

void read_capacity(struct connection *c) {
    static const uint8_t test_unit_ready[16], capacity10[16] = {0x25}, capacity16[16] = {0x9e, 0x10, [13] = 32};
    uint8_t answer[32] = {0};
    for (int tries = 0; tries < 4 && command(c, test_unit_ready, answer, 0); tries++) {
    }
    if (!command(c, capacity16, answer, 32)) {
        unit.blocks = get64(answer) + 1;
        unit.block_size = get32(answer + 8);
    } else if (!command(c, capacity10, answer, 8)) {
        unit.blocks = (uint64_t)get32(answer) + 1;
        unit.block_size = get32(answer + 4);
    } else {
        die("READ CAPACITY failed");
    }
}
