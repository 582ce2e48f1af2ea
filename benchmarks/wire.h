/* What the load generator and the bound both say: opcodes, and numbers with the highest byte first. */
#ifndef WIRE_H
#define WIRE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BHS 48

/* Opcodes of RFC 7143 11.2.1.2. */
enum {
    NOP_OUT = 0x00,
    SCSI_COMMAND = 0x01,
    LOGIN_REQUEST = 0x03,
    DATA_OUT = 0x05,
    LOGOUT_REQUEST = 0x06,
    NOP_IN = 0x20,
    SCSI_RESPONSE = 0x21,
    LOGIN_RESPONSE = 0x23,
    DATA_IN = 0x25,
    LOGOUT_RESPONSE = 0x26,
    R2T = 0x31,
    ASYNC = 0x32,
    REJECT = 0x3f,
};

static inline void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v) {
    v = htobe32(v);
    memcpy(p, &v, 4);
}

static inline void put64(uint8_t *p, uint64_t v) {
    v = htobe64(v);
    memcpy(p, &v, 8);
}

static inline void put24(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 16);
    put16(p + 1, v);
}

static inline uint32_t get32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return be32toh(v);
}

static inline uint64_t get64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return be64toh(v);
}

static inline uint32_t get24(const uint8_t *p) { return (uint32_t)(p[0] << 16 | p[1] << 8 | p[2]); }

static inline uint32_t padded(uint32_t length) { return (length + 3) & ~3u; }

static inline uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

#endif
