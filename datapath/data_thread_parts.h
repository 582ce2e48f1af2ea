/* What the files of a data thread have of each other: data_thread.c and data_thread_*.c. */
#ifndef DATA_THREAD_PARTS_H
#define DATA_THREAD_PARTS_H

#include "data_thread.h"

#include "ring.h"

#include <errno.h>
#include <unistd.h>

enum {
    OUT_SIZE = SMALLEST_CHUNK,
    MOST_KEPT = 32 << 20, /* of all guests; who needs more goes back, where all memory is counted */
};

static inline void fd_signal(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static inline void fd_clear(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* Bytes that are kept of it, or for data of its commands that has not come yet. */
static inline size_t guest_kept(const struct guest *guest)
{
    return guest->input_length + guest->output_length + guest->segment.size + guest->path->transfers.awaited;
}

/* All that counts against MOST_KEPT. */
static inline size_t all_kept(const struct data_thread *thread)
{
    return thread->kept + (thread->ring == NULL ? 0 : thread->ring->long_bytes);
}

/* -- data_thread_meeting.c */

/* Those that come, and those that are called back; false: it is the end. */
bool data_thread_meet(struct data_thread *thread);

/* It goes back: whoever has called it finds it, or the loop's thread is told. */
void data_thread_give_back(struct data_thread *thread, struct guest *guest);

/* -- data_thread_turn.c */

/* The line of those that have input. */
void line_join(struct data_thread *thread, struct guest *guest);
void line_leave(struct data_thread *thread, struct guest *guest);

/* Each of those that are in line now has one turn. */
void line_serve(struct data_thread *thread);

/* The socket of a guest has something, or takes something. */
void guest_on_event(struct data_thread *thread, struct guest *guest);

/* Have its socket tell when it has something, or takes more of what is kept of the guest's output. */
void guest_wait(struct data_thread *thread, struct guest *guest);

/* There is no memory for bytes of its stream: it cannot go on. Whoever takes it home finds it closed. */
void guest_break(const struct guest *guest);

/* -- data_thread_flights.c */

/* Open the ring, if there can be one; 0, or an errno. And close it; false: something of it has never returned. */
int data_thread_open_ring(struct data_thread *thread);
bool data_thread_close_ring(struct data_thread *thread);

/* The ring has something: answer what has landed. And hand over to the kernel what was begun. A guest may go back by both. */
void data_thread_reap(struct data_thread *thread);
void data_thread_take_off(struct data_thread *thread);

/* Have memory back that the loop's thread has done with. */
void data_thread_discard_spent(struct data_thread *thread);

/*
 * A guest goes back: what flies of it is handed over when it lands; what has landed, now (under the lock; whether it
 * tells).
 */
void guest_take_flights_home(struct guest *guest);
bool guest_hand_over_landed(struct data_thread *thread, struct guest *guest);

#endif
