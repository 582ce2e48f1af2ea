/* Tracepoints that a DTrace framework was told of by DOF: called by address, set when the provider is registered. */
#ifndef TRACEPOINTS_H
#define TRACEPOINTS_H

#include <stdint.h>

#include "event.h"

/* How a tracepoint says that its probe is enabled, and takes its arguments. */
enum convention {
    CONVENTION_NONE,   /* nothing is registered */
    CONVENTION_LIBUSDT,/* through libusdt's usdt_is_enabled and usdt_fire_probe, on its usdt_probe_t */
    CONVENTION_LINUX,  /* int is_enabled(int *enabled), void probe(first, second) */
};

/* What tracepoints_set was told last. */
extern enum convention tracepoints_convention;

/*
 * libusdt: first and second of each pair are the two members of its usdt_probe_t; is_enabled and fire are its functions.
 * Linux: the pair is the is-enabled function and the probe; the last two are not looked at.
 */
void tracepoints_set(enum convention convention, const uint64_t (*pairs)[2], uint64_t is_enabled, uint64_t fire);

/* Whether DTrace has enabled a probe now. */
int tracepoints_enabled(int probe);

/*
 * Bit N: probe N is enabled. To be asked only while something is registered. Asking for a probe that is enabled costs a
 * trap on every system, so those that were enabled at the last call are only asked again every 64th time.
 */
uint32_t tracepoints_mask(void);

/* Fire a probe; harmless when it is not enabled. */
void tracepoints_fire(int probe, const struct event *event);

#endif
