/* What the sums count in: rows (cells) by connection, LUN and command, and histograms by declaration. */
#ifndef TRACE_CELLS_H
#define TRACE_CELLS_H

#include "trace.h"
#include "trace_busy.h"
#include "trace_map.h"
#include "users.h"

/* As in iscsitools/trace/sums/declared.py. */
enum value {
    VALUE_SIZE,
    VALUE_PLACE,
    VALUE_DISTANCE,
    VALUE_DEPTH,
    VALUE_BACKSTORE,
    VALUE_WAITING,
    VALUE_SENDING,
    VALUES
};
enum scale { SCALE_OCTAVES, SCALE_WIDTHS, SCALES };
enum { MOST_KEPT = 16 };
enum { FLAG_READS = 0x40, FLAG_WRITES = 0x20 }; /* of a SCSI Command (RFC 7143 11.3.1) */

/* A line of that table. */
struct kept {
    enum value value;
    enum scale scale;
};

struct histogram {
    struct map counts;
    unsigned shift; /* of equal widths: a bucket has 1 << shift values */
};

/* One row. "key" says which command: see cell_key. */
struct cell {
    struct unit *unit;
    uint32_t key;
    uint64_t commands, ended, latency, maximum, failed, in_pdus, in_bytes, out_pdus, out_bytes;
    struct map latencies, errors;
    struct histogram kept[];
};

/* What is kept of a LUN of a connection. */
struct unit {
    uint64_t lun;
    bool has_end;
    uint64_t end;     /* the block behind the last command's range */
    struct map cells; /* by key */
    uint32_t places[PLACES_OF_UNIT]; /* what its commands make busy */
};

/* A command that has begun. They are in a list, in that order. Of its transfers: how many are open, and since when. */
struct start {
    uint64_t began, opened, sending, waiting;
    uint16_t open, kind; /* transfers, and of which kind those are that are open */
    uint32_t itt;
    struct cell *cell;
    struct start *before, *after;
};

/* What is kept of a connection. */
struct counted {
    struct user *user; /* the data thread that has the connection; NULL: the loop's thread */
    PyObject *info;
    uint32_t ident;
    int64_t generation;
    bool admitted, has_statsn;
    uint32_t statsn;   /* of the answer that comes next, by the one before it */
    struct map units;  /* by LUN */
    struct map starts; /* by ITT */
    struct map unsent; /* by ITT: those that have ended well while a transfer was open; they are in no list */
    struct start *oldest, *newest, *spare;
    size_t made; /* starts in use and to spare */
    struct cell *overflow; /* of commands for which there was no row any more; NULL: there was none yet */
};

/* The command of a row: KNOWN, or nothing else but 0: data of commands that began before the sums. */
#define KEY_KNOWN (UINT32_C(1) << 31)
#define KEY_ACTION (UINT32_C(1) << 30)
#define KEY_READS (UINT32_C(1) << 29)
#define KEY_WRITES (UINT32_C(1) << 28)

static inline uint32_t cell_key(uint8_t opcode, bool has_action, uint16_t action, uint8_t flags)
{
    return KEY_KNOWN | (has_action ? KEY_ACTION | (uint32_t)action << 8 : 0) | opcode | (flags & FLAG_READS ? KEY_READS : 0)
           | (flags & FLAG_WRITES ? KEY_WRITES : 0);
}

/* Without memory all of these return NULL or -1, and there is no exception of Python: data threads count too. */
struct cell *cell_new(struct unit *unit, uint32_t key, size_t kept);
void cell_free(struct cell *cell, size_t kept);
void cell_reset(struct cell *cell, size_t kept);
bool cell_used(const struct cell *cell, size_t kept);

/* Count a value. */
int count_octave(struct map *counts, double value);
int count_width(struct histogram *histogram, uint64_t value);

/*
 * A tuple: info, LUN, operation code and service action or None, reads, writes, the nine numbers, latencies, errors, and
 * a tuple of (shift, counts). NULL with an exception.
 */
PyObject *cell_to_tuple(const struct cell *cell, PyObject *info, size_t kept);

/* Begin, find and end a command of a connection; NULL: there is none. No other that is kept has the tag of a new one. */
struct start *start_new(struct counted *counted, uint32_t itt);
struct start *start_find(const struct counted *counted, uint32_t itt);
void start_end(struct counted *counted, struct start *start);

/* It has ended while a transfer is open: keep it until that has. Find such a one, and end it. */
int start_leave(struct counted *counted, struct start *start);
struct start *unsent_find(const struct counted *counted, uint32_t itt);
void unsent_end(struct counted *counted, struct start *start);

void counted_free(struct counted *counted, size_t kept);

#endif
