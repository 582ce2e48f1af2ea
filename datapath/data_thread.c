#ifdef __linux__ /* by epoll and eventfd */
/* The loop of a data thread, its start and its end. */
#include "data_thread_parts.h"

#include "clock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 64 };

/* Milliseconds: none while there is input to serve; what only waits for flights of other rings is looked at now and then. */
static int longest_wait(const struct data_thread *thread)
{
    if (thread->first == NULL)
        return -1;
    return thread->held_up == thread->in_line;
}

/* What is ready; *found: whether something was the last time, so that it looks again for a while (busy_poll). */
static int wait_for_events(const struct data_thread *thread, struct epoll_event *events, bool *found)
{
    uint64_t busy_poll = __atomic_load_n(&thread->busy_poll, __ATOMIC_RELAXED);
    int count = 0;

    if (*found && busy_poll != 0 && thread->first == NULL) {
        uint64_t until = monotonic_now() + busy_poll;
        do
            count = epoll_wait(thread->poller, events, EVENTS, 0);
        while (count == 0 && monotonic_now() < until);
    }
    if (count == 0)
        count = epoll_wait(thread->poller, events, EVENTS, longest_wait(thread));
    *found = count > 0;
    return count;
}

/* Where to begin with so many events: anywhere, for who is always last has less than the others (Loop._from_anywhere). */
static int anywhere(struct data_thread *thread, int count)
{
    thread->draw ^= thread->draw << 13; /* xorshift */
    thread->draw ^= thread->draw >> 17;
    thread->draw ^= thread->draw << 5;
    return count > 1 ? (int)(thread->draw % (uint32_t)count) : 0;
}

static void *run(void *argument)
{
    struct data_thread *thread = argument;
    struct epoll_event events[EVENTS];
    bool goes_on = true, found = false;

    while (goes_on) {
        int count = wait_for_events(thread, events, &found);
        int first = anywhere(thread, count);
        bool woken = false, landed = false;
        for (int i = 0; i < count; i++) {
            struct guest *guest = events[(first + i) % count].data.ptr;
            if (guest == NULL)
                woken = true; /* later: who goes back now may have another event here */
            else if ((void *)guest == thread)
                landed = true;
            else
                guest_on_event(thread, guest);
        }
        if (landed)
            data_thread_reap(thread);
        line_serve(thread);
        data_thread_take_off(thread);
        if (woken) {
            fd_clear(thread->wake);
            data_thread_discard_spent(thread);
            goes_on = data_thread_meet(thread);
        }
    }
    return NULL;
}

/* -- start and end */

int data_thread_start(struct data_thread *thread)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    sigset_t all, before;
    int error;

    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->changed, NULL);
    thread->poller = epoll_create1(EPOLL_CLOEXEC);
    thread->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    thread->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    thread->in = malloc(RECEIVE_SIZE);
    thread->out = malloc(OUT_SIZE);
    thread->user = users_add();
    thread->memory.pool = &thread->pool;
    if (thread->poller < 0 || thread->wake < 0 || thread->ready < 0
        || epoll_ctl(thread->poller, EPOLL_CTL_ADD, thread->wake, &event) < 0)
        return errno;
    if (thread->in == NULL || thread->out == NULL || thread->user == NULL)
        return ENOMEM;
    error = data_thread_open_ring(thread);
    if (error != 0)
        return error;
    sigfillset(&all); /* signals are for Python's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread->thread, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    thread->running = error == 0;
    return error;
}

static void end_run(struct data_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    thread->ends = true;
    pthread_mutex_unlock(&thread->lock);
    fd_signal(thread->wake);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(thread->thread, NULL);
    Py_END_ALLOW_THREADS
    thread->running = false;
}

bool data_thread_end(struct data_thread *thread)
{
    const int fds[] = {thread->poller, thread->wake, thread->ready};
    bool returned;

    if (thread->running)
        end_run(thread);
    data_thread_discard_spent(thread);
    returned = data_thread_close_ring(thread);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    thread->poller = thread->wake = thread->ready = -1;
    free(thread->in);
    free(thread->out);
    thread->in = thread->out = NULL;
    pool_end(&thread->pool);
    if (thread->user != NULL && returned)
        users_remove(thread->user); /* else what flies is still seen by others */
    thread->user = NULL;
    return returned;
}

#endif
