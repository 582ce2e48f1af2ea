#include "users.h"

#include <sched.h>

enum { SPINS = 200 };

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

static bool in_the_way(struct user *other, const void *store, uint64_t begin, uint64_t end, bool changes)
{
    return atomic_load(&other->store) == (uintptr_t)store && (changes || atomic_load(&other->changes))
           && atomic_load(&other->begin) < end && begin < atomic_load(&other->end);
}

static void tell(struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes)
{
    atomic_store_explicit(&user->begin, begin, memory_order_relaxed);
    atomic_store_explicit(&user->end, end, memory_order_relaxed);
    atomic_store_explicit(&user->changes, changes, memory_order_relaxed);
    atomic_store(&user->store, (uintptr_t)store);
}

void user_claim(struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes)
{
    unsigned last = highest;

    tell(user, store, begin, end, changes);
    for (unsigned number = 0; number <= last; number++) {
        struct user *other = &users[number];
        unsigned spins = 0;
        if (other == user || !in_the_way(other, store, begin, end, changes))
            continue;
        if (number < user->number)
            user_release(user);
        while (in_the_way(other, store, begin, end, changes))
            if (spins++ > SPINS)
                sched_yield();
        if (number < user->number) { /* those before may have come since */
            tell(user, store, begin, end, changes);
            number = (unsigned)-1;
        }
    }
}

void user_release(struct user *user)
{
    atomic_store_explicit(&user->store, 0, memory_order_release);
}
