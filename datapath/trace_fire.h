/* The probes' call sites of the data path, where all that look are tracers in C: no object of Python per event. */
#ifndef TRACE_FIRE_H
#define TRACE_FIRE_H

#include "fire.h"

/* The events of fire.h, one by one. A time of 0: now. */
void trace_command(const struct watch *watch, const struct served *served, uint64_t now);
void trace_answer(const struct watch *watch, const struct served *served, int probe);
void trace_xfer(const struct watch *watch, const struct served *served, int probe, uint32_t kind, uint64_t now);

/* The four of a write that was received in place, whose first three happened at "times". */
void trace_write(const struct watch *watch, const struct served *served, const uint64_t *times);

/* The time now, by the tracers' clock; 0, or -1 with an exception. */
int trace_now(const struct watch *watch, uint64_t *now);

#endif
