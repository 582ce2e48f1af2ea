/* PDUs whose data segment was received where it belongs. */
#ifndef IN_PLACE_H
#define IN_PLACE_H

#include "batch.h"

/* The shortest of them in bytes, as DIRECT_MINIMUM in framing.py: less is sooner copied than asked for by itself. */
enum { SHORTEST_IN_PLACE = 8 << 10 };

/*
 * One of them. "header", "view": objects of Python's with its header and its data; NULL in a data thread. "own": memory
 * from the thread's pool in which all data of the command has room, and which begins with this; or NULL. "address": of
 * the data, for the xfer probes.
 */
struct place {
    const uint8_t *bhs, *data;
    size_t length;
    uint64_t address;
    PyObject *header, *view;
    uint8_t *own;
};

/* What became of it: nothing has changed; it is over; a command has begun, and has the memory that its data lies in. */
enum { NOT_HERE, ANSWERED, BEGUN };

/* Serve a command, or a Data-Out, by itself; -1 with an exception. */
int serve_write_at(struct batch *batch, const struct place *place);
int serve_data_at(struct batch *batch, const struct place *place);

#endif
