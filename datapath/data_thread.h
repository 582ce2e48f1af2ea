/*
 * A data thread: serves connections after login, without the interpreter's lock, as far as the data path can. What it
 * cannot do by itself (a PDU of another kind, a closed gate, a store that has to be asked, a socket that is broken or
 * closed) sends the connection back to the loop's thread, as it was before that PDU.
 *
 * The two meet in lists under a lock: who comes or is called back (and the thread's eventfd wakes it), and who has gone
 * back (and another eventfd wakes the loop's thread). Each connection is in one of them at most, so they are bounded; so are
 * the commands that landed behind their connections (data_thread_flights.c), and their memory that comes back.
 */
#ifndef DATA_THREAD_H
#define DATA_THREAD_H

#include "guest.h"

#include <pthread.h>

struct data_thread {
    PyObject_HEAD
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int poller, wake, ready; /* wake: the thread; ready: the loop's thread */
    bool running, ends;
    /* Under the lock. */
    struct guest *coming, *going;
    struct flight *landed, *spent; /* of guests that have gone back; and those that the loop's thread has done with */
    uint64_t guests;
    struct flight *home; /* the loop's thread's: landed ones whose guests have been taken home */
    /* The thread's own. */
    struct user *user;
    struct ring *ring;     /* by which its guests wait for the disk; NULL: there can be none */
    struct guest *landing; /* those of whom something has landed */
    bool counts_slots;     /* the ring's memory is among what is kept */
    uint8_t *in, *out;
    struct guest *first, *last; /* in line */
    uint64_t in_line, held_up;  /* how many those are, and how many of them are held up */
    size_t kept;                /* bytes of guests */
    struct pool pool;           /* of which their commands' data has its memory */
    struct memory memory;       /* that, as commands know it */
    uint64_t patience;          /* for how many nanoseconds one may be held up before it goes back */
    uint64_t busy_poll;         /* for how many nanoseconds it looks again after it found work, before it sleeps */
    uint32_t draw;              /* the state of its random numbers */
};

/* Begin with a connection; the thread has it from now on. */
void data_thread_lend(struct data_thread *thread, struct guest *guest);

/* Call a connection back, and wait for it. The interpreter's lock is given up meanwhile. */
void data_thread_recall(struct data_thread *thread, struct guest *guest);

/* The first of those that have gone back, linked by "next"; what landed behind them is at "home" then. */
struct guest *data_thread_gone(struct data_thread *thread);

/* Settle what is there, once those guests have been taken home; the ring's "results" say what is to be called then. */
void data_thread_settle(struct data_thread *thread);

/* Start it, which returns 0, or an errno; and end it. False: something that flies will always refer to it. */
int data_thread_start(struct data_thread *thread);
bool data_thread_end(struct data_thread *thread);

/* Make the type and put it into the module; 0, or -1 with an exception. */
int data_thread_init(PyObject *module);

#endif
