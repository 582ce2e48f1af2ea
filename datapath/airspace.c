/*
 * A place's range is there before its bit, and stays as it is while the bit is set. Who looks may meet one that lands, and
 * another that takes its place meanwhile: those are not in the way of bytes that are claimed, whatever is read of them.
 */
#include "airspace.h"

#include <stdatomic.h>
#include <stddef.h>

enum { MOST_SPACES = 96, WORD = 64, WORDS = AIRSPACE_PLACES / WORD, APART = 128 };

struct airspace {
    _Alignas(APART) _Atomic uint64_t told[WORDS], writes[WORDS]; /* bits of the places */
    struct {
        _Atomic uintptr_t store;
        _Atomic uint64_t begin, end;
    } ranges[AIRSPACE_PLACES];
    bool taken;
};

static struct airspace spaces[MOST_SPACES];
static atomic_uint highest; /* how many have ever been taken: the first ones */

struct airspace *airspace_take(void)
{
    for (unsigned number = 0; number < MOST_SPACES; number++) {
        if (spaces[number].taken)
            continue;
        spaces[number].taken = true;
        if (number >= highest)
            highest = number + 1;
        return &spaces[number];
    }
    return NULL;
}

void airspace_give(struct airspace *space)
{
    if (space != NULL)
        space->taken = false;
}

static uint64_t bit_of(unsigned place)
{
    return UINT64_C(1) << (place % WORD);
}

static void set_bit(_Atomic uint64_t *words, unsigned place, bool on)
{
    _Atomic uint64_t *word = &words[place / WORD];
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed);

    atomic_store(word, on ? before | bit_of(place) : before & ~bit_of(place));
}

void airspace_tell(struct airspace *space, unsigned place, const void *store, uint64_t begin, uint64_t end, bool writes)
{
    atomic_store_explicit(&space->ranges[place].store, (uintptr_t)store, memory_order_relaxed);
    atomic_store_explicit(&space->ranges[place].begin, begin, memory_order_relaxed);
    atomic_store_explicit(&space->ranges[place].end, end, memory_order_relaxed);
    set_bit(space->told, place, true);
    if (writes)
        set_bit(space->writes, place, true);
}

void airspace_forget(struct airspace *space, unsigned place)
{
    if (atomic_load_explicit(&space->writes[place / WORD], memory_order_relaxed) & bit_of(place))
        set_bit(space->writes, place, false);
    set_bit(space->told, place, false);
}

static bool overlaps(const struct airspace *space, unsigned place, const void *store, uint64_t begin, uint64_t end)
{
    return atomic_load_explicit(&space->ranges[place].store, memory_order_relaxed) == (uintptr_t)store
           && atomic_load_explicit(&space->ranges[place].begin, memory_order_relaxed) < end
           && begin < atomic_load_explicit(&space->ranges[place].end, memory_order_relaxed);
}

static bool is_in(const struct airspace *space, const void *store, uint64_t begin, uint64_t end, bool writes)
{
    for (unsigned word = 0; word < WORDS; word++) {
        uint64_t bits = atomic_load(writes ? &space->told[word] : &space->writes[word]);
        for (unsigned place = word * WORD; bits != 0; bits >>= 1, place++)
            if (bits & 1 && overlaps(space, place, store, begin, end))
                return true;
    }
    return false;
}

bool airspace_is_taken(const struct airspace *own, const void *store, uint64_t begin, uint64_t end, bool writes)
{
    for (unsigned number = 0, count = highest; number < count; number++)
        if (&spaces[number] != own && is_in(&spaces[number], store, begin, end, writes))
            return true;
    return false;
}
