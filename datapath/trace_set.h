/* The set of all tracers that are attached: the type Tracers. */
#ifndef TRACE_SET_H
#define TRACE_SET_H

#include "trace.h"

/* All that are attached. */
struct tracers {
    PyObject_HEAD
    PyObject *clock;
    size_t count;
    bool at_once;   /* one of them is so */
    bool looks;     /* one of them wants to know when events may come */
    unsigned depth; /* of those who have begun to fire; the loop's thread may do so twice */
    uint32_t mask;  /* of all */
    struct member {
        uint32_t mask;
        struct tracer *tracer;
    } *members;
};

void tracers_look(struct tracers *set, bool begins);

/* Whether it is such a set. */
bool tracers_check(PyObject *object);

/* Give an event to all that want it. */
static inline void tracers_fire(const struct tracers *set, struct event *event)
{
    void **places = event->source->places;

    for (size_t i = 0; i < set->count; i++) {
        if (!(set->members[i].mask >> event->probe & 1))
            continue;
        event->place = places == NULL ? NULL : places[i];
        if (places == NULL)
            tracer_take(set->members[i].tracer, event);
        else if (event->place != NULL)
            tracer_take_there(set->members[i].tracer, event);
    }
}

/* Around all events of a batch, or of a call. */
static inline void tracers_begin(struct tracers *set)
{
    if (set->depth++ == 0 && set->looks)
        tracers_look(set, true);
}

static inline void tracers_end(struct tracers *set)
{
    if (--set->depth == 0 && set->looks)
        tracers_look(set, false);
}

/* Have the tracers ready for a data thread's events of a connection, and have them done with it. Under the lock. */
void tracers_open(struct tracers *set, struct source *source, struct user *user, void **places);
void tracers_close(struct tracers *set, void **places);

#endif
