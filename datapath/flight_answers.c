/*
 * What becomes of a flight that has landed: its answer, in the output of its path; or what whoever has taken it over is
 * told, and all of those that did not go well are taken over (path_flights.c).
 */
#include "flights.h"

#include "batch.h"
#include "crc32c.h"
#include "words.h"

uint64_t flights_reapings;

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

static bool is_in_parts(const struct path *path, const struct flight *flight)
{
    return !flight->writes && flight->operation.length > path->largest_read;
}

size_t flight_answer_size(const struct path *path, const struct flight *flight)
{
    size_t length = flight->writes ? 0 : flight->operation.length;
    size_t headers = is_in_parts(path, flight) ? parts_of(path, length) : 1;

    return headers * BHS_LENGTH + length + 2 * DIGEST_LENGTH;
}

/* The header, or with a READ in several parts all of it, and how long that is. */
static size_t put_beginning(const struct path *path, const struct flight *flight, uint8_t *bhs)
{
    size_t length = flight->operation.length;
    struct answer answer = {flight->itt, (uint32_t)length,
                            {(uint32_t)path->statsn, (uint32_t)path->exp_cmdsn, max_cmdsn_of(path)}};

    if (is_in_parts(path, flight))
        return put_in_parts(path, &answer, flight->operation.memory, bhs);
    if (flight->writes) {
        put_response(bhs, flight->itt, &answer.numbers);
        put_be32(bhs + 36, flight->r2ts); /* ExpDataSN (RFC 7143 11.4.8) */
    } else {
        put_data_in(bhs, (uint32_t)length, flight->itt, &answer.numbers);
    }
    return BHS_LENGTH;
}

size_t flight_put_answer(struct path *path, const struct flight *flight, uint8_t *bhs)
{
    size_t length = flight->writes ? 0 : flight->operation.length;
    size_t put = put_beginning(path, flight, bhs), rest = is_in_parts(path, flight) ? 0 : length;

    path->statsn = (uint32_t)(path->statsn + 1);
    if (path->header_digest) {
        put_digest(bhs + put, crc32c(0, bhs, BHS_LENGTH));
        put += DIGEST_LENGTH;
    }
    memcpy(bhs + put, flight->operation.memory, rest);
    put += rest;
    if (path->data_digest && rest) {
        put_digest(bhs + put, crc32c(0, flight->operation.memory, rest));
        put += DIGEST_LENGTH;
    }
    word_store(&path->read_bytes, path->read_bytes + length);
    word_store(&path->written_bytes, path->written_bytes + (flight->writes ? flight->operation.length : 0));
    gate_count_moved(flight->gate, !flight->home, flight->writes ? UNIT_WRITES : UNIT_READS, flight->operation.length);
    return put;
}

/* Put the answer of one that went well into the open chunk. */
static bool put_answer(struct path *path, const struct flight *flight)
{
    if (path->busy || !make_room(path, flight_answer_size(path, flight)))
        return false;
    path->tail += flight_put_answer(path, flight, (uint8_t *)path->chunk.buf + path->tail);
    return true;
}

void flight_settle(struct flight *flight, int64_t result)
{
    struct operation *operation = &flight->operation;
    struct air *air = flight->air;
    struct path *path = flight->path;

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
        return; /* whoever takes it over frees it */
    } else if (path != NULL) {
        if (path->landed_in != flights_reapings)
            tell(air, path->flights.landed, Py_None, 0);
        path->landed_in = flights_reapings;
        flight_leave_path(flight);
    }
    flight_free(flight);
}

void flight_land(struct operation *operation, int64_t result)
{
    struct flight *flight = (struct flight *)operation;
    struct air *air = flight->air;

    flight_leave_air(flight);
    flight_settle(flight, result);
    flights_begin_waiting(air);
}
