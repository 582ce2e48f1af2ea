/* The events that sums count. */
#include "trace_sums.h"

#include "words.h"

enum { FLAG_STATUS = 0x01, CONDITION_MET = 0x04, XFER_READ = 0 };

static uint32_t data_length(const struct event *event)
{
    return be32(event->bhs + 4) & 0xffffff;
}

/* Another command has the tag of one that has ended well: the initiator has all its data, or does not want it. */
static int replace(const struct sums *sums, struct counted *counted, struct start *start, uint64_t now)
{
    start->sending += now - start->opened;
    if (sums_keep_phases(sums, start->cell, now - start->began, start) < 0)
        return -1;
    unsent_end(counted, start);
    return 0;
}

void sums_drop(struct sums *sums, struct counted *counted, struct start *start, uint64_t now)
{
    if (sums->join != NULL)
        busy_end(&sums->busy, start->cell->unit->places, now);
    start_end(counted, start);
}

static int take_command(struct sums *sums, struct counted *counted, struct event *event)
{
    uint8_t flags = event->bhs[1], opcode = event->cdb_length > 0 ? event->cdb[0] : event->bhs[32];
    bool has_action = event->cdb_length > 0 && sums->operations[opcode].has_action;
    uint16_t action = 0;
    struct cell *cell;
    struct start *start;
    uint64_t now;

    if (has_action && opcode == VARIABLE_LENGTH)
        action = event->cdb_length >= 10 ? be16(event->cdb + 8) : 0;
    else if (has_action && event->cdb_length >= 2)
        action = event->cdb[1] & 0x1f;
    cell = sums_cell(sums, counted, event->lun, cell_key(opcode, has_action, action, flags));
    if (cell == NULL)
        return -1;
    cell->commands++;
    if (flags & FLAG_WRITES && data_length(event) != 0) {
        cell->out_pdus++;
        cell->out_bytes += data_length(event);
    }
    if (sums->kept_count > 0 && sums_keep_arrival(sums, counted, cell, event) < 0)
        return -1;
    if (event_time(event, &now) < 0)
        return -1;
    start = unsent_find(counted, be32(event->bhs + 16));
    if (start != NULL && replace(sums, counted, start, now) < 0)
        return -1;
    if ((start = start_find(counted, be32(event->bhs + 16))) != NULL)
        sums_drop(sums, counted, start, now); /* an initiator that uses a tag twice */
    if ((start = start_new(counted, be32(event->bhs + 16))) == NULL)
        return -1;
    start->began = now;
    start->cell = cell;
    if (sums->join != NULL)
        busy_begin(&sums->busy, cell->unit->places, now);
    if (counted->starts.count > MAX_STARTS)
        sums_drop(sums, counted, counted->oldest, now);
    return 0;
}

/* The row that data belongs to: of its command, if that was seen. */
static struct cell *cell_of_data(struct sums *sums, struct counted *counted, const struct event *event,
                                 const struct start *start)
{
    return start != NULL ? start->cell : sums_cell(sums, counted, event->lun, 0);
}

static int take_end(struct sums *sums, struct counted *counted, struct event *event, struct start *start)
{
    uint32_t outcome = be16(event->bhs + 2); /* response and status */
    bool good = outcome == 0 || outcome == CONDITION_MET;
    struct cell *cell;
    uint64_t now;

    counted->statsn = be32(event->bhs + 24) + 1;
    counted->has_statsn = true;
    if (start == NULL)
        return 0;
    cell = start->cell;
    if ((good || sums->join != NULL) && event_time(event, &now) < 0)
        return -1;
    if (sums->join != NULL)
        busy_end(&sums->busy, cell->unit->places, now);
    if (!good) {
        start_end(counted, start);
        cell->failed++;
        return map_add(&cell->errors, (uint64_t)outcome << 24 | event->sense, 1);
    }
    now = now > start->began ? now - start->began : 0;
    if (start->open > 0 && counted->unsent.count < MAX_STARTS) {
        if (start_leave(counted, start) < 0)
            return -1;
    } else {
        if (sums_keep_phases(sums, cell, now, start) < 0)
            return -1;
        start_end(counted, start);
    }
    cell->ended++;
    cell->latency += now;
    if (now > cell->maximum)
        cell->maximum = now;
    return count_octave(&cell->latencies, (double)now);
}

/* xfer-start and xfer-done: of a command that is under way, or has ended and waits for this. */
static int take_xfer(const struct sums *sums, struct counted *counted, struct event *event)
{
    uint32_t itt = event->xfer.itt;
    struct start *start = start_find(counted, itt);
    bool unsent = start == NULL;
    uint64_t now;

    if (unsent && event->probe == PROBE_XFER_DONE)
        start = unsent_find(counted, itt);
    if (start == NULL || event_time(event, &now) < 0)
        return start == NULL ? 0 : -1;
    if (event->probe == PROBE_XFER_START) {
        if (start->open++ == 0) {
            start->opened = now;
            start->kind = (uint16_t)event->xfer.kind;
        }
        return 0;
    }
    /* Of another kind: where a tag came again too soon, the data of the command before has left. */
    if (start->open == 0 || start->kind != event->xfer.kind || --start->open > 0)
        return 0;
    *(event->xfer.kind == XFER_READ ? &start->sending : &start->waiting) += now - start->opened;
    if (!unsent)
        return 0;
    if (sums_keep_phases(sums, start->cell, now - start->began, start) < 0)
        return -1;
    unsent_end(counted, start);
    return 0;
}

static int take_data_in(struct sums *sums, struct counted *counted, struct event *event)
{
    struct start *start = start_find(counted, be32(event->bhs + 16));
    struct cell *cell = cell_of_data(sums, counted, event, start);

    if (cell == NULL)
        return -1;
    cell->in_pdus++;
    cell->in_bytes += data_length(event);
    return event->bhs[1] & FLAG_STATUS ? take_end(sums, counted, event, start) : 0;
}

static int take_data_out(struct sums *sums, struct counted *counted, const struct event *event)
{
    struct cell *cell = cell_of_data(sums, counted, event, start_find(counted, be32(event->bhs + 16)));

    if (cell == NULL)
        return -1;
    cell->out_pdus++;
    cell->out_bytes += data_length(event);
    return 0;
}

static int take_task(const struct sums *sums, const struct event *event)
{
    PyObject *result = PyObject_CallFunction(sums->task, "iOKy#", event->probe, event->source->info,
                                             (unsigned long long)event->lun, event->bhs, (Py_ssize_t)BHS_LENGTH);

    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int sums_take(struct tracer *self, struct event *event)
{
    struct sums *sums = (struct sums *)self;
    struct counted *counted = event->place != NULL ? event->place : sums_counted(sums, event->source);

    if (counted == NULL)
        return -1;
    if (!counted->admitted)
        return 0;
    switch (event->probe) {
    case PROBE_SCSI_COMMAND:
        return take_command(sums, counted, event);
    case PROBE_DATA_SEND:
        return take_data_in(sums, counted, event);
    case PROBE_SCSI_RESPONSE:
        return take_end(sums, counted, event, start_find(counted, be32(event->bhs + 16)));
    case PROBE_DATA_RECEIVE:
        return take_data_out(sums, counted, event);
    case PROBE_TASK_COMMAND:
    case PROBE_TASK_RESPONSE:
        return take_task(sums, event);
    case PROBE_XFER_START:
    case PROBE_XFER_DONE:
        return take_xfer(sums, counted, event);
    default:
        return 0;
    }
}
