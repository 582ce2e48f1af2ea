#include "command.h"

enum {
    READ_COMMAND = 0x01c00000, /* the first four bytes of a SCSI Command: F set, R, and no task attribute */
    WRITE_COMMAND = 0x01a00000,
    ATTRIBUTE = 0x70000, /* the task attribute in them (RFC 7143 11.3.1) */
    ACA = 0x40000, /* and from here on what is reserved */
    CDB = 32,
    READ_DONE = 0x25810000, /* the first four bytes of a Data-In with status GOOD, and of a SCSI Response */
    WRITE_DONE = 0x21800000,
    DATA_IN = 0x25000000,
    R2T = 0x31800000,
    FINAL = 0x800000,
    STATUS = 0x010000,
};

/* READ(6), WRITE(6) (SBC-2 5.6): the LBA's highest bits stand in byte 1; 0 blocks are 256. */
static uint8_t read_6(struct command *command, const uint8_t *cdb)
{
    command->lba = (uint64_t)(cdb[1] & 0x1f) << 16 | be16(cdb + 2);
    command->count = cdb[4] ? cdb[4] : 256;
    command->unwatched = true;
    return cdb[5] | (cdb[1] & 0xe0);
}

/* The GROUP NUMBER counts as more blocks than there are. */
static uint8_t read_10(struct command *command, const uint8_t *cdb)
{
    command->lba = be32(cdb + 2);
    command->count = be32(cdb + 6) >> 8;
    return cdb[9];
}

static uint8_t read_12(struct command *command, const uint8_t *cdb)
{
    command->lba = be32(cdb + 2);
    command->count = be32(cdb + 6);
    command->unwatched = true;
    return cdb[10] | cdb[11];
}

static uint8_t read_16(struct command *command, const uint8_t *cdb)
{
    command->lba = be64(cdb + 2);
    command->count = be32(cdb + 10);
    return cdb[14] | cdb[15];
}

/* READ and WRITE of 6, 10, 12 or 16 bytes (SBC-3 5.11 to 5.14, 5.32 to 5.35). What has flags that mean more is left. */
static bool read_cdb(struct command *command, const uint8_t *cdb)
{
    uint8_t more, group = cdb[0] >> 5;

    if ((cdb[0] & 0x1f) != (command->writes ? 0x0a : 0x08))
        return false;
    command->operation = be16(cdb);
    command->unwatched = false;
    command->fua = group != 0 && cdb[1] & 0x08;
    if (group != 0 && cdb[1] & 0xe7)
        return false;
    switch (group) {
    case 0:
        more = read_6(command, cdb);
        break;
    case 1:
        more = read_10(command, cdb);
        break;
    case 4:
        more = read_16(command, cdb);
        break;
    case 5:
        more = read_12(command, cdb);
        break;
    default:
        return false;
    }
    return more == 0 && command->count != 0;
}

bool command_read(struct command *command, const uint8_t *bhs)
{
    uint32_t first = be32(bhs);
    uint32_t attribute = first & ATTRIBUTE;

    first &= ~(uint32_t)ATTRIBUTE;
    if ((first != READ_COMMAND && (first | FINAL) != WRITE_COMMAND) || attribute >= ACA)
        return false;
    command->writes = first != READ_COMMAND;
    command->final = (first & FINAL) != 0;
    command->attribute = (uint8_t)(attribute >> 16);
    command->segment = be32(bhs + 4);
    command->lun = be64(bhs + 8);
    command->itt = be32(bhs + 16);
    command->edtl = be32(bhs + 20);
    command->cmdsn = be32(bhs + 24);
    return read_cdb(command, bhs + CDB);
}

static void put_answer(uint8_t *bhs, uint32_t first, uint32_t length, uint32_t itt, uint32_t ttt,
                       const struct numbers *numbers)
{
    memset(bhs, 0, BHS_LENGTH);
    put_be32(bhs, first);
    put_be32(bhs + 4, length);
    put_be32(bhs + 16, itt);
    put_be32(bhs + 20, ttt);
    put_be32(bhs + 24, numbers->statsn);
    put_be32(bhs + 28, numbers->exp_cmdsn);
    put_be32(bhs + 32, numbers->max_cmdsn);
}

void put_data_in(uint8_t *bhs, uint32_t length, uint32_t itt, const struct numbers *numbers)
{
    put_answer(bhs, READ_DONE, length, itt, RESERVED_TAG, numbers);
}

void put_response(uint8_t *bhs, uint32_t itt, const struct numbers *numbers)
{
    put_answer(bhs, WRITE_DONE, 0, itt, 0, numbers);
}

void put_request(uint8_t *bhs, const uint8_t *lun, uint32_t itt, uint32_t ttt, const struct numbers *numbers)
{
    put_answer(bhs, R2T, 0, itt, ttt, numbers);
    memcpy(bhs + 8, lun, 8);
}

void put_part(uint8_t *bhs, const struct part *part, uint32_t itt, const struct numbers *numbers)
{
    uint32_t flags = (part->final ? FINAL : 0) | (part->last ? STATUS : 0);
    struct numbers without_status = {part->last ? numbers->statsn : 0, numbers->exp_cmdsn, numbers->max_cmdsn};

    put_answer(bhs, DATA_IN | flags, part->length, itt, RESERVED_TAG, &without_status);
    put_be32(bhs + 36, part->number);
    put_be32(bhs + 40, part->offset);
}
