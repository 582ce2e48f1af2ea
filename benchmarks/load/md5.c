/* MD5 (RFC 1321) of a short text, for CHAP: what tgtd and istgt know. */
#include "load.h"

#include <math.h>

static uint32_t rotate(uint32_t value, unsigned bits) { return value << bits | value >> (32 - bits); }

static void add_block(uint32_t state[4], const uint8_t *block) {
    static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
    memcpy(words, block, sizeof words);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t mixed;
        unsigned word;
        switch (i / 16) {
        case 0:
            mixed = (b & c) | (~b & d);
            word = i;
            break;
        case 1:
            mixed = (d & b) | (~d & c);
            word = (5 * i + 1) % 16;
            break;
        case 2:
            mixed = b ^ c ^ d;
            word = (3 * i + 5) % 16;
            break;
        default:
            mixed = c ^ (b | ~d);
            word = 7 * i % 16;
        }
        uint32_t constant = (uint32_t)(fabs(sin(i + 1.0)) * 4294967296.0);
        uint32_t sum = a + mixed + constant + le32toh(words[word]);
        a = d;
        d = c;
        c = b;
        b += rotate(sum, shifts[i / 16][i % 4]);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

void md5(const uint8_t *data, size_t size, uint8_t digest[16]) {
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t last[128] = {0};
    uint64_t bits = htole64((uint64_t)size * 8);
    size_t rest = size % 64, end = rest < 56 ? 64 : 128;
    for (size_t at = 0; at + 64 <= size; at += 64) {
        add_block(state, data + at);
    }
    memcpy(last, data + size - rest, rest);
    last[rest] = 0x80;
    memcpy(last + end - 8, &bits, 8);
    for (size_t at = 0; at < end; at += 64) {
        add_block(state, last + at);
    }
    for (int i = 0; i < 4; i++) {
        state[i] = htole32(state[i]);
    }
    memcpy(digest, state, 16);
}
