/* CRC32C (RFC 7143 13.1): by the processor's instruction where there is one, else by a table. */
#include "load.h"

static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
        table[i] = crc;
    }
}

static uint32_t by_table(uint32_t crc, const uint8_t *data, size_t size) {
    for (; size; size--) {
        crc = crc >> 8 ^ table[(crc ^ *data++) & 0xff];
    }
    return crc;
}

#ifdef __x86_64__
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t size) {
    uint64_t wide = crc;
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size; size--) {
        crc = _mm_crc32_u8(crc, *data++);
    }
    return crc;
}

static int has_instruction(void) { return __builtin_cpu_supports("sse4.2"); }
#else
static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t size) { return by_table(crc, data, size); }

static int has_instruction(void) { return 0; }
#endif

uint32_t crc32c(const uint8_t *data, size_t size) {
    static int known, instruction;
    if (!known) {
        make_table();
        instruction = has_instruction();
        known = 1;
    }
    return ~(instruction ? by_instruction : by_table)(~0u, data, size);
}
