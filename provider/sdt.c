/*
 * An SDT probe is a nop, and a note that tells tracers where it is, where its arguments are at that moment, and where
 * its semaphore is: a counter in writable memory which the kernel raises while a tracer is attached. The format is that
 * of SystemTap's notes, version 3 (section .note.stapsdt, name "stapsdt", type 3), which bpftrace and perf read too.
 */
#include "sdt.h"
#include "table.h"

#if HAVE_SDT

/* Tools look for semaphores in .probes. Hidden, so that the notes' references need no relocation at load. */
__attribute__((section(".probes"), visibility("hidden"), used)) volatile union {
    unsigned short counts[PROBE_COUNT];
    uint64_t words[(PROBE_COUNT + 3) / 4];
} sdt_semaphores;

#define ARGUMENTS 9

/* Each argument is 8 unsigned bytes in memory, at a constant distance from one register. */
#if defined(__x86_64__)
#define FIRST_REGISTER "rdi"
#define OPERANDS "8@(%%rdi) 8@8(%%rdi) 8@16(%%rdi) 8@24(%%rdi) 8@32(%%rdi) 8@40(%%rdi) 8@48(%%rdi) 8@56(%%rdi) 8@64(%%rdi)"
#else
#define FIRST_REGISTER "x0"
#define OPERANDS "8@[x0] 8@[x0, 8] 8@[x0, 16] 8@[x0, 24] 8@[x0, 32] 8@[x0, 40] 8@[x0, 48] 8@[x0, 56] 8@[x0, 64]"
#endif

/* _.stapsdt.base is how a tool notices that the file was prelinked: one byte at a known address, merged by the linker. */
#define NOTE(number, name)                                        \
    "777: nop\n"                                                  \
    ".pushsection .note.stapsdt, \"\", %%note\n"                  \
    ".balign 4\n"                                                 \
    ".4byte 772f - 771f, 774f - 773f, 3\n"                        \
    "771: .asciz \"stapsdt\"\n"                                   \
    "772: .balign 4\n"                                            \
    "773: .8byte 777b, _.stapsdt.base, sdt_semaphores + 2 * " number "\n" \
    ".asciz \"iscsi\"\n"                                          \
    ".asciz \"" name "\"\n"                                       \
    ".asciz \"" OPERANDS "\"\n"                                   \
    "774: .balign 4\n"                                            \
    ".popsection\n"                                               \
    ".ifndef _.stapsdt.base\n"                                    \
    ".pushsection .stapsdt.base, \"aG\", %%progbits, .stapsdt.base, comdat\n" \
    ".weak _.stapsdt.base\n"                                      \
    ".hidden _.stapsdt.base\n"                                    \
    "_.stapsdt.base: .space 1\n"                                  \
    ".size _.stapsdt.base, 1\n"                                   \
    ".popsection\n"                                               \
    ".endif\n"

#define FIRE(number, name)                                                         \
    case number:                                                                   \
        __asm__ volatile(NOTE(#number, #name) : : "r"(first) : "memory");          \
        break;

/* Never inlined or cloned (a thing of gcc's alone): each probe then has one place, and one note. */
#if defined(__clang__)
#define ONE_PLACE __attribute__((noinline))
#else
#define ONE_PLACE __attribute__((noinline, noclone))
#endif

ONE_PLACE void sdt_fire(int probe, const struct event *event)
{
    const uint64_t arguments[ARGUMENTS] = {
        (uintptr_t)&event->proto,
        (uintptr_t)event->third,
        event->proto.uip_remote,
        event->proto.uip_target,
        event->proto.uip_lun,
        event->proto.uip_itt,
        event->proto.uip_datalen,
        event->proto.uip_flags,
        event->cdb_start,
    };
    register const uint64_t *first __asm__(FIRST_REGISTER) = arguments;

    switch (probe) {
        FOR_EACH_PROBE(FIRE)
    }
}

uint32_t sdt_mask(void)
{
    uint64_t any = 0;
    uint32_t mask = 0;

    for (size_t i = 0; i < sizeof sdt_semaphores.words / sizeof sdt_semaphores.words[0]; i++)
        any |= sdt_semaphores.words[i];
    if (any == 0) /* nobody attached: the case that has to be quick */
        return 0;
    for (int i = 0; i < PROBE_COUNT; i++)
        mask |= (uint32_t)(sdt_semaphores.counts[i] != 0) << i;
    return mask;
}

unsigned sdt_count(int probe)
{
    return sdt_semaphores.counts[probe];
}

#endif
