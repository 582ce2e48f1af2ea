/* The probes as SDT notes of this object file, for bpftrace, perf and SystemTap on Linux. */
#ifndef SDT_H
#define SDT_H

#include <stdint.h>

#include "event.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#define HAVE_SDT 1
#else
#define HAVE_SDT 0
#endif

#if HAVE_SDT
/* Bit N: a tracer is attached to probe N. The kernel counts them in the semaphores. */
uint32_t sdt_mask(void);

/* How many tracers are attached to a probe. */
unsigned sdt_count(int probe);

/* Fire a probe. The arguments, in this order, are frozen: see uiscsi.h and the provider's documentation. */
void sdt_fire(int probe, const struct event *event);
#endif

#endif
