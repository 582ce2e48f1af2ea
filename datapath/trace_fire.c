#include "trace_fire.h"

enum { CDB = 32, XFER_WRITE = 1 };

static struct event event_of(const struct watch *watch, const struct served *served, int probe, uint64_t now)
{
    return (struct event){
        .source = &watch->source, .clock = watch->tracers->clock, .now = now, .lun = served->lun, .probe = probe};
}

/* By its group (SPC-4 4.2.5.1): the forms that are served here. */
static size_t cdb_length(uint8_t opcode)
{
    static const uint8_t lengths[8] = {6, 10, 10, 0, 16, 12, 0, 0};

    return lengths[opcode >> 5];
}

void trace_command(const struct watch *watch, const struct served *served, uint64_t now)
{
    struct event event = event_of(watch, served, PROBE_SCSI_COMMAND, now);

    event.bhs = served->header;
    event.cdb = event.bhs + CDB;
    event.cdb_length = cdb_length(event.cdb[0]);
    tracers_fire(watch->tracers, &event);
}

void trace_answer(const struct watch *watch, const struct served *served, int probe)
{
    struct event event = event_of(watch, served, probe, 0);

    event.bhs = served->answer;
    tracers_fire(watch->tracers, &event);
}

void trace_xfer(const struct watch *watch, const struct served *served, int probe, uint32_t kind, uint64_t now)
{
    struct event event = event_of(watch, served, probe, now);

    event.xfer = (struct xfer){served->command->itt, RESERVED_TAG, served->address, 0, served->command->edtl, kind};
    tracers_fire(watch->tracers, &event);
}

void trace_write(const struct watch *watch, const struct served *served, const uint64_t *times)
{
    trace_command(watch, served, times[0]);
    trace_xfer(watch, served, PROBE_XFER_START, XFER_WRITE, times[1]);
    trace_xfer(watch, served, PROBE_XFER_DONE, XFER_WRITE, times[2]);
    trace_answer(watch, served, PROBE_SCSI_RESPONSE);
}

int trace_now(const struct watch *watch, uint64_t *now)
{
    struct event event = {.source = &watch->source, .clock = watch->tracers->clock};

    return event_time(&event, now);
}
