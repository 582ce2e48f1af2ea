/*
 * Who reads gates and moves a store's bytes at the same time: the loop's thread, which holds the interpreter's lock,
 * and the data threads, which do not.
 *
 * Epochs. A data thread is *inside* while it serves a batch: its epoch is odd then. Whoever has closed a gate, or has
 * changed a word that says when a store may be used, calls users_settle, and what it closed is closed for all when that
 * returns: each thread was outside once since, and looks again before it does anything. The store of the word and the
 * look at the epochs, here, and the store of the epoch and the look at the word, there, are all sequentially consistent
 * (Dekker's algorithm; acquire and release are not enough).
 *
 * Claims. Whoever moves bytes tells first which, then looks at what the others have told. Two that overlap, one of them
 * changing the bytes, wait for each other: the one with the lower number goes first, and the other takes back what it
 * has told meanwhile. So a block is never a mixture of two writes, nor is what is read of it.
 */
#ifndef USERS_H
#define USERS_H

#include "python.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_THREADS = 64, MOST_USERS = MOST_THREADS + 1, CACHE_LINE = 64 };

struct user {
    _Alignas(CACHE_LINE) _Atomic uint64_t epoch;
    _Atomic uintptr_t store; /* whose bytes it is at, or 0 */
    _Atomic uint64_t begin, end;
    atomic_bool changes;
    uint64_t count; /* the epoch, for its own thread */
    unsigned number;
    bool threaded;          /* it has no interpreter's lock */
    int64_t slow[2];        /* when its last slow write began and ended, for who can tell the store */
    const void *slow_store; /* its shortcut, or NULL */
    pthread_mutex_t counts; /* held while it fires probes, and by who reads what it has counted */
};

/* The loop's thread's. */
extern struct user *const loop_user;

/* How many data threads there are; only the loop's thread changes it, and it reads it under the interpreter's lock. */
extern unsigned users_threads;

/* The user of a new data thread, or NULL when there are too many; and no user of anybody any more. */
struct user *users_add(void);
void users_remove(struct user *user);

/* Counts the calls of users_settle: what Python has stored before one is seen by who enters after it. */
extern _Atomic uint64_t users_settled;

static inline void user_enter(struct user *user)
{
    atomic_store(&user->epoch, ++user->count);
    (void)atomic_load(&users_settled);
}

static inline void user_leave(struct user *user)
{
    atomic_store_explicit(&user->epoch, ++user->count, memory_order_release);
}

/* Wait until every data thread has been outside since this was called. The interpreter's lock is given up meanwhile. */
void users_settle(void);

/* Have what a data thread counts; NULL: nobody else has it. The interpreter's lock is given up where that takes time. */
void user_hold_counts(struct user *user);
void user_let_counts_go(struct user *user);

/* Have these bytes of a store for the time of one call. */
void user_claim(struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes);
void user_release(struct user *user);

#endif
