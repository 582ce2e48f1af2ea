/* READs and WRITEs that wait for the disk: in a ring, or with a carrier, and no tasks yet. */
#ifndef FLIGHTS_H
#define FLIGHTS_H

#include "python.h"

#include "carrier_interface.h"
#include "gate.h"
#include "ring.h"
#include "wire.h"

struct path;

/*
 * One command. "path": whose answer it is going to be; NULL once another has taken it over. "taker": what that one wants
 * told; "lent": the buffer that it wants filled. "call", "next_ended": of a carrier.
 */
struct flight {
    struct operation operation;
    struct air *air;
    struct iscsitools_call call;
    struct flight *next_ended;
    struct path *path;
    struct gate *gate;
    uint8_t bhs[BHS_LENGTH];
    uint32_t itt;
    bool writes, durable, begun, failed;
    int64_t result; /* of one that has ended and was not landed, or taken over, yet */
    PyObject *taker;
    Py_buffer lent;
    struct flight *before, *after;           /* those of its air, oldest first */
    struct flight *before_of_path, *after_of_path; /* those of its path */
};

/* Those of one path, oldest first; and what the path's side in Python is asked for: room in the open chunk; a look at
 * what has landed. */
struct flights {
    struct flight *first, *last;
    uint64_t count;
    PyObject *make_room, *landed;
};

/* Whether a range may not be read (or written) at once, for what is under way. */
bool flights_in_the_way(const struct shortcut *shortcut, uint64_t offset, size_t length, bool writes);

/*
 * Begin: a READ, or a WRITE of "data". False: it cannot be done so, or not now, and nothing has been done. What is on
 * the same blocks, and was there before, is waited for.
 */
bool flight_begin(struct path *path, struct gate *gate, const uint8_t *bhs, uint32_t itt, uint64_t offset, size_t length,
                  const uint8_t *data, bool durable);

/* Hand over to the kernel what was begun since the last time. Not while the path is being served. */
void flights_take_off(struct path *path);

struct flight *flights_find(const struct flights *flights, uint32_t itt);

/* It has ended, as "operation.ended" says it too: put its answer into the output, or tell who has taken it over. */
void flight_land(struct operation *operation, int64_t result);

/* The path's side of one is over; and it is over altogether. */
void flight_leave_path(struct flight *flight);
void flight_free(struct flight *flight);

/* Who else has to see or take over one; see path_flights.c. */
PyObject *path_land_by(PyObject *self, PyObject *args);
PyObject *path_flying(PyObject *self, PyObject *unused);
PyObject *path_take_flight(PyObject *self, PyObject *args);

#endif
