/*
 * The ceiling: the same bytes at the same places by the same number of threads, and nothing else. What two of these lose
 * to each other is the machine's (processors, caches, the kernel), not the data path's.
 */
#include "lanes.h"

#include <unistd.h>

enum { LBA = 34, BLOCK = 512, MIB = 1 << 20, ROUNDS = 1000 };

static uint8_t *place_of(const struct lane *lane, uint64_t offset)
{
    return (uint8_t *)(uintptr_t)lane->places[offset / MIB] + offset % MIB;
}

/* Numbers that need nothing but a processor: how much of one the thread has. */
static uint64_t count(uint64_t number)
{
    for (int i = 0; i < ROUNDS; i++)
        number = number * 6364136223846793005u + 1442695040888963407u;
    return number;
}

static bool serve(const struct job *job, uint64_t offset, size_t at)
{
    const struct lane *lane = &job->lane;
    const uint8_t *from = job->in + at * STRIDE + BHS_LENGTH;
    uint8_t *to = job->out + at * STRIDE + BHS_LENGTH;

    switch ((enum bare)lane->bare) {
    case BARE_PREAD:
        return pread((int)lane->fd, to, DATA, (off_t)offset) == DATA;
    case BARE_COPY_FROM:
        memcpy(to, place_of(lane, offset), DATA);
        break;
    case BARE_CLEAR:
        memset(to, 0, DATA);
        break;
    case BARE_PWRITE:
        return pwrite((int)lane->fd, from, DATA, (off_t)offset) == DATA;
    case BARE_COPY_TO:
        memcpy(place_of(lane, offset), from, DATA);
        break;
    case BARE_COUNT:
        offset = count(offset);
        memcpy(to, &offset, sizeof offset);
        break;
    }
    return true;
}

void bare_serve(struct job *job, const uint8_t *headers)
{
    for (size_t i = 0; i < job->lane.stretch; i++)
        if (!serve(job, (uint64_t)be32(headers + i * BHS_LENGTH + LBA) * BLOCK, i % BATCH))
            job->lane.left = MOST_LEFT;
}
