/*
 * The native part on arm64, without Python: its tracepoints and SDT notes, with the traps that a kernel would place.
 *
 *     arm64 libusdt               libusdt's convention, as on macOS: a trap on the is-enabled function makes x0 1
 *     arm64 linux                 DTrace for Linux: it writes 1 where x0 points to
 *     arm64 sdt ADDRESS SEMAPHORE of each probe in turn, in hexadecimal, as the notes of this file have them
 *
 * prints for each probe the mask with it alone enabled, and what the trap found when all probes were fired.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "event.h"
#include "sdt.h"
#include "table.h"
#include "tracepoints.h"
#include "usdt_internal.h"

#define STEP 32
#define BREAK 0xd4200000u /* brk #0 */
#define NOP 0xd503201fu
#define RET 0xd65f03c0u

enum kind { IS_ENABLED_RESULT, IS_ENABLED_POINTER, PROBE, SDT };

struct trap {
    uint32_t *place;
    uint32_t former;
    enum kind kind;
};

static struct trap traps[2];
static int fired;
static struct event event;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Write one instruction where the process may not write: the kernel's way is not open to us. This may be in that page. */
static void patch(uint32_t *place, uint32_t instruction)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)place & ~(uintptr_t)(size - 1));

    if (mprotect(page, size, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        die("mprotect");
    *place = instruction;
    if (mprotect(page, size, PROT_READ | PROT_EXEC) < 0)
        die("mprotect");
    __builtin___clear_cache((char *)place, (char *)(place + 1));
}

static void set_trap(struct trap *trap, uint32_t *place, enum kind kind)
{
    *trap = (struct trap){place, *place, kind};
    patch(place, BREAK);
}

static void print_event(const unsigned long long *registers)
{
    const uiscsiproto_t *proto = (const uiscsiproto_t *)(uintptr_t)registers[0];
    uint64_t first = registers[1] == 0 ? 0 : *(const uint64_t *)(uintptr_t)registers[1];

    printf(" %u %u %llu", proto->uip_itt, proto->uip_flags, (unsigned long long)first);
    fired++;
}

static void print_sdt(const unsigned long long *registers)
{
    const uint64_t *arguments = (const uint64_t *)(uintptr_t)registers[0];
    unsigned long long pointers[2] = {arguments[0], arguments[1]};

    print_event(pointers);
    for (int i = 2; i < 9; i++)
        printf(" %#llx", (unsigned long long)arguments[i]);
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    struct trap *trap = (uint32_t *)(uintptr_t)machine->pc == traps[0].place ? &traps[0] : &traps[1];

    (void)signal;
    (void)info;
    if ((uint32_t *)(uintptr_t)machine->pc != trap->place)
        _exit(2);
    switch (trap->kind) {
    case IS_ENABLED_RESULT: /* as macOS: the instruction is a mov of 0, whose result is known */
        machine->regs[0] = 1;
        break;
    case IS_ENABLED_POINTER:
        *(int *)(uintptr_t)machine->regs[0] = 1;
        break;
    case PROBE:
        print_event((const unsigned long long *)machine->regs);
        break;
    case SDT:
        print_sdt((const unsigned long long *)machine->regs);
        break;
    }
    machine->pc += 4; /* what stood there is a nop, or the mov */
}

static void fire_all(void (*fire)(int probe, const struct event *event))
{
    uint8_t bhs[BHS_SIZE], cdb[16] = {0x88, 1, 2, 3, 4, 5, 6, 7, 8};
    const uiscsixfer_t xfer = {.xfer_laddr = 0x1234, .xfer_len = 4096, .xfer_type = 1};

    for (size_t i = 0; i < sizeof bhs; i++)
        bhs[i] = (uint8_t)i;
    for (int probe = 0; probe < PROBE_COUNT; probe++) {
        if (probe < PROBE_COUNT - 2) /* the last two are xfer-start and xfer-done */
            event_from_bhs(&event, probe, 5, bhs, cdb, sizeof cdb);
        else
            event_from_xfer(&event, 5, 77, 78, &xfer);
        event.proto.uip_remote = 0xabc;
        event.proto.uip_target = 0xdef;
        fire(probe, &event);
    }
}

/* The code of all probes in memory that was written first: libusdt's own, or the two functions of DTrace for Linux. */
static uint8_t *place_code(int linux_convention)
{
    static const uint32_t function[] = {NOP, RET, NOP, RET};
    const void *code = linux_convention ? (const void *)function : (const void *)usdt_tracepoint_isenabled;
    const size_t size = PROBE_COUNT * STEP;
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap");
    for (int i = 0; i < PROBE_COUNT; i++)
        memcpy(memory + i * STEP, code, sizeof function);
    if (mprotect(memory, size, PROT_READ | PROT_EXEC) < 0)
        die("mprotect");
    return memory;
}

static void run_tracepoints(int linux_convention)
{
    uint8_t *memory = place_code(linux_convention);
    uint64_t pairs[PROBE_COUNT][2];
    usdt_probe_t point;

    for (int i = 0; i < PROBE_COUNT; i++) {
        pairs[i][0] = (uintptr_t)memory + (uint64_t)(i * STEP);
        pairs[i][1] = pairs[i][0] + (uint64_t)((char *)usdt_tracepoint_probe - (char *)usdt_tracepoint_isenabled);
    }
    tracepoints_set(linux_convention ? CONVENTION_LINUX : CONVENTION_LIBUSDT, (const uint64_t (*)[2])pairs,
                    (uintptr_t)usdt_is_enabled, (uintptr_t)usdt_fire_probe);
    if (tracepoints_mask() != 0)
        exit(3);
    for (int i = 0; i < PROBE_COUNT; i++) {
        uint8_t *start = memory + i * STEP;

        point.isenabled_addr = (int (*)(void))(uintptr_t)pairs[i][0];
        point.probe_addr = (void *)(uintptr_t)pairs[i][1];
        set_trap(&traps[0], (uint32_t *)(void *)(start + usdt_is_enabled_offset(&point, NULL)),
                 linux_convention ? IS_ENABLED_POINTER : IS_ENABLED_RESULT);
        set_trap(&traps[1], (uint32_t *)(void *)(start + usdt_probe_offset(&point, NULL, 2)), PROBE);
        printf("%d %#x", i, tracepoints_mask());
        fire_all(tracepoints_fire);
        printf("\n");
        patch(traps[0].place, traps[0].former);
        patch(traps[1].place, traps[1].former);
        for (int calls = 0; calls < 64; calls++) /* within so many calls it is seen that nobody listens */
            tracepoints_mask();
        if (tracepoints_mask() != 0)
            exit(4);
    }
}

static void run_sdt(char **places)
{
    for (int i = 0; i < PROBE_COUNT; i++) {
        volatile uint16_t *semaphore = (volatile uint16_t *)(uintptr_t)strtoull(places[2 * i + 1], NULL, 16);

        set_trap(&traps[0], (uint32_t *)(uintptr_t)strtoull(places[2 * i], NULL, 16), SDT);
        if (traps[0].former != NOP || sdt_mask() != 0)
            exit(5);
        *semaphore = 1;
        printf("%d %#x", i, sdt_mask());
        fire_all(sdt_fire);
        printf("\n");
        *semaphore = 0;
        patch(traps[0].place, traps[0].former);
    }
}

int main(int count, char **words)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

    if (sigaction(SIGTRAP, &action, NULL) < 0)
        die("sigaction");
    if (count == 2 + 2 * PROBE_COUNT && strcmp(words[1], "sdt") == 0)
        run_sdt(words + 2);
    else if (count == 2)
        run_tracepoints(strcmp(words[1], "linux") == 0);
    else
        return 64;
    return fired == PROBE_COUNT ? 0 : 6;
}
