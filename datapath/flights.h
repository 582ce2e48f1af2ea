/* READs and WRITEs that wait for the disk: in a ring, or with a carrier, and no tasks yet. */
#ifndef FLIGHTS_H
#define FLIGHTS_H

#include "python.h"

#include "carrier_interface.h"
#include "gate.h"
#include "ring.h"
#include "wire.h"

struct path;

enum { LONGEST_FLIGHT = 1 << 20 };

/*
 * One command. "path": whose answer it is going to be; NULL once another has taken it over. "taker": what that one wants
 * told; "lent": the buffer that it wants filled. "call": of a carrier; "next_ended": of that, or of a data thread.
 * "home": its path is the loop's thread's, and only then it holds references; a data thread sets that when it gives the
 * path back.
 */
struct flight {
    struct operation operation;
    struct air *air;
    struct iscsitools_call call;
    struct flight *next_ended;
    struct path *path;
    struct gate *gate;
    uint8_t bhs[BHS_LENGTH];
    uint32_t itt, r2ts; /* r2ts: by how many its data was asked for */
    bool writes, durable, begun, failed, home;
    int64_t result; /* of one that has ended and was not settled, or taken over, yet */
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

/* How often the loop's thread has looked for completions, of whatever air; under the interpreter's lock. */
extern uint64_t flights_reapings;

/* By what a user may have the disk read and write for a store; NULL: not at all. */
struct air *flights_air(const struct shortcut *shortcut, const struct user *user);

/*
 * Whether a user may not read (or write) a range at once, for what is under way; he has claimed it, where others may be at
 * the same bytes.
 */
bool flights_in_the_way(const struct shortcut *shortcut, const struct user *user, uint64_t offset, size_t length,
                        bool writes);

/*
 * Begin: a READ, or a WRITE of "data", which is copied, "durable" or with FUA. NULL: it cannot be done so, or not now, and
 * nothing has been done. What is on the same blocks, and was there before, is waited for, if it is of the same air.
 */
struct flight *flight_begin(struct path *path, struct user *user, struct gate *gate, const uint8_t *bhs, uint32_t itt,
                            uint64_t offset, size_t length, const struct pieces *data, bool durable);

/* Hand over to the kernel what was begun since the last time. Not while the path is being served. */
void flights_take_off(struct path *path);

struct flight *flights_find(const struct flights *flights, uint32_t itt);

/* It has ended, as "operation.ended" says it too, and what that takes for one of the loop's thread: all of the following. */
void flight_land(struct operation *operation, int64_t result);

/* The disk has done with it: its blocks are free. Then those begin that have waited for them. For the thread of the air. */
void flight_leave_air(struct flight *flight);
void flights_begin_waiting(struct air *air);

/* Put its answer into the output, or tell who has taken it over how it ended. For the loop's thread. */
void flight_settle(struct flight *flight, int64_t result);

/* Put the answer of one that went well at "bhs"; returns how long it is. There is room for flight_answer_size. */
size_t flight_put_answer(struct path *path, const struct flight *flight, uint8_t *bhs);
size_t flight_answer_size(const struct path *path, const struct flight *flight);

/* Those of a path come home with it: they hold what they refer to. */
void flights_come_home(struct path *path);

/* Their lists: flight_lists.c. An air has its flights in the order in which they came. */
void air_join(struct air *air, struct flight *flight);
void air_leave(struct air *air, struct flight *flight);
void flight_join_path(struct path *path, struct flight *flight);

/* The path's side of one is over; and it is over altogether, where it is home, or by the thread of its air. */
void flight_leave_path(struct flight *flight);
void flight_free(struct flight *flight);
void flight_discard(struct flight *flight);

/* Who else has to see or take over one; see path_flights.c. */
PyObject *path_land_by(PyObject *self, PyObject *args);
PyObject *path_flying(PyObject *self, PyObject *unused);
PyObject *path_take_flight(PyObject *self, PyObject *args);

#endif
