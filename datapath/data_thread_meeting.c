#ifdef __linux__ /* by epoll and eventfd */
/* Where a data thread and the loop's thread meet: the lists of those that come, are called back, and go. */
#include "data_thread_parts.h"

#include "flights.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void push(struct guest **list, struct guest *guest)
{
    guest->next = *list;
    *list = guest;
}

static void take_out(struct guest **list, const struct guest *guest)
{
    while (*list != NULL && *list != guest)
        list = &(*list)->next;
    if (*list != NULL)
        *list = guest->next;
}

void data_thread_lend(struct data_thread *thread, struct guest *guest)
{
    guest->thread = thread;
    guest->stage = COMING;
    pthread_mutex_lock(&thread->lock);
    thread->guests++;
    push(&thread->coming, guest);
    pthread_mutex_unlock(&thread->lock);
    fd_signal(thread->wake);
}

void data_thread_recall(struct data_thread *thread, struct guest *guest)
{
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    if (guest->stage != GOING) {
        guest->called = true;
        if (guest->stage == SERVED_THERE)
            push(&thread->coming, guest);
        fd_signal(thread->wake);
        while (guest->stage != GOING)
            pthread_cond_wait(&thread->changed, &thread->lock);
    }
    take_out(&thread->going, guest);
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
}

struct guest *data_thread_gone(struct data_thread *thread)
{
    struct flight **place;
    struct guest *list;

    fd_clear(thread->ready);
    pthread_mutex_lock(&thread->lock);
    list = thread->going;
    thread->going = NULL;
    for (place = &thread->landed; *place != NULL; place = &(*place)->next_ended)
        ; /* what landed behind them, and behind who was called, in the same look */
    *place = thread->home;
    thread->home = thread->landed;
    thread->landed = NULL;
    pthread_mutex_unlock(&thread->lock);
    return list;
}

/* All of its input in one piece, as it came. Where there is no memory for that, the connection is over. */
static void put_input_together(struct data_thread *thread, struct guest *guest)
{
    size_t length;
    uint8_t *whole;

    if (guest->segment.data == NULL)
        return;
    whole = segment_return(&guest->segment, guest->path, &thread->pool, guest->input, guest->input_length, &length);
    guest_forget(&guest->input, &guest->input_length);
    guest->input = whole;
    guest->input_length = length;
    if (whole == NULL)
        shutdown(guest->fd, SHUT_RDWR);
}

/* It goes back: whoever has called it finds it, or the loop's thread is told. */
void data_thread_give_back(struct data_thread *thread, struct guest *guest)
{
    bool tells;

    epoll_ctl(thread->poller, EPOLL_CTL_DEL, guest->fd, NULL);
    line_leave(thread, guest);
    thread->kept -= guest_kept(guest);
    put_input_together(thread, guest);
    guest_take_flights_home(guest);
    guest->slow_store = thread->user->slow_store;
    memcpy(guest->slow, thread->user->slow, sizeof guest->slow);
    thread->user->slow_store = NULL;
    pthread_mutex_lock(&thread->lock);
    take_out(&thread->coming, guest); /* it is called back just now */
    tells = guest_hand_over_landed(thread, guest);
    tells = (thread->going == NULL && !guest->called) || tells;
    if (!guest->called)
        push(&thread->going, guest);
    guest->stage = GOING;
    thread->guests--;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->lock);
    if (tells)
        fd_signal(thread->ready);
}

static bool admit(struct data_thread *thread, struct guest *guest)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};

    thread->kept += guest_kept(guest);
    if (epoll_ctl(thread->poller, EPOLL_CTL_ADD, guest->fd, &event) < 0)
        return false;
    if (guest->input != NULL)
        line_join(thread, guest);
    return true;
}

/* Those that come, and those that are called back; false: it is the end. */
bool data_thread_meet(struct data_thread *thread)
{
    bool ends;

    for (;;) {
        struct guest *guest;
        bool comes, called;
        pthread_mutex_lock(&thread->lock);
        ends = thread->ends;
        guest = thread->coming;
        if (guest == NULL)
            break;
        thread->coming = guest->next;
        comes = guest->stage == COMING;
        called = guest->called;
        guest->stage = SERVED_THERE;
        pthread_mutex_unlock(&thread->lock);
        if ((comes && !admit(thread, guest)) || called)
            data_thread_give_back(thread, guest);
    }
    pthread_mutex_unlock(&thread->lock);
    return !ends;
}

#endif
