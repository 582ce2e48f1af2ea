/*
 * The rules are those of the task set (iscsitools/scsi/core/task_set.py) and of the range lock (backstores/ranges.py):
 * what overlaps, and changes blocks, is not in the disk together; of two such the one that came first goes first. While
 * a task of Python's reads or writes, the gate is closed for what would be in its way; before one begins, all flights of
 * its unit become tasks (TaskSet.enter). Threads that hold ranges of the file keep flights off by its words, and wait
 * for those in the air.
 *
 * Each air is of one thread, which begins its flights and is told of their ends. One of a data thread refers to its path and its
 * gate for nothing as long as that thread has the path; when the path goes back while it flies, it holds them, and when it
 * lands it is handed to the loop's thread (data_thread_flights.c). What both know of it in between, neither changes.
 */
#include "flights.h"

#include "batch.h"
#include "shortcut_file.h"

#include <stdlib.h>
#include <unistd.h>

static bool overlap(const struct flight *flight, int fd, uint64_t offset, size_t length, bool writes)
{
    const struct operation *other = &flight->operation;

    return other->fd == fd && (writes || flight->writes) && offset < other->offset + other->length
           && other->offset < offset + length;
}

struct air *flights_air(const struct shortcut *shortcut, const struct user *user)
{
    if (!user->threaded)
        return shortcut->air;
    return shortcut->kind == SHORTCUT_FILE && shortcut->air != NULL ? user->air : NULL; /* it allows a ring */
}

/* Whether there are any of this store that may be in the way of who reads, or writes. */
static bool are_there(const struct shortcut *shortcut, bool writes)
{
    return shortcut_word(shortcut, writes ? FLIGHTS : WRITE_FLIGHTS) != 0;
}

static bool in_own_air(const struct air *air, const struct shortcut *shortcut, uint64_t offset, size_t length, bool writes)
{
    int fd = (int)shortcut_word(shortcut, FD);

    for (const struct flight *each = air == NULL ? NULL : air->first; each != NULL; each = each->after)
        if (overlap(each, fd, offset, length, writes))
            return true;
    return false;
}

static bool in_another(const struct air *air, const struct shortcut *shortcut, uint64_t offset, size_t length, bool writes)
{
    return airspace_is_taken(air == NULL ? NULL : air->space, shortcut->words.buf, offset, offset + length, writes);
}

bool flights_in_the_way(const struct shortcut *shortcut, const struct user *user, uint64_t offset, size_t length,
                        bool writes)
{
    const struct air *air = flights_air(shortcut, user);

    return are_there(shortcut, writes)
           && (in_own_air(air, shortcut, offset, length, writes) || in_another(air, shortcut, offset, length, writes));
}

/* -- leaving the air */

void flights_begin_waiting(struct air *air)
{
    for (struct flight *each = air->first; each != NULL && air->waiting != 0; each = each->after) {
        const struct operation *operation = &each->operation;
        const struct flight *other = air->first;
        if (each->begun)
            continue;
        while (other != each && !overlap(other, operation->fd, operation->offset, operation->length, each->writes))
            other = other->after;
        if (other != each || !air->start_waiting(air, each))
            continue;
        each->begun = true;
        air->waiting--;
    }
}

/* At its beginning and at its end: a flush may have begun and ended in between. */
static void leave_unflushed(const struct flight *flight)
{
    if (flight->writes && !flight->durable)
        shortcut_set_word(&flight->gate->shortcut, UNFLUSHED, 1);
}

/* Others see it no more. */
static void forget(const struct flight *flight)
{
    const struct air *air = flight->air;

    if (air->space != NULL)
        airspace_forget(air->space, (unsigned)flight->operation.slot);
    shortcut_count_flight(&flight->gate->shortcut, flight->writes, -1);
}

void flight_leave_air(struct flight *flight)
{
    air_leave(flight->air, flight);
    leave_unflushed(flight);
    forget(flight);
}

/* -- taking off */

static bool may_fly(const struct path *path, const struct gate *gate, uint64_t offset, size_t length, bool writes)
{
    const struct shortcut *shortcut = &gate->shortcut;

    if (path->flights.landed == NULL || length == 0)
        return false;
    if (shortcut_word(shortcut, writes ? HOLDS : WRITERS) != 0 || !gate_has_room(gate))
        return false;
    return !writes || shortcut->kind != SHORTCUT_FILE
           || (shortcut_word(shortcut, NO_WRITE_BEFORE) != NO_WRITES
               && (int64_t)(offset + length) <= lseek((int)shortcut_word(shortcut, FD), 0, SEEK_END));
}

/* A flight with memory for its bytes; NULL: there is none. */
static struct flight *make(struct air *air, struct gate *gate, size_t length)
{
    struct flight *flight = calloc(1, sizeof *flight);

    if (flight == NULL)
        return NULL;
    flight->air = air;
    flight->gate = gate;
    flight->home = air->thread == NULL;
    flight->operation.length = length;
    flight->operation.slot = NO_SLOT;
    if (!air->find_memory(air, flight)) {
        flight_discard(flight);
        return NULL;
    }
    if (flight->home)
        Py_INCREF((PyObject *)gate);
    return flight;
}

/* It cannot be after all. */
static void give_up(struct flight *flight)
{
    if (flight->home)
        Py_DECREF((PyObject *)flight->gate);
    flight_discard(flight);
}

static void gather(uint8_t *to, const struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++) {
        memcpy(to, pieces->first[i].iov_base, pieces->first[i].iov_len);
        to += pieces->first[i].iov_len;
    }
}

static void fill_in(struct flight *flight, uint64_t offset, const struct pieces *data, bool durable)
{
    const struct shortcut *shortcut = &flight->gate->shortcut;
    struct operation *operation = &flight->operation;

    flight->writes = data != NULL;
    flight->durable = flight->writes && durable;
    operation->opcode = data != NULL ? URING_WRITE : URING_READ;
    operation->fd = (int)shortcut_word(shortcut, FD);
    operation->direct = shortcut_word(shortcut, DIRECT) != 0;
    operation->flags = flight->durable ? (uint32_t)shortcut_word(shortcut, DURABLE_FLAGS) : 0;
    operation->offset = offset;
    operation->ended = flight->air->ended;
    if (data != NULL)
        gather(operation->memory, data);
}

/*
 * Tell others of it, and count it: who of them was at the same bytes has ended when this returns. False: it may not be
 * now, for what flies elsewhere; or it would wait for a write, and what it then read with FUA might not be durable.
 */
static bool announce(struct flight *flight, struct user *user, bool fua)
{
    const struct shortcut *shortcut = &flight->gate->shortcut;
    const struct operation *operation = &flight->operation;
    const struct air *air = flight->air;
    bool claimed = shortcut_claim(shortcut, user, operation->offset, operation->length, flight->writes);
    bool there = are_there(shortcut, flight->writes), waits, may;

    waits = there && in_own_air(air, shortcut, operation->offset, operation->length, flight->writes);
    user->held_up = there && in_another(air, shortcut, operation->offset, operation->length, flight->writes);
    may = !(waits && fua && !flight->writes) && !user->held_up;
    if (may) {
        flight->begun = !waits;
        leave_unflushed(flight);
        shortcut_count_flight(shortcut, flight->writes, 1);
        if (air->space != NULL)
            airspace_tell(air->space, (unsigned)operation->slot, shortcut->words.buf, operation->offset,
                          operation->offset + operation->length, flight->writes);
    }
    if (claimed)
        user_release(user);
    return may;
}

struct flight *flight_begin(struct path *path, struct user *user, struct gate *gate, const uint8_t *bhs, uint32_t itt,
                            uint64_t offset, size_t length, const struct pieces *data, bool durable)
{
    struct air *air = flights_air(&gate->shortcut, user);
    struct flight *flight;

    if (air == NULL || length > air->longest || !may_fly(path, gate, offset, length, data != NULL)
        || (flight = make(air, gate, length)) == NULL)
        return NULL;
    flight->itt = itt;
    memcpy(flight->bhs, bhs, BHS_LENGTH);
    fill_in(flight, offset, data, durable);
    if (!announce(flight, user, durable)) {
        give_up(flight);
        return NULL;
    }
    if (flight->begun && air->start(air, flight) < 0) {
        forget(flight);
        give_up(flight);
        return NULL;
    }
    air->waiting += !flight->begun;
    air_join(air, flight);
    flight_join_path(path, flight);
    if (air->submit != NULL && !user->threaded)
        path->departing = gate;
    return flight;
}

void flights_take_off(struct path *path)
{
    struct gate *gate = path->departing;
    PyObject *result;

    path->departing = NULL;
    if (gate == NULL)
        return;
    gate->shortcut.air->submit(gate->shortcut.air);
    if (PyList_Size(gate->shortcut.air->results) == 0)
        return;
    result = PyObject_CallMethod(gate->store, "reap", NULL); /* the kernel has refused some */
    if (result == NULL)
        PyErr_WriteUnraisable(gate->store);
    Py_XDECREF(result);
}
