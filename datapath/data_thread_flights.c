#ifdef __linux__ /* by epoll and eventfd */
/*
 * READs and WRITEs of guests that wait for the disk, in the thread's own ring (flights.h). One that has landed is answered by
 * the thread, with the others of its guest in one piece. Where that cannot be (it failed), and where its guest has gone
 * back while it flew, it is handed to the loop's thread, behind the guest: that settles it, and gives its memory back.
 */
#include "data_thread_parts.h"

#include "flights.h"

#include <sys/epoll.h>

/* -- what has landed */

static void push(struct flight **list, struct flight *flight)
{
    flight->next_ended = *list;
    *list = flight;
}

/* Its guest goes on here: it is answered with the others that have landed. */
static void keep_for_guest(struct data_thread *thread, struct flight *flight)
{
    struct guest *guest = flight->path->guest;

    flight->next_ended = NULL;
    if (guest->landed == NULL)
        guest->landed = flight;
    else
        guest->landed_last->next_ended = flight;
    guest->landed_last = flight;
    if (guest->lands)
        return;
    guest->lands = true;
    guest->next_landing = thread->landing;
    thread->landing = guest;
}

static void hand_over(struct data_thread *thread, struct flight *flight)
{
    bool tells;

    pthread_mutex_lock(&thread->lock);
    tells = thread->landed == NULL;
    push(&thread->landed, flight);
    pthread_mutex_unlock(&thread->lock);
    if (tells)
        fd_signal(thread->ready);
}

static void ended(struct operation *operation, int64_t result)
{
    struct flight *flight = (struct flight *)operation;
    struct data_thread *thread = flight->air->thread;

    flight_leave_air(flight);
    flight->result = result;
    if (flight->home)
        hand_over(thread, flight);
    else
        keep_for_guest(thread, flight);
    flights_begin_waiting(&thread->ring->air);
}

static bool went_well(const struct flight *flight)
{
    return flight->result == (int64_t)flight->operation.length;
}

static bool send_landed(struct data_thread *thread, struct guest *guest, size_t count)
{
    bool sent;

    thread->kept -= guest->output_length;
    sent = guest_send(guest, thread->out, count);
    thread->kept += guest->output_length;
    return sent;
}

/* Answer what has landed well; false: one has not, there is no memory for answers, or too much of it is in use. */
static bool answer(struct data_thread *thread, struct guest *guest)
{
    size_t put = 0;
    bool sent = true;

    while (sent && guest->landed != NULL && went_well(guest->landed)) {
        struct flight *flight = guest->landed;
        guest->landed = flight->next_ended;
        if (put + flight_answer_size(guest->path, flight) > OUT_SIZE) {
            sent = send_landed(thread, guest, put);
            put = 0;
        }
        put += flight_put_answer(guest->path, flight, thread->out + put);
        flight_leave_path(flight);
        flight_discard(flight);
    }
    if (put != 0)
        sent = sent && send_landed(thread, guest, put);
    if (!sent)
        guest_break(guest);
    return sent && guest->landed == NULL && all_kept(thread) <= MOST_KEPT;
}

static void land(struct data_thread *thread)
{
    while (thread->landing != NULL) {
        struct guest *guest = thread->landing;
        thread->landing = guest->next_landing;
        guest->lands = false;
        if (!answer(thread, guest))
            data_thread_give_back(thread, guest);
        else
            guest_wait(thread, guest);
    }
}

void data_thread_reap(struct data_thread *thread)
{
    ring_reap(thread->ring);
    land(thread);
}

void data_thread_take_off(struct data_thread *thread)
{
    struct ring *ring = thread->ring;

    if (ring == NULL)
        return;
    if (ring->memory != NULL && !thread->counts_slots) {
        thread->counts_slots = true;
        thread->kept += (size_t)RING_SLOTS * SLOT_LENGTH;
    }
    if (ring->uring.tail != ring->uring.submitted)
        ring_submit(ring);
    land(thread); /* what the kernel has refused */
}

/* -- where the two threads meet */

void guest_take_flights_home(struct guest *guest)
{
    for (struct flight *each = guest->path->flights.first; each != NULL; each = each->after_of_path)
        each->home = true;
}

bool guest_hand_over_landed(struct data_thread *thread, struct guest *guest)
{
    bool tells = guest->landed != NULL && thread->landed == NULL;

    while (guest->landed != NULL) {
        struct flight *flight = guest->landed;
        guest->landed = flight->next_ended;
        push(&thread->landed, flight);
    }
    return tells;
}

/* For the loop's thread: its memory is the ring's. */
static void give_back(struct air *air, struct flight *flight)
{
    struct data_thread *thread = air->thread;
    bool tells;

    if (!thread->running) { /* it has ended */
        flight_discard(flight);
        return;
    }
    pthread_mutex_lock(&thread->lock);
    tells = thread->spent == NULL;
    push(&thread->spent, flight);
    pthread_mutex_unlock(&thread->lock);
    if (tells)
        fd_signal(thread->wake);
}

void data_thread_discard_spent(struct data_thread *thread)
{
    struct flight *flight;

    pthread_mutex_lock(&thread->lock);
    flight = thread->spent;
    thread->spent = NULL;
    pthread_mutex_unlock(&thread->lock);
    while (flight != NULL) {
        struct flight *next = flight->next_ended;
        flight_discard(flight);
        flight = next;
    }
}

void data_thread_settle(struct data_thread *thread)
{
    struct flight *first = NULL;

    flights_reapings++;
    while (thread->home != NULL) { /* the last one stands first */
        struct flight *flight = thread->home;
        thread->home = flight->next_ended;
        push(&first, flight);
    }
    while (first != NULL) {
        struct flight *flight = first;
        first = flight->next_ended;
        flight_settle(flight, flight->result);
    }
}

/* -- start and end */

int data_thread_open_ring(struct data_thread *thread)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = thread};

    thread->ring = ring_make(thread);
    if (thread->ring == NULL) { /* it is forbidden, or there is no more memory for one: as without */
        PyErr_Clear();
        return 0;
    }
    thread->ring->air.ended = ended;
    thread->ring->air.give_back = give_back;
    thread->user->air = &thread->ring->air;
    return epoll_ctl(thread->poller, EPOLL_CTL_ADD, thread->ring->uring.fd, &event) < 0 ? errno : 0;
}

bool data_thread_close_ring(struct data_thread *thread)
{
    struct ring *ring = thread->ring;

    thread->ring = NULL;
    if (ring == NULL)
        return true;
    if (ring->count != 0 || (ring->memory != NULL && ring->free_count != RING_SLOTS))
        return false; /* a call that never returned, or that nobody settles any more, keeps all of it */
    Py_DECREF((PyObject *)ring);
    return true;
}

#endif
