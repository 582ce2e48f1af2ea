/*
 * The type SumsTracer: the steps of CommandSums in iscsitools/trace/sums/aggregate.py, and the same rows.
 *
 * Which commands have a service action, and where their ranges stand, and which histograms are kept, are tables that Python
 * hands over. What is rare is Python's: whether a connection is wanted ("admit"), and what task management functions
 * end ("task").
 *
 * All is counted by connection, so a connection takes its sums along: a data thread that serves it counts in them
 * (open), and whoever reads holds what that thread counts meanwhile. Reading adds nothing up but what found no row.
 */
#include "trace_cells.h"

#include <stdlib.h>
#include <string.h>

#include "words.h"

enum {
    MAX_CELLS = 2048,
    MAX_STARTS = 8192,
    FLAG_READS = 0x40,
    FLAG_WRITES = 0x20,
    FLAG_STATUS = 0x01,
    CONDITION_MET = 0x04,
    VARIABLE_LENGTH = 0x7f,
    READ_6 = 0x08,
    WRITE_6 = 0x0a,
    OPERATIONS = 256,
    XFER_READ = 0,
};

/* Of an operation code: whether it has a service action, and where LBA and number of blocks stand; lengths of 0: nowhere. */
struct operation {
    uint8_t has_action, lba_at, lba_length, blocks_at, blocks_length;
};

struct sums {
    struct tracer base;
    PyObject *admit, *task;
    PyObject *join; /* NULL: how long something is under way is not kept */
    struct busy_table busy;
    struct operation operations[OPERATIONS], variable_length;
    struct kept kept[MOST_KEPT];
    size_t kept_count;
    struct map connections; /* by number */
    struct counted *last;
    struct unit overflow_unit;
    uint64_t cells; /* all threads add to it */
};

/* -- connections, units, rows */

static void *pointer(uint64_t value)
{
    return (void *)(uintptr_t)value;
}

static struct counted *counted_new(struct sums *sums, const struct source *source)
{
    struct counted *counted = calloc(1, sizeof *counted);

    if (counted == NULL || map_put(&sums->connections, source->ident, (uintptr_t)counted) < 0) {
        free(counted);
        return NULL;
    }
    Py_INCREF(source->info);
    counted->info = source->info;
    counted->ident = source->ident;
    counted->generation = source->generation - 1;
    return counted;
}

/* Of whom an event is told by the loop's thread; NULL with an exception, or without memory. */
static struct counted *counted_of(struct sums *sums, const struct source *source)
{
    struct counted *counted = sums->last;

    if (counted == NULL || counted->info != source->info)
        counted = pointer(map_get(&sums->connections, source->ident));
    if (counted == NULL && (counted = counted_new(sums, source)) == NULL)
        return NULL;
    if (counted->generation != source->generation) {
        PyObject *result = PyObject_CallFunctionObjArgs(sums->admit, source->info, NULL);
        int admitted = result == NULL ? -1 : PyObject_IsTrue(result);
        Py_XDECREF(result);
        if (admitted < 0)
            return NULL;
        counted->generation = source->generation;
        counted->admitted = admitted;
    }
    sums->last = counted;
    return counted;
}

static struct unit *unit_of(struct sums *sums, struct counted *counted, uint64_t lun)
{
    struct unit *unit = pointer(map_get(&counted->units, lun));
    uint32_t places[PLACES_OF_UNIT] = {0, 0};

    if (unit != NULL)
        return unit;
    if (sums->join != NULL && counted->user == NULL
        && busy_join(&sums->busy, sums->join, counted->info, lun, places) < 0)
        return NULL;
    unit = calloc(1, sizeof *unit);
    if (unit == NULL || map_put(&counted->units, lun, (uintptr_t)unit) < 0) {
        free(unit);
        return NULL;
    }
    unit->lun = lun;
    memcpy(unit->places, places, sizeof places);
    return unit;
}

/* Beyond MAX_CELLS rows all other commands of a connection share one. */
static struct cell *overflow_of(struct sums *sums, struct counted *counted)
{
    if (counted->overflow == NULL)
        counted->overflow = cell_new(&sums->overflow_unit, 0, sums->kept_count);
    return counted->overflow;
}

/* The row of a command; NULL without memory. */
static struct cell *cell_of(struct sums *sums, struct counted *counted, uint64_t lun, uint32_t key)
{
    struct unit *unit = pointer(map_get(&counted->units, lun));
    struct cell *cell = unit == NULL ? NULL : pointer(map_get(&unit->cells, key));

    if (cell != NULL)
        return cell;
    if (__atomic_load_n(&sums->cells, __ATOMIC_RELAXED) >= MAX_CELLS)
        return overflow_of(sums, counted);
    unit = unit_of(sums, counted, lun);
    cell = unit == NULL ? NULL : cell_new(unit, key, sums->kept_count);
    if (cell == NULL)
        return NULL;
    if (map_put(&unit->cells, key, (uintptr_t)cell) < 0) {
        cell_free(cell, sums->kept_count);
        return NULL;
    }
    __atomic_add_fetch(&sums->cells, 1, __ATOMIC_RELAXED);
    return cell;
}

/* -- what is kept of a command when it comes */

struct arrival {
    bool moves, ranges, seeks;
    uint64_t size, lba, depth;
    double distance;
};

static uint64_t number_at(const uint8_t *bytes, unsigned length)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < length; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Whether the CDB names one range of blocks, and which; see extent_of in iscsitools/wire/operations.py. */
static bool range_of(const struct sums *sums, const uint8_t *cdb, size_t length, uint64_t *lba, uint64_t *blocks)
{
    const struct operation *operation;

    if ((cdb[0] == READ_6 || cdb[0] == WRITE_6) && length >= 6) {
        *lba = number_at(cdb + 1, 3) & 0x1fffff;
        *blocks = cdb[4] ? cdb[4] : 256;
        return true;
    }
    operation = &sums->operations[cdb[0]];
    if (cdb[0] == VARIABLE_LENGTH && length >= 10 && number_at(cdb + 8, 2) - 0x09 < 6)
        operation = &sums->variable_length;
    if (operation->lba_length == 0 || length < (size_t)operation->blocks_at + operation->blocks_length)
        return false;
    *lba = number_at(cdb + operation->lba_at, operation->lba_length);
    *blocks = number_at(cdb + operation->blocks_at, operation->blocks_length);
    return *blocks != 0;
}

static void seek(struct arrival *arrival, struct unit *unit, uint64_t blocks)
{
    arrival->seeks = unit->has_end;
    arrival->distance = arrival->lba >= unit->end ? (double)(arrival->lba - unit->end) : -(double)(unit->end - arrival->lba);
    unit->has_end = true;
    unit->end = arrival->lba + blocks;
}

static struct arrival arrival_of(const struct sums *sums, const struct counted *counted, struct unit *unit,
                                 const struct event *event)
{
    struct arrival arrival = {.moves = event->bhs[1] & (FLAG_READS | FLAG_WRITES)};
    uint32_t unseen = counted->has_statsn ? counted->statsn - be32(event->bhs + 28) : 0;
    uint64_t blocks;

    /* What an initiator acknowledges before it was sent, or never, is no depth. */
    arrival.depth = counted->starts.count + (unseen < MAX_STARTS ? unseen : 0) + 1;
    if (!arrival.moves)
        return arrival;
    arrival.size = be32(event->bhs + 20);
    arrival.ranges = event->cdb_length > 0 && range_of(sums, event->cdb, event->cdb_length, &arrival.lba, &blocks);
    if (arrival.ranges)
        seek(&arrival, unit, blocks);
    return arrival;
}

static int count(struct histogram *histogram, enum scale scale, double value, uint64_t whole)
{
    return scale == SCALE_WIDTHS ? count_width(histogram, whole) : count_octave(&histogram->counts, value);
}

static int keep(const struct sums *sums, struct cell *cell, const struct arrival *arrival)
{
    for (size_t i = 0; i < sums->kept_count; i++) {
        struct histogram *histogram = &cell->kept[i];
        enum scale scale = sums->kept[i].scale;
        int result = 0;
        switch (sums->kept[i].value) {
        case VALUE_SIZE:
            result = arrival->moves ? count(histogram, scale, (double)arrival->size, arrival->size) : 0;
            break;
        case VALUE_PLACE:
            result = arrival->ranges ? count(histogram, scale, (double)arrival->lba, arrival->lba) : 0;
            break;
        case VALUE_DISTANCE:
            result = arrival->seeks ? count_octave(&histogram->counts, arrival->distance) : 0;
            break;
        case VALUE_DEPTH:
            result = count(histogram, scale, (double)arrival->depth, arrival->depth);
            break;
        case VALUE_BACKSTORE:
        case VALUE_WAITING:
        case VALUE_SENDING:
        case VALUES:
            break;
        }
        if (result < 0)
            return -1;
    }
    return 0;
}

/* -- events */

static uint32_t data_length(const struct event *event)
{
    return be32(event->bhs + 4) & 0xffffff;
}

/* A command that took "total", and its transfers: how its time divides. See iscsitools/trace/sums/phases.py. */
static int count_phases(const struct sums *sums, struct cell *cell, uint64_t total, const struct start *start)
{
    uint64_t moving = start->sending + start->waiting;

    for (size_t i = 0; i < sums->kept_count; i++) {
        enum value value = sums->kept[i].value;
        uint64_t time = value == VALUE_WAITING ? start->waiting : start->sending;
        if (value == VALUE_BACKSTORE)
            time = total > moving ? total - moving : 0;
        else if (!(value == VALUE_WAITING && cell->key & KEY_WRITES) && !(value == VALUE_SENDING && cell->key & KEY_READS))
            continue;
        if (count(&cell->kept[i], sums->kept[i].scale, (double)time, time) < 0)
            return -1;
    }
    return 0;
}

/* Another command has the tag of one that has ended well: the initiator has all its data, or does not want it. */
static int replace(const struct sums *sums, struct counted *counted, struct start *start, uint64_t now)
{
    start->sending += now - start->opened;
    if (count_phases(sums, start->cell, now - start->began, start) < 0)
        return -1;
    unsent_end(counted, start);
    return 0;
}

/* A command gets no status, or none that is known. */
static void forget(struct sums *sums, struct counted *counted, struct start *start, uint64_t now)
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
    cell = cell_of(sums, counted, event->lun, cell_key(opcode, has_action, action, flags));
    if (cell == NULL)
        return -1;
    cell->commands++;
    if (flags & FLAG_WRITES && data_length(event) != 0) {
        cell->out_pdus++;
        cell->out_bytes += data_length(event);
    }
    if (sums->kept_count > 0) {
        struct arrival arrival = arrival_of(sums, counted, cell->unit, event);
        if (keep(sums, cell, &arrival) < 0)
            return -1;
    }
    if (event_time(event, &now) < 0)
        return -1;
    start = unsent_find(counted, be32(event->bhs + 16));
    if (start != NULL && replace(sums, counted, start, now) < 0)
        return -1;
    if ((start = start_find(counted, be32(event->bhs + 16))) != NULL)
        forget(sums, counted, start, now); /* an initiator that uses a tag twice */
    if ((start = start_new(counted, be32(event->bhs + 16))) == NULL)
        return -1;
    start->began = now;
    start->cell = cell;
    if (sums->join != NULL)
        busy_begin(&sums->busy, cell->unit->places, now);
    if (counted->starts.count > MAX_STARTS)
        forget(sums, counted, counted->oldest, now);
    return 0;
}

/* The row that data belongs to: of its command, if that was seen. */
static struct cell *cell_of_data(struct sums *sums, struct counted *counted, const struct event *event,
                                 const struct start *start)
{
    return start != NULL ? start->cell : cell_of(sums, counted, event->lun, 0);
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
        if (count_phases(sums, cell, now, start) < 0)
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
        if (start->open++ == 0)
            start->opened = now;
        return 0;
    }
    if (start->open == 0 || --start->open > 0)
        return 0;
    *(event->xfer.kind == XFER_READ ? &start->sending : &start->waiting) += now - start->opened;
    if (!unsent)
        return 0;
    if (count_phases(sums, start->cell, now - start->began, start) < 0)
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

static int take(struct tracer *self, struct event *event)
{
    struct sums *sums = (struct sums *)self;
    struct counted *counted = event->place != NULL ? event->place : counted_of(sums, event->source);

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

/* -- a connection that a data thread has */

static int open_counted(struct tracer *self, const struct source *source, struct user *user, void **place)
{
    struct sums *sums = (struct sums *)self;
    struct counted *counted = counted_of(sums, source);

    if (counted == NULL)
        return -1;
    if (!counted->admitted)
        return 0;
    for (size_t i = 0; sums->join != NULL && i < source->lun_count; i++)
        if (unit_of(sums, counted, source->luns[i]) == NULL) /* its places are Python's to give */
            return -1;
    counted->user = user;
    *place = counted;
    return 1;
}

static void close_counted(struct tracer *Py_UNUSED(self), void *place)
{
    ((struct counted *)place)->user = NULL;
}

/* -- methods */

/* Call "each" with every row of a connection, that of nobody with NULL; 0, or -1 with an exception. */
static int each_cell(const struct counted *counted, int (*each)(struct cell *, const struct counted *, void *), void *with)
{
    if (counted->overflow != NULL && each(counted->overflow, NULL, with) < 0)
        return -1;
    for (size_t i = 0; i < counted->units.size; i++) {
        const struct unit *unit = pointer(counted->units.slots[i].value);
        for (size_t k = 0; unit != NULL && k < unit->cells.size; k++)
            if (unit->cells.slots[k].value != 0 && each(pointer(unit->cells.slots[k].value), counted, with) < 0)
                return -1;
    }
    return 0;
}

struct rows {
    PyObject *list;
    size_t kept;
    bool reset;
};

static int add_row(struct cell *cell, const struct counted *counted, void *with)
{
    const struct rows *rows = with;
    PyObject *tuple;
    int result = 0;

    if (!cell_used(cell, rows->kept))
        return 0;
    tuple = cell_to_tuple(cell, counted == NULL ? Py_None : counted->info, rows->kept);
    result = tuple == NULL ? -1 : PyList_Append(rows->list, tuple);
    Py_XDECREF(tuple);
    if (rows->reset && result == 0)
        cell_reset(cell, rows->kept);
    return result;
}

static int count_row(struct cell *Py_UNUSED(cell), const struct counted *counted, void *with)
{
    *(uint64_t *)with += counted != NULL;
    return 0;
}

/* The same with every row of all connections, while nobody counts in them. */
static int each_row(struct sums *sums, int (*each)(struct cell *, const struct counted *, void *), void *with)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < sums->connections.size; i++) {
        struct counted *counted = pointer(sums->connections.slots[i].value);
        if (counted == NULL)
            continue;
        user_hold_counts(counted->user);
        result = each_cell(counted, each, with);
        user_let_counts_go(counted->user);
    }
    return result;
}

/* read(reset): the rows that counted anything; with "reset" they begin again from 0, with the commands under way. */
static PyObject *sums_read(PyObject *self, PyObject *reset)
{
    struct sums *sums = (struct sums *)self;
    struct rows rows = {PyList_New(0), sums->kept_count, PyObject_IsTrue(reset) > 0};

    if (rows.list != NULL && each_row(sums, add_row, &rows) < 0)
        Py_CLEAR(rows.list);
    return rows.list;
}

/* What time it is for that which no event says. */
static int time_now(struct sums *sums, uint64_t *now)
{
    struct event event = {.clock = sums->base.clock};

    return event_time(&event, now);
}

/* busy(places, reset): the nanoseconds in which something was under way, of so many places. */
static PyObject *sums_busy(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct sums *sums = (struct sums *)self;
    uint64_t places, now;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "takes 2 arguments, not %zd", count);
    if (number_of(args[0], MOST_BUSY_PLACES, &places) < 0 || time_now(sums, &now) < 0)
        return NULL;
    return busy_read(&sums->busy, (size_t)places, now, PyObject_IsTrue(args[1]) > 0);
}

/* None of a connection's commands, or of those to one LUN, gets a status. */
static int forget_each(struct sums *sums, struct counted *counted, bool all, uint64_t lun)
{
    struct start *next;
    uint64_t now;

    if (time_now(sums, &now) < 0)
        return -1;
    user_hold_counts(counted->user);
    for (struct start *start = counted->oldest; start != NULL; start = next) {
        next = start->after;
        if (all || start->cell->unit->lun == lun)
            forget(sums, counted, start, now);
    }
    user_let_counts_go(counted->user);
    return 0;
}

static struct counted *named(struct sums *sums, PyObject *ident)
{
    uint64_t number;

    if (number_of(ident, UINT32_MAX, &number) < 0)
        return NULL;
    return pointer(map_get(&sums->connections, number));
}

/* close(ident): the rows of a connection that is no more; they are forgotten here. */
static PyObject *sums_close(PyObject *self, PyObject *ident)
{
    struct sums *sums = (struct sums *)self;
    struct counted *counted = named(sums, ident);
    struct rows rows = {NULL, sums->kept_count, false};
    uint64_t cells = 0;

    if (counted == NULL && PyErr_Occurred())
        return NULL;
    rows.list = PyList_New(0);
    if (counted == NULL || rows.list == NULL)
        return rows.list;
    if (forget_each(sums, counted, true, 0) < 0 || each_cell(counted, add_row, &rows) < 0) {
        Py_CLEAR(rows.list);
        return NULL;
    }
    each_cell(counted, count_row, &cells);
    __atomic_sub_fetch(&sums->cells, cells, __ATOMIC_RELAXED);
    map_take(&sums->connections, counted->ident);
    if (sums->last == counted)
        sums->last = NULL;
    counted_free(counted, sums->kept_count);
    return rows.list;
}

/* forget(ident, itt): a command that gets no status. */
static PyObject *sums_forget(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct sums *sums = (struct sums *)self;
    struct counted *counted;
    struct start *start;
    uint64_t itt, now;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "takes 2 arguments, not %zd", count);
    counted = named(sums, args[0]);
    if (PyErr_Occurred() || number_of(args[1], UINT32_MAX, &itt) < 0 || time_now(sums, &now) < 0)
        return NULL;
    if (counted == NULL)
        Py_RETURN_NONE;
    user_hold_counts(counted->user);
    start = start_find(counted, (uint32_t)itt);
    if (start != NULL)
        forget(sums, counted, start, now);
    user_let_counts_go(counted->user);
    Py_RETURN_NONE;
}

/* forget_all(ident, lun or None): all commands of a connection, or those to one LUN. */
static PyObject *sums_forget_all(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct counted *counted;
    uint64_t lun = 0;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "takes 2 arguments, not %zd", count);
    counted = named((struct sums *)self, args[0]);
    if (PyErr_Occurred() || (args[1] != Py_None && number_of(args[1], UINT64_MAX, &lun) < 0))
        return NULL;
    if (counted != NULL && forget_each((struct sums *)self, counted, args[1] == Py_None, lun) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* under_way(): a list of (info, LUN) of each command that has begun and not ended. */
static PyObject *sums_under_way(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const struct map *connections = &((struct sums *)self)->connections;
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list != NULL && i < connections->size; i++) {
        const struct counted *counted = pointer(connections->slots[i].value);
        if (counted == NULL)
            continue;
        user_hold_counts(counted->user);
        for (struct start *start = counted->oldest; list != NULL && start; start = start->after) {
            PyObject *pair = Py_BuildValue("(OK)", counted->info, (unsigned long long)start->cell->unit->lun);
            if (pair == NULL || PyList_Append(list, pair) < 0)
                Py_CLEAR(list);
            Py_XDECREF(pair);
        }
        user_let_counts_go(counted->user);
    }
    return list;
}

/* held(): a list of (info, bytes) of the memory that each connection's commands have taken. */
static PyObject *sums_held(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const struct map *connections = &((struct sums *)self)->connections;
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list != NULL && i < connections->size; i++) {
        const struct counted *counted = pointer(connections->slots[i].value);
        if (counted == NULL)
            continue;
        user_hold_counts(counted->user);
        size_t bytes = counted->made * sizeof(struct start) + counted->starts.size * sizeof *counted->starts.slots;
        user_let_counts_go(counted->user);
        PyObject *pair = Py_BuildValue("(OK)", counted->info, (unsigned long long)bytes);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

/* -- the object */

static int take_tables(struct sums *sums, const Py_buffer *operations, PyObject *kept)
{
    Py_ssize_t count = PyTuple_Size(kept);

    if (operations->len != (Py_ssize_t)(sizeof sums->operations + sizeof sums->variable_length)) {
        PyErr_SetString(PyExc_ValueError, "a table of all operation codes, and the variable-length CDB's ranges");
        return -1;
    }
    if (count > MOST_KEPT) {
        PyErr_SetString(PyExc_ValueError, "too many histograms");
        return -1;
    }
    memcpy(sums->operations, operations->buf, sizeof sums->operations);
    memcpy(&sums->variable_length, (const uint8_t *)operations->buf + sizeof sums->operations, sizeof sums->variable_length);
    for (Py_ssize_t i = 0; i < count; i++) {
        int value, scale;
        PyObject *pair = PyTuple_GetItem(kept, i);
        if (!PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "what is kept is pairs, of value and scale");
            return -1;
        }
        if (!PyArg_ParseTuple(pair, "ii", &value, &scale))
            return -1;
        if (value < 0 || value >= VALUES || scale < 0 || scale >= SCALES) {
            PyErr_SetString(PyExc_ValueError, "no such value, or no such scale");
            return -1;
        }
        sums->kept[i] = (struct kept){(enum value)value, (enum scale)scale};
    }
    sums->kept_count = (size_t)count;
    return 0;
}

static int fill(struct sums *sums, const Py_buffer *operations, PyObject *kept, PyObject *admit, PyObject *task,
                PyObject *join)
{
    if (take_tables(sums, operations, kept) < 0)
        return -1;
    sums->overflow_unit.lun = UINT64_MAX;
    Py_INCREF(admit);
    Py_INCREF(task);
    sums->admit = admit;
    sums->task = task;
    sums->join = join != Py_None ? Py_NewRef(join) : NULL;
    busy_start(&sums->busy);
    sums->base.take = take;
    sums->base.open = open_counted;
    sums->base.close = close_counted;
    sums->base.always = 1u << PROBE_TASK_COMMAND | 1u << PROBE_TASK_RESPONSE;
    return 0;
}

static PyObject *sums_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"operations", "kept", "admit", "task", "fail", "clock", "lun", "join", NULL};
    PyObject *self, *kept, *admit, *task, *fail, *clock, *lun, *join;
    Py_buffer operations;

    if (!PyArg_ParseTupleAndKeywords(args, named, "y*OOOOOOO:SumsTracer", names, &operations, &kept, &admit, &task,
                                     &fail, &clock, &lun, &join))
        return NULL;
    self = PyTuple_Check(kept) ? PyType_GenericAlloc(type, 0) : PyErr_Format(PyExc_TypeError, "kept is a tuple");
    if (self != NULL
        && (tracer_begin((struct tracer *)self, fail, clock, lun) < 0
            || fill((struct sums *)self, &operations, kept, admit, task, join) < 0))
        Py_CLEAR(self);
    PyBuffer_Release(&operations);
    return self;
}

static int sums_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct sums *sums = (struct sums *)self;

    Py_VISIT(sums->admit);
    Py_VISIT(sums->task);
    Py_VISIT(sums->join);
    for (size_t i = 0; i < sums->connections.size; i++)
        if (sums->connections.slots[i].value != 0)
            Py_VISIT(((struct counted *)pointer(sums->connections.slots[i].value))->info);
    return tracer_visit(&sums->base, visit, arg);
}

static int sums_clear(PyObject *self)
{
    struct sums *sums = (struct sums *)self;
    struct map connections = sums->connections;

    sums->connections = (struct map){NULL, 0, 0};
    sums->last = NULL;
    tracer_end(&sums->base);
    for (size_t i = 0; i < connections.size; i++)
        if (connections.slots[i].value != 0)
            counted_free(pointer(connections.slots[i].value), sums->kept_count);
    map_clear(&connections);
    busy_clear(&sums->busy);
    Py_CLEAR(sums->admit);
    Py_CLEAR(sums->task);
    Py_CLEAR(sums->join);
    return 0;
}

static void sums_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    sums_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    TRACER_METHODS,
    {"read", sums_read, METH_O, "The rows that counted anything; with True they begin again from 0."},
    {"busy", (PyCFunction)(void (*)(void))sums_busy, METH_FASTCALL, "Nanoseconds in which something was under way, of so many places."},
    {"close", sums_close, METH_O, "Give the rows of a connection that is no more, and forget them."},
    {"forget", (PyCFunction)(void (*)(void))sums_forget, METH_FASTCALL, "A command gets no status."},
    {"forget_all", (PyCFunction)(void (*)(void))sums_forget_all, METH_FASTCALL, "No command to a LUN gets a status."},
    {"under_way", sums_under_way, METH_NOARGS, "The commands that have begun and not ended."},
    {"held", sums_held, METH_NOARGS, "The memory that each connection's commands have taken."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Keeps sums: SumsTracer(operations, kept, admit, task, fail, clock, lun, join)."},
    {Py_tp_new, (void *)sums_new},
    {Py_tp_dealloc, (void *)sums_dealloc},
    {Py_tp_traverse, (void *)sums_traverse},
    {Py_tp_clear, (void *)sums_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.SumsTracer",
    .basicsize = sizeof(struct sums),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int trace_sums_init(PyObject *module)
{
    return trace_add_type(module, "SumsTracer", &spec);
}
