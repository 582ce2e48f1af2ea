/* What the files of a data thread have of each other: data_thread.c, data_thread_turn.c and data_thread_meeting.c. */
#ifndef DATA_THREAD_PARTS_H
#define DATA_THREAD_PARTS_H

#include "data_thread.h"

#include <errno.h>
#include <unistd.h>

enum { OUT_SIZE = SMALLEST_CHUNK };

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

#endif
