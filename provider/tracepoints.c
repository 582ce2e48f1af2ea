#include "tracepoints.h"

#include <string.h>

#include "table.h"

#define ASK_AGAIN 64
#define INSTRUCTIONS 16 /* bytes: at least the code of a probe */

enum convention tracepoints_convention;
static uint64_t points[PROBE_COUNT][2];
static int (*libusdt_is_enabled)(void *probe);
static void (*libusdt_fire)(void *probe, size_t count, void **arguments);
static uint32_t last_mask;
static unsigned calls;

void tracepoints_set(enum convention new, const uint64_t (*pairs)[2], uint64_t is_enabled, uint64_t fire)
{
    tracepoints_convention = new;
    last_mask = 0;
    if (new == CONVENTION_NONE)
        return;
    memcpy(points, pairs, sizeof points);
    libusdt_is_enabled = (int (*)(void *))(uintptr_t)is_enabled;
    libusdt_fire = (void (*)(void *, size_t, void **))(uintptr_t)fire;
#if defined(__aarch64__) && !defined(__linux__) /* there the code comes from a file, and the kernel sees to this */
    for (int i = 0; i < PROBE_COUNT; i++) /* what this process wrote may not be what it would execute */
        __builtin___clear_cache((char *)(uintptr_t)points[i][0], (char *)(uintptr_t)points[i][1] + INSTRUCTIONS);
#endif
}

static inline int ask(enum convention how, int probe)
{
    int enabled = 0;

    if (how == CONVENTION_LIBUSDT)
        return libusdt_is_enabled(points[probe]) != 0;
    if (how == CONVENTION_LINUX)
        ((int (*)(int *))(uintptr_t)points[probe][0])(&enabled);
    return enabled != 0;
}

int tracepoints_enabled(int probe)
{
    return ask(tracepoints_convention, probe);
}

/* Which of the probes that are not known to be enabled are. The compiler makes a loop for each convention. */
static inline uint32_t ask_all(enum convention how, uint32_t known)
{
    uint32_t mask = known;

    for (int i = 0; i < PROBE_COUNT; i++)
        if (!(known >> i & 1))
            mask |= (uint32_t)ask(how, i) << i;
    return mask;
}

uint32_t tracepoints_mask(void)
{
    uint32_t known = ++calls % ASK_AGAIN ? last_mask : 0;

    last_mask = tracepoints_convention == CONVENTION_LINUX ? ask_all(CONVENTION_LINUX, known)
                                                           : ask_all(CONVENTION_LIBUSDT, known);
    return last_mask;
}

void tracepoints_fire(int probe, const struct event *event)
{
    void *arguments[2] = {(void *)&event->proto, event->third};

    if (tracepoints_convention == CONVENTION_LIBUSDT)
        libusdt_fire(points[probe], event->third != NULL ? 2 : 1, arguments);
    else if (tracepoints_convention == CONVENTION_LINUX)
        ((void (*)(void *, void *))(uintptr_t)points[probe][1])(arguments[0], arguments[1]);
}
