/*
 * libusdt's tracepoints for arm64. libusdt has them for x86 only; this file takes the place of its usdt_probe.c and
 * usdt_tracepoints_x86_64.s.
 *
 * The two functions below are never called where they stand: they are copied for each probe. A DTrace puts its trap on
 * the first instruction of either. macOS then makes x0 1 and goes on behind the mov, and knows a nop, which it need not
 * emulate; the arguments of a probe are in x0 to x7 (xnu, bsd/dev/arm64/fasttrap_isa.c).
 */
#include "usdt_internal.h"

#define TEXT_OF(macro) #macro
#define TEXT(macro) TEXT_OF(macro)
#define LABEL(name) ".globl " TEXT(__USER_LABEL_PREFIX__) name "\n" TEXT(__USER_LABEL_PREFIX__) name ":\n"

#define REGISTERS 8

__asm__(".text\n"
        ".balign 4\n"
        LABEL("usdt_tracepoint_isenabled")
        "mov x0, #0\n"
        "ret\n"
        LABEL("usdt_tracepoint_probe")
        "nop\n"
        "ret\n"
        LABEL("usdt_tracepoint_end"));

/* macOS counts from the DOF, the others from the probe's address: the is-enabled function's. */
uint32_t usdt_probe_offset(usdt_probe_t *probe, char *dof, uint8_t count)
{
    (void)count;
#ifdef __APPLE__
    return (uint32_t)((uintptr_t)probe->probe_addr - (uintptr_t)dof);
#else
    (void)dof;
    return (uint32_t)((uintptr_t)probe->probe_addr - (uintptr_t)probe->isenabled_addr);
#endif
}

uint32_t usdt_is_enabled_offset(usdt_probe_t *probe, char *dof)
{
#ifdef __APPLE__
    return (uint32_t)((uintptr_t)probe->isenabled_addr - (uintptr_t)dof);
#else
    (void)probe;
    (void)dof;
    return 0;
#endif
}

/* Memory is the caller's affair: it has one mapping for all tracepoints and the DOF. */
int usdt_create_tracepoints(usdt_probe_t *probe)
{
    (void)probe;
    errno = ENOTSUP;
    return -1;
}

void usdt_free_tracepoints(usdt_probe_t *probe)
{
    (void)probe;
}

void usdt_probe_args(void *probe, int count, void **arguments)
{
    void (*fire)(void *, void *, void *, void *, void *, void *, void *, void *);
    void *a[REGISTERS] = {NULL};

    for (int i = 0; i < count && i < REGISTERS; i++)
        a[i] = arguments[i];
    *(void **)&fire = probe;
    fire(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}
