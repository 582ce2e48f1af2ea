/*
 * Sums of commands: the steps of CommandSums in iscsitools/trace/sums/aggregate.py, and the same rows.
 *
 * Which commands have a service action, and where their ranges stand, and which histograms are kept, are tables that Python
 * hands over. What is rare is Python's: whether a connection is wanted ("admit"), and what task management functions
 * end ("task").
 *
 * All is counted by connection, so a connection takes its sums along: a data thread that serves it counts in them
 * (open), and whoever reads holds what that thread counts meanwhile. Reading adds nothing up but what found no row.
 *
 * trace_rows.c finds the row, trace_kept.c keeps the histograms, trace_count.c takes the events, trace_answers.c says
 * what has been counted, and trace_sums.c is the object.
 */
#ifndef TRACE_SUMS_H
#define TRACE_SUMS_H

#include "trace_cells.h"

enum { OPERATIONS = 256, VARIABLE_LENGTH = 0x7f, MAX_STARTS = 8192 };

/* Of an operation code: whether it has a service action, and where LBA and number of blocks stand; lengths of 0: nowhere. */
struct operation {
    uint8_t has_action, lba_at, lba_length, blocks_at, blocks_length;
};

struct sums {
    struct tracer base;
    PyObject *admit, *task;
    PyObject *join; /* NULL: how long something is under way is not kept */
    struct busy_table busy;
    struct operation operations[OPERATIONS], variable_length;
    struct kept kept[MOST_KEPT];
    size_t kept_count;
    struct map connections; /* by number */
    struct counted *last;
    struct unit overflow_unit;
    uint64_t cells; /* all threads add to it */
};

/* -- rows: trace_rows.c. NULL with an exception, or without memory. */

struct counted *sums_admit(struct sums *sums, const struct source *source);
struct unit *sums_unit(struct sums *sums, struct counted *counted, uint64_t lun);
struct cell *sums_add_cell(struct sums *sums, struct counted *counted, uint64_t lun, uint32_t key);

/* The places of connections that data threads have: struct tracer's "open" and "close". */
int sums_open_counted(struct tracer *self, const struct source *source, struct user *user, void **place);
void sums_close_counted(struct tracer *self, void *place);

/* Of whom an event is told by the loop's thread. */
static inline struct counted *sums_counted(struct sums *sums, const struct source *source)
{
    struct counted *counted = sums->last;

    if (counted != NULL && counted->info == source->info && counted->generation == source->generation)
        return counted;
    return sums_admit(sums, source);
}

/* The row of a command. */
static inline struct cell *sums_cell(struct sums *sums, struct counted *counted, uint64_t lun, uint32_t key)
{
    const struct unit *unit = pointer(map_get(&counted->units, lun));
    struct cell *cell = unit == NULL ? NULL : pointer(map_get(&unit->cells, key));

    return cell != NULL ? cell : sums_add_cell(sums, counted, lun, key);
}

/* -- histograms: trace_kept.c. 0, or -1 without memory. */

/* What is kept of a command when it comes. */
int sums_keep_arrival(const struct sums *sums, const struct counted *counted, struct cell *cell,
                      const struct event *event);

/* A command that took "total", and its transfers: how its time divides. See iscsitools/trace/sums/phases.py. */
int sums_keep_phases(const struct sums *sums, struct cell *cell, uint64_t total, const struct start *start);

/* -- events: trace_count.c */

/* struct tracer's "take". */
int sums_take(struct tracer *self, struct event *event);

/* A command gets no status, or none that is known. */
void sums_drop(struct sums *sums, struct counted *counted, struct start *start, uint64_t now);

/* -- what Python calls: trace_answers.c */

extern PyMethodDef sums_methods[];

#endif
