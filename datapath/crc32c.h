/* CRC32C, for header and data digests (RFC 7143 13.1). */
#ifndef CRC32C_H
#define CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Make the tables; once, before all else. */
void crc32c_init(void);

/* The CRC32C of "length" bytes, going on from "crc", the CRC32C of what was before them (0: nothing). */
uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t length);

/* The same by tables alone, as on a processor without the instruction. */
uint32_t crc32c_by_table(uint32_t crc, const uint8_t *data, size_t length);

/* The four bytes of a digest as they go on the wire: the least significant first. */
void put_digest(uint8_t *place, uint32_t crc);

#endif
