/* SCSI commands: READ and WRITE in all their forms, READ CAPACITY; everything else is GOOD without data. */
#define _GNU_SOURCE
#include "bound.h"

/* A SCSI Response with status GOOD. */
void good(struct connection *c, const uint8_t *itt) { answer(c, SCSI_RESPONSE, FINAL, itt); }

/* Data-In PDUs for all of `memory`, the last one with status GOOD. */
void data_in(struct connection *c, const uint8_t *itt, uint8_t *memory, uint32_t length) {
    for (uint32_t at = 0, data_sn = 0; at < length; data_sn++) {
        uint32_t size = smaller(length - at, c->segment);
        int last = at + size == length;
        uint8_t *h = answer(c, DATA_IN, last ? FINAL | 1 : 0, itt);
        put24(h + 5, size);
        put32(h + 36, data_sn);
        put32(h + 40, at);
        answer_from(c, memory + at, size);
        at += size;
    }
}

static void read_capacity(struct connection *c, int is_long) {
    const uint64_t last = disk_size / BLOCK - 1;
    uint32_t size = smaller(get32(c->header + 20), is_long ? 32 : 8);
    make_room(c, BHS + 32);
    uint8_t *h = answer(c, DATA_IN, FINAL | 1, c->header + 16);
    put24(h + 5, size);
    uint8_t *data = answer_memory(c, padded(size));
    memset(data, 0, padded(size));
    if (is_long) {
        put32(data, (uint32_t)(last >> 32));
        data += 4;
    }
    put32(data, (uint32_t)last);
    put32(data + 4, BLOCK);
}

static void begin_write(struct connection *c, uint64_t offset, uint32_t length) {
    const uint8_t *h = c->header;
    struct write *w = &c->writes[get32(h + 16) % WRITES];
    memset(w, 0, sizeof *w);
    memcpy(w->itt, h + 16, 4);
    memcpy(w->lun, h + 8, 8);
    w->offset = offset;
    w->length = length;
    if (opt.direct) {
        w->transfer = get_transfer(c, w->itt, length);
    }
    c->write = w;
}

/* A SCSI Command PDU's header is here. CDBs of READ and WRITE: SBC-3 5.10 to 5.13 and 5.30 to 5.33. */
void begin_command(struct connection *c) {
    const uint8_t *cdb = c->header + 32;
    uint64_t lba;
    uint32_t blocks;
    switch (cdb[0] >> 5) {
    case 0:
        lba = get24(cdb + 1) & 0x1fffff;
        blocks = cdb[4] ? cdb[4] : 256;
        break;
    case 1:
        lba = get32(cdb + 2);
        blocks = (uint32_t)(cdb[7] << 8 | cdb[8]);
        break;
    case 5:
        lba = get32(cdb + 2);
        blocks = get32(cdb + 6);
        break;
    default:
        lba = get64(cdb + 2);
        blocks = get32(cdb + 10);
    }
    switch (cdb[0]) {
    case 0x08:
    case 0x28:
    case 0xa8:
    case 0x88:
        read_disk(c, c->header + 16, lba * BLOCK, smaller(blocks * BLOCK, LONGEST));
        break;
    case 0x0a:
    case 0x2a:
    case 0xaa:
    case 0x8a:
        begin_write(c, lba * BLOCK, smaller(blocks * BLOCK, LONGEST));
        break;
    case 0x25:
    case 0x9e:
        read_capacity(c, cdb[0] == 0x9e);
        break;
    default:
        good(c, c->header + 16);
    }
}

void begin_data_out(struct connection *c) {
    c->write = &c->writes[get32(c->header + 16) % WRITES];
    c->place = get32(c->header + 40);
}

/* Bytes of a write's data: into the file at once, or into the buffer that goes there whole. */
void write_piece(struct connection *c, const uint8_t *data, uint32_t size) {
    struct write *w = c->write;
    if (w->transfer) {
        memcpy(w->transfer->buffer + c->place, data, size);
    } else {
        write_disk(data, size, w->offset + c->place);
    }
    w->received += size;
}

static void ask_for_more(struct connection *c, struct write *w) {
    uint8_t *h = answer(c, R2T, FINAL, w->itt);
    c->stat_sn--; /* an R2T has no StatSN of its own (RFC 7143 11.8) */
    memcpy(h + 8, w->lun, 8);
    memcpy(h + 20, w->itt, 4); /* the TTT */
    put32(h + 36, w->r2t_sn++);
    put32(h + 40, w->received);
    put32(h + 44, smaller(w->length - w->received, c->max_burst));
}

/* A data segment of a write is here; its sequence ends with the F bit (RFC 7143 11.3.1, 11.7.1). */
void end_of_segment(struct connection *c) {
    struct write *w = c->write;
    if (!(c->header[1] & FINAL)) {
        return;
    }
    if (w->received < w->length) {
        ask_for_more(c, w);
    } else if (w->transfer) {
        submit_transfer(w->transfer, w->offset);
        w->transfer = NULL;
    } else {
        good(c, w->itt);
    }
}
