/* The size of the unit, before the run, with blocking calls. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

/* One command that reads at most `size` bytes; returns its status. */
static int command(struct connection *c, const uint8_t *cdb, uint8_t *buffer, uint32_t size) {
    uint8_t h[BHS] = {SCSI_COMMAND, (uint8_t)(0x80 | (size ? 0x40 : 0) | SIMPLE)};
    h[9] = opt.lun;
    put32(h + 16, 0x77);
    put32(h + 20, size);
    put32(h + 24, c->cmd_sn++);
    put32(h + 28, c->exp_stat_sn);
    memcpy(h + 32, cdb, 16);
    send_command_pdu(c, h);
    for (;;) {
        receive_header(c, h);
        uint8_t *data = receive_data(c, h);
        uint32_t length = get24(h + 5);
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
            fprintf(stderr, "opcode %02x\n", (unsigned)opcode);
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
