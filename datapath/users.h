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
 * has told meanwhile. So a block is never a mixture of two writes, nor is what is read of it. A look at a line that
 * another processor writes at each command costs more than to copy 4 KiB, so each also has two masks, one bit for a store
 * (which others may have by chance): what it reads and what it writes. They change seldom, and only who writes the same
 * store is looked at, or who reads it by who writes (again Dekker's algorithm: a bit is there before the first range).
 * Where somebody is, the ranges of several commands are claimed at once (ahead.c): one look for all of them.
 */
#ifndef USERS_H
#define USERS_H

#include "python.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* APART: what one processor writes and another reads or writes is so far from the next; they fetch lines by two. */
enum { MOST_THREADS = 64, MOST_USERS = MOST_THREADS + 1, APART = 128 };

/* How many ranges a claim has at most: those that find room in two lines, with what is told of them all. */
enum { MOST_RANGES = 7 };

struct air;

/* Bytes of a store that are claimed together. */
struct claim {
    const void *store;
    bool changes;
    unsigned count;
    struct {
        uint64_t begin, end;
    } ranges[MOST_RANGES];
};

struct user {
    _Alignas(APART) _Atomic uint64_t reads, writes; /* the masks */
    _Alignas(APART) _Atomic uintptr_t store; /* whose bytes it is at, or 0; and these are its claim */
    atomic_bool changes;
    _Atomic unsigned count_of_ranges;
    struct {
        _Atomic uint64_t begin, end;
    } ranges[MOST_RANGES];
    _Alignas(APART) struct claim claim; /* the same for its own thread; no ranges: it has none */
    _Alignas(APART) _Atomic uint64_t epoch;
    uint64_t count;  /* the epoch, for its own thread */
    unsigned claims; /* since it has emptied the masks */
    unsigned number;
    bool threaded;          /* it has no interpreter's lock */
    int64_t slow[2];        /* when its last slow write began and ended, for who can tell the store */
    const void *slow_store; /* its shortcut, or NULL */
    bool held_up;           /* what it could not begin waits for a flight of another ring */
    struct air *air;        /* of a data thread: where it has the disk read and write; NULL: it cannot */
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

/* Have these bytes of a store, instead of those that it had. */
void user_claim(struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes);

/* Have those that stand in user->claim. */
void user_claim_all(struct user *user);

/* Whether it has these bytes, by one of its ranges. */
bool user_has(const struct user *user, const void *store, uint64_t begin, uint64_t end, bool changes);

/* Whether others were at the store not long ago, so that a look at them will cost. */
bool user_is_beside_others(const struct user *user, const void *store, bool changes);

void user_release(struct user *user);

#endif
