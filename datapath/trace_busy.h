/* How long at least one command was under way, by places that Python names: see iscsitools/trace/sums/busy.py. */
#ifndef TRACE_BUSY_H
#define TRACE_BUSY_H

#include "python.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLACES_OF_UNIT = 2, MOST_BUSY_PLACES = 1 << 16 };

struct busy {
    uint64_t total, since, open;
};

/* Place 0 is of those commands for which there is none. All threads count in one table, as their commands overlap. */
struct busy_table {
    pthread_mutex_t lock;
    struct busy *places;
    size_t count;
};

/* Make an empty one, of zeros. */
void busy_start(struct busy_table *table);

/* Ask "join" for the places of a connection's commands to a LUN; 0, or -1 with an exception. */
int busy_join(struct busy_table *table, PyObject *join, PyObject *info, uint64_t lun, uint32_t places[PLACES_OF_UNIT]);

/*
 * A list of the times until now of so many places; NULL with an exception. With "reset" all begin again from 0, with what
 * is under way.
 */
PyObject *busy_read(struct busy_table *table, size_t count, uint64_t now, bool reset);
void busy_clear(struct busy_table *table);

/* A command has begun, or has ended. */
static inline void busy_begin(struct busy_table *table, const uint32_t places[PLACES_OF_UNIT], uint64_t now)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; table->count > 0 && i < PLACES_OF_UNIT; i++) {
        struct busy *busy = &table->places[places[i]];
        if (busy->open++ == 0)
            busy->since = now;
    }
    pthread_mutex_unlock(&table->lock);
}

static inline void busy_end(struct busy_table *table, const uint32_t places[PLACES_OF_UNIT], uint64_t now)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; table->count > 0 && i < PLACES_OF_UNIT; i++) {
        struct busy *busy = &table->places[places[i]];
        if (--busy->open == 0 && now > busy->since)
            busy->total += now - busy->since;
    }
    pthread_mutex_unlock(&table->lock);
}

#endif
