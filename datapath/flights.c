/*
 * The rules are those of the task set (iscsitools/scsi/core/task_set.py) and of the range lock (backstores/ranges.py):
 * what overlaps, and changes blocks, is not in the disk together; of two such the one that came first goes first. While
 * a task of Python's reads or writes, the gate is closed for what would be in its way; before one begins, all flights of
 * its unit become tasks (TaskSet.enter). Threads that hold ranges of the file keep flights off by its words, and wait
 * for those in the air.
 */
#include "flights.h"

#include "batch.h"
#include "crc32c.h"
#include "shortcut_file.h"

#include <errno.h>
#include <unistd.h>

static bool overlap(const struct flight *flight, int fd, uint64_t offset, size_t length, bool writes)
{
    const struct operation *other = &flight->operation;

    return other->fd == fd && (writes || flight->writes) && offset < other->offset + other->length
           && other->offset < offset + length;
}

bool flights_in_the_way(const struct shortcut *shortcut, uint64_t offset, size_t length, bool writes)
{
    const int64_t *words = shortcut->words.buf;

    if (words[writes ? FLIGHTS : WRITE_FLIGHTS] == 0)
        return false;
    for (const struct flight *each = shortcut->air->first; each != NULL; each = each->after)
        if (overlap(each, (int)words[FD], offset, length, writes))
            return true;
    return false;
}

/* -- lists */

static void join_air(struct air *air, struct flight *flight)
{
    flight->before = air->last;
    if (flight->before != NULL)
        flight->before->after = flight;
    else
        air->first = flight;
    air->last = flight;
}

static void leave_air(struct air *air, struct flight *flight)
{
    if (flight->before != NULL)
        flight->before->after = flight->after;
    else
        air->first = flight->after;
    if (flight->after != NULL)
        flight->after->before = flight->before;
    else
        air->last = flight->before;
}

static void join_path(struct path *path, struct flight *flight)
{
    struct flights *flights = &path->flights;

    Py_INCREF((PyObject *)path);
    flight->path = path;
    flight->before_of_path = flights->last;
    if (flights->last != NULL)
        flights->last->after_of_path = flight;
    else
        flights->first = flight;
    flights->last = flight;
    flights->count++;
    gate_count_flight(flight->gate, 1);
}

void flight_leave_path(struct flight *flight)
{
    struct path *path = flight->path;
    struct flights *flights = &path->flights;

    if (flight->before_of_path != NULL)
        flight->before_of_path->after_of_path = flight->after_of_path;
    else
        flights->first = flight->after_of_path;
    if (flight->after_of_path != NULL)
        flight->after_of_path->before_of_path = flight->before_of_path;
    else
        flights->last = flight->before_of_path;
    flights->count--;
    gate_count_flight(flight->gate, -1);
    flight->path = NULL;
    Py_DECREF((PyObject *)path);
}

struct flight *flights_find(const struct flights *flights, uint32_t itt)
{
    struct flight *flight = flights->first;

    while (flight != NULL && flight->itt != itt)
        flight = flight->after_of_path;
    return flight;
}

void flight_free(struct flight *flight)
{
    operation_release(&flight->operation);
    if (flight->lent.obj != NULL)
        PyBuffer_Release(&flight->lent);
    Py_XDECREF(flight->taker);
    Py_DECREF((PyObject *)flight->gate);
    PyMem_Free(flight);
}

/* -- landing */

static void tell(struct air *air, PyObject *callable, PyObject *argument, int64_t result)
{
    PyObject *pair = Py_BuildValue("((OO)L)", callable, argument, (long long)result);

    if (pair == NULL || PyList_Append(air->results, pair) < 0)
        PyErr_WriteUnraisable(callable); /* there is no memory for a pair */
    Py_XDECREF(pair);
}

static bool make_room(struct path *path, size_t needed)
{
    PyObject *result;

    if (path->chunk_object != NULL && path->tail + needed <= (uint64_t)path->chunk.len)
        return true;
    result = PyObject_CallFunction(path->flights.make_room, "K", (unsigned long long)needed);
    if (result == NULL)
        PyErr_WriteUnraisable(path->flights.make_room);
    Py_XDECREF(result);
    return result != NULL && path->chunk_object != NULL && path->tail + needed <= (uint64_t)path->chunk.len;
}

/* Put the answer of one that went well into the open chunk. */
static bool put_answer(struct path *path, const struct flight *flight)
{
    size_t length = flight->writes ? 0 : flight->operation.length;
    struct numbers numbers = {(uint32_t)path->statsn, (uint32_t)path->exp_cmdsn, max_cmdsn_of(path)};
    uint8_t *bhs;

    if (path->busy || !make_room(path, BHS_LENGTH + length + 2 * DIGEST_LENGTH))
        return false;
    bhs = (uint8_t *)path->chunk.buf + path->tail;
    if (flight->writes)
        put_response(bhs, flight->itt, &numbers);
    else
        put_data_in(bhs, (uint32_t)length, flight->itt, &numbers);
    path->statsn = (uint32_t)(path->statsn + 1);
    path->tail += BHS_LENGTH;
    if (path->header_digest) {
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
        path->tail += DIGEST_LENGTH;
    }
    memcpy((uint8_t *)path->chunk.buf + path->tail, flight->operation.memory, length);
    path->tail += length;
    if (path->data_digest && length) {
        put_digest((uint8_t *)path->chunk.buf + path->tail, crc32c(0, flight->operation.memory, length));
        path->tail += DIGEST_LENGTH;
    }
    path->read_bytes += length;
    path->written_bytes += flight->writes ? flight->operation.length : 0;
    gate_count_moved(flight->gate, false, flight->writes ? UNIT_WRITES : UNIT_READS, flight->operation.length);
    return true;
}

/* Begin those that waited for others, and need wait no longer. */
static void begin_waiting(struct air *air)
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

void flight_land(struct operation *operation, int64_t result)
{
    struct flight *flight = (struct flight *)operation;
    struct air *air = flight->air;
    struct path *path = flight->path;

    leave_air(air, flight);
    shortcut_count_flight(&flight->gate->shortcut, flight->writes, -1);
    leave_unflushed(flight);
    if (flight->taker != NULL) {
        if (!flight->writes && result > 0)
            memcpy(flight->lent.buf, operation->memory, (size_t)result);
        tell(air, flight->gate->shortcut.ended, flight->taker, result);
    } else if (path != NULL && (result != (int64_t)operation->length || !put_answer(path, flight))) {
        flight->failed = true;
        flight->result = result;
        PyObject *itt = PyLong_FromUnsignedLong(flight->itt);
        tell(air, path->flights.landed, itt == NULL ? Py_None : itt, 0);
        Py_XDECREF(itt);
        begin_waiting(air);
        return; /* whoever takes it over frees it */
    } else if (path != NULL) {
        if (path->landed_in != air->reaps)
            tell(air, path->flights.landed, Py_None, 0);
        path->landed_in = air->reaps;
        flight_leave_path(flight);
    }
    flight_free(flight);
    begin_waiting(air);
}

/* -- taking off */

static bool may_fly(const struct path *path, const struct gate *gate, uint64_t offset, size_t length, bool writes)
{
    const struct shortcut *shortcut = &gate->shortcut;
    const int64_t *words = shortcut->words.buf;

    if (shortcut->air == NULL || path->flights.landed == NULL || length == 0 || length > SLOT_LENGTH)
        return false;
    if (words[writes ? HOLDS : WRITERS] != 0 || !gate_has_room(gate))
        return false;
    return !writes || shortcut->kind != SHORTCUT_FILE
           || (words[NO_WRITE_BEFORE] != NO_WRITES && (int64_t)(offset + length) <= lseek((int)words[FD], 0, SEEK_END));
}

bool flight_begin(struct path *path, struct gate *gate, const uint8_t *bhs, uint32_t itt, uint64_t offset, size_t length,
                  const uint8_t *data, bool durable)
{
    const int64_t *words = gate->shortcut.words.buf;
    struct air *air = gate->shortcut.air;
    struct flight *flight;
    struct operation *operation;
    bool waits;

    if (!may_fly(path, gate, offset, length, data != NULL) || (flight = PyMem_Calloc(1, sizeof *flight)) == NULL)
        return false;
    Py_INCREF((PyObject *)gate);
    flight->gate = gate;
    flight->itt = itt;
    flight->writes = data != NULL;
    flight->durable = durable;
    memcpy(flight->bhs, bhs, BHS_LENGTH);
    operation = &flight->operation;
    operation->opcode = data != NULL ? URING_WRITE : URING_READ;
    operation->fd = (int)words[FD];
    operation->direct = words[DIRECT] != 0;
    operation->flags = durable ? (uint32_t)words[DURABLE_FLAGS] : 0;
    operation->offset = offset;
    operation->length = length;
    operation->ended = flight_land;
    operation->slot = NO_SLOT;
    flight->air = air;
    if (!air->find_memory(air, flight)) {
        flight_free(flight);
        return false;
    }
    if (data != NULL)
        memcpy(operation->memory, data, length);
    waits = flights_in_the_way(&gate->shortcut, offset, length, flight->writes);
    shortcut_announce_flight(&gate->shortcut, offset, length, flight->writes);
    if (!waits && air->start(air, flight) < 0) {
        shortcut_count_flight(&gate->shortcut, flight->writes, -1);
        flight_free(flight);
        return false;
    }
    flight->begun = !waits;
    air->waiting += waits;
    join_air(air, flight);
    join_path(path, flight);
    leave_unflushed(flight);
    if (air->submit != NULL)
        path->departing = gate;
    return true;
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
