/*
 * The processor's instruction where it is there, which is asked at run time; else eight tables.
 *
 * One instruction takes three cycles and a new one may begin in each, so long data is cut into three lanes, whose
 * remainders are put together: a lane's is moved over the bytes behind it by tables (the CRC is linear).
 */
#include "crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* the Castagnoli polynomial, its bits reversed */
enum {
    LANE = 1360, /* bytes: 3 lanes and 16 bytes are 4096 */
    SHORTEST = 3 * LANE,
};

static uint32_t slices[8][256];
static uint32_t over_lane[4][256]; /* what each byte of a remainder becomes over LANE bytes of zeros */

static uint64_t load(const uint8_t *data)
{
    uint64_t word;

    memcpy(&word, data, sizeof word);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static uint32_t one_byte(uint32_t crc, uint8_t byte)
{
    return crc >> 8 ^ slices[0][(crc ^ byte) & 0xff];
}

static uint32_t by_table(uint32_t crc, const uint8_t *data, size_t length)
{
    for (; length >= 8; data += 8, length -= 8) {
        uint64_t word = load(data) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= slices[7 - i][word >> 8 * i & 0xff];
    }
    for (; length > 0; data++, length--)
        crc = one_byte(crc, *data);
    return crc;
}

#if defined(__x86_64__)
#define HAVE_INSTRUCTION 1

static int has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

static inline uint32_t step(uint32_t crc, const uint8_t *data)
{
    uint64_t remainder = crc;

    __asm__("crc32q %1, %0" : "+r"(remainder) : "r"(load(data)));
    return (uint32_t)remainder;
}
#elif defined(__aarch64__)
#define HAVE_INSTRUCTION 1
#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static int has_instruction(void)
{
#if defined(__ARM_FEATURE_CRC32) /* compiled for processors that have it */
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
    return 0;
#endif
}

static inline uint32_t step(uint32_t crc, const uint8_t *data)
{
    uint64_t word = load(data);

    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}
#else
#define HAVE_INSTRUCTION 0
#endif

#if HAVE_INSTRUCTION
static int instruction;

static uint32_t move_over_lane(uint32_t crc)
{
    return over_lane[0][crc & 0xff] ^ over_lane[1][crc >> 8 & 0xff] ^ over_lane[2][crc >> 16 & 0xff]
           ^ over_lane[3][crc >> 24];
}

static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t length)
{
    for (; length >= SHORTEST; data += SHORTEST, length -= SHORTEST) {
        uint32_t second = 0, third = 0;
        for (const uint8_t *at = data; at < data + LANE; at += 8) {
            crc = step(crc, at);
            second = step(second, at + LANE);
            third = step(third, at + 2 * LANE);
        }
        crc = move_over_lane(move_over_lane(crc) ^ second) ^ third;
    }
    for (; length >= 8; data += 8, length -= 8)
        crc = step(crc, data);
    for (; length > 0; data++, length--)
        crc = one_byte(crc, *data);
    return crc;
}
#endif

void crc32c_init(void)
{
    static const uint8_t zeros[LANE];

    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        slices[0][byte] = crc;
    }
    for (int i = 1; i < 8; i++)
        for (int byte = 0; byte < 256; byte++)
            slices[i][byte] = one_byte(slices[i - 1][byte], 0);
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int i = 0; i < 4; i++)
            over_lane[i][byte] = by_table(byte << 8 * i, zeros, LANE);
#if HAVE_INSTRUCTION
    instruction = has_instruction();
#endif
}

uint32_t crc32c_by_table(uint32_t crc, const uint8_t *data, size_t length)
{
    return ~by_table(~crc, data, length);
}

uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t length)
{
#if HAVE_INSTRUCTION
    if (instruction)
        return ~by_instruction(~crc, data, length);
#endif
    return crc32c_by_table(crc, data, length);
}

void put_digest(uint8_t *place, uint32_t crc)
{
    for (int i = 0; i < 4; i++)
        place[i] = (uint8_t)(crc >> 8 * i);
}
