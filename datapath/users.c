#include "users.h"

#include <sched.h>

enum { SPINS = 200, CLAIMS = 4096 /* and what was not used since is in the masks no more */ };

static struct user users[MOST_USERS];
struct user *const loop_user = &users[0];
unsigned users_threads;
_Atomic uint64_t users_settled;
static atomic_uint highest; /* the number of the last user that there ever was */

struct user *users_add(void)
{
    for (unsigned number = 1; number < MOST_USERS; number++) {
        struct user *user = &users[number];
        if (user->threaded)
            continue;
        user->threaded = true;
        user->number = number;
        user->slow_store = NULL;
        user->air = NULL;
        pthread_mutex_init(&user->counts, NULL);
        users_threads++;
        if (number > highest)
            highest = number;
        return user;
    }
    return NULL;
}

void users_remove(struct user *user)
{
    user->threaded = false;
    users_threads--;
    pthread_mutex_destroy(&user->counts);
}

void user_hold_counts(struct user *user)
{
    if (user == NULL || pthread_mutex_trylock(&user->counts) == 0)
        return;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&user->counts);
    Py_END_ALLOW_THREADS
}

void user_let_counts_go(struct user *user)
{
    if (user != NULL)
        pthread_mutex_unlock(&user->counts);
}

static bool is_inside(uint64_t epoch)
{
    return epoch & 1;
}

/* It may have to wait for a time slice, or for one system call of a batch, but mostly for a microsecond. */
static void wait_for(struct user *user, uint64_t epoch)
{
    for (unsigned spins = 0; atomic_load_explicit(&user->epoch, memory_order_acquire) == epoch; spins++)
        if (spins > SPINS)
            sched_yield();
}

void users_settle(void)
{
    /* Words that Python sets are plain stores: they have to be seen before the epochs are looked at. */
    atomic_fetch_add(&users_settled, 1);
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned number = 1; number <= highest; number++) {
        uint64_t epoch = atomic_load(&users[number].epoch);
        if (!is_inside(epoch))
            continue;
        Py_BEGIN_ALLOW_THREADS
        wait_for(&users[number], epoch);
        Py_END_ALLOW_THREADS
    }
}

static bool overlaps(struct user *other, unsigned number, const struct claim *claim)
{
    uint64_t begin = atomic_load(&other->ranges[number].begin), end = atomic_load(&other->ranges[number].end);

    for (unsigned i = 0; i < claim->count; i++)
        if (begin < claim->ranges[i].end && claim->ranges[i].begin < end)
            return true;
    return false;
}

static bool in_the_way(struct user *other, const struct claim *claim)
{
    unsigned count;

    if (atomic_load(&other->store) != (uintptr_t)claim->store || !(claim->changes || atomic_load(&other->changes)))
        return false;
    count = atomic_load(&other->count_of_ranges);
    for (unsigned i = 0; i < count; i++)
        if (overlaps(other, i, claim))
            return true;
    return false;
}

static void tell(struct user *user)
{
    const struct claim *claim = &user->claim;

    for (unsigned i = 0; i < claim->count; i++) {
        atomic_store_explicit(&user->ranges[i].begin, claim->ranges[i].begin, memory_order_relaxed);
        atomic_store_explicit(&user->ranges[i].end, claim->ranges[i].end, memory_order_relaxed);
    }
    atomic_store_explicit(&user->count_of_ranges, claim->count, memory_order_relaxed);
    atomic_store_explicit(&user->changes, claim->changes, memory_order_relaxed);
    atomic_store(&user->store, (uintptr_t)claim->store);
}

/* Others do not see its claim any more. */
static void take_back(struct user *user)
{
    atomic_store_explicit(&user->store, 0, memory_order_release);
}

/* A store's bit in the masks. */
static uint64_t bit_of(const void *store)
{
    return UINT64_C(1) << ((uint64_t)(uintptr_t)store * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

/* Have the store in the mask before it is claimed. There is no claim now, so that the masks may be emptied. */
static void tell_store(struct user *user, uint64_t bit, bool changes)
{
    _Atomic uint64_t *mask = changes ? &user->writes : &user->reads;
    uint64_t told;

    if (++user->claims == CLAIMS) {
        user->claims = 0;
        atomic_store_explicit(&user->reads, 0, memory_order_release);
        atomic_store_explicit(&user->writes, 0, memory_order_release);
    }
    told = atomic_load_explicit(mask, memory_order_relaxed);
    if ((told & bit) == 0)
        atomic_store(mask, told | bit);
}

static bool shares(const struct user *other, uint64_t bit, bool changes)
{
    return (atomic_load(&other->writes) & bit) != 0 || (changes && (atomic_load(&other->reads) & bit) != 0);
}

bool user_is_beside_others(const struct user *user, const void *store, bool changes)
{
    uint64_t bit = bit_of(store);

    for (unsigned number = 0, last = highest; number <= last; number++)
        if (&users[number] != user && shares(&users[number], bit, changes))
            return true;
    return false;
}

void user_claim_all(struct user *user)
{
    const struct claim *claim = &user->claim;
    uint64_t bit = bit_of(claim->store);
    unsigned last = highest;

    if (atomic_load_explicit(&user->store, memory_order_relaxed) != 0)
        take_back(user); /* what it had before */
    tell_store(user, bit, claim->changes);
    tell(user);
    for (unsigned number = 0; number <= last; number++) {
        struct user *other = &users[number];
        unsigned spins = 0;
        if (other == user || !shares(other, bit, claim->changes) || !in_the_way(other, claim))
            continue;
        if (number < user->number)
            take_back(user);
        while (in_the_way(other, claim))
            if (spins++ > SPINS)
                sched_yield();
        if (number < user->number) { /* those before may have come since */
            tell(user);
            number = (unsigned)-1;
        }
    }
}

void user_claim(struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes)
{
    user->claim.store = store;
    user->claim.changes = changes;
    user->claim.count = 1;
    user->claim.ranges[0].begin = begin;
    user->claim.ranges[0].end = end;
    user_claim_all(user);
}

bool user_has(const struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes)
{
    const struct claim *claim = &user->claim;

    if (claim->count == 0 || claim->store != store || (changes && !claim->changes))
        return false;
    for (unsigned i = 0; i < claim->count; i++)
        if (claim->ranges[i].begin <= begin && end <= claim->ranges[i].end)
            return true;
    return false;
}

void user_release(struct user *user)
{
    user->claim.count = 0;
    take_back(user);
}
