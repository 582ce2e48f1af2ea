/* A SCSI Command as it stands on the wire (RFC 7143 11.3), and the answers to it. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>

#include "wire.h"

/*
 * A READ or WRITE. "segment": TotalAHSLength and DataSegmentLength in one, so that what has additional header segments is
 * longer than any data. "count": blocks. "unwatched": the probes' calls for whole commands do not know such a CDB. "final":
 * no unsolicited Data-Out follows. "attribute": the task attribute (RFC 7143 11.3.1).
 */
struct command {
    bool writes, final, fua, unwatched;
    uint8_t attribute;
    uint32_t segment, itt, edtl, cmdsn, operation;
    uint64_t lun, lba, count;
};

/* Task attributes (RFC 7143 11.3.1). */
enum { ATTRIBUTE_SIMPLE = 1, ATTRIBUTE_ORDERED = 2 };

/* Read the command in a header; false: it is none that is served here, whatever its numbers are. */
bool command_read(struct command *command, const uint8_t *bhs);

/* The numbers that every answer carries (RFC 7143 11.4.8 to 11.4.10). */
struct numbers {
    uint32_t statsn, exp_cmdsn, max_cmdsn;
};

/* The header of a Data-In of "length" bytes that ends a command with status GOOD (RFC 7143 11.7). */
void put_data_in(uint8_t *bhs, uint32_t length, uint32_t itt, const struct numbers *numbers);

/* A SCSI Response with status GOOD (RFC 7143 11.4). */
void put_response(uint8_t *bhs, uint32_t itt, const struct numbers *numbers);

/* An R2T (RFC 7143 11.8) all but its number, offset and length. "lun": its 8 bytes. */
void put_request(uint8_t *bhs, const uint8_t *lun, uint32_t itt, uint32_t ttt, const struct numbers *numbers);

/* One of several Data-Ins of a READ: "final" of its sequence, "last" of all, which carries the status. */
struct part {
    uint32_t number, offset, length;
    bool final, last;
};

void put_part(uint8_t *bhs, const struct part *part, uint32_t itt, const struct numbers *numbers);

#endif
