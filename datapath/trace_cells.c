#include "trace_cells.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PLACES = 128, FIRST_16_BITS = 48 };

struct cell *cell_new(struct unit *unit, uint32_t key, size_t kept)
{
    struct cell *cell = calloc(1, sizeof *cell + kept * sizeof cell->kept[0]);

    if (cell == NULL)
        return NULL;
    cell->unit = unit;
    cell->key = key;
    return cell;
}

void cell_reset(struct cell *cell, size_t kept)
{
    cell->commands = cell->ended = cell->latency = cell->maximum = cell->failed = 0;
    cell->in_pdus = cell->in_bytes = cell->out_pdus = cell->out_bytes = 0;
    map_clear(&cell->latencies);
    map_clear(&cell->errors);
    for (size_t i = 0; i < kept; i++)
        map_clear(&cell->kept[i].counts); /* the shift stays: one interval's buckets are those of the next */
}

void cell_free(struct cell *cell, size_t kept)
{
    cell_reset(cell, kept);
    free(cell);
}

bool cell_used(const struct cell *cell, size_t kept)
{
    bool used = cell->commands || cell->ended || cell->failed || cell->in_pdus || cell->out_pdus;

    for (size_t i = 0; !used && i < kept; i++)
        used = cell->kept[i].counts.count > 0; /* a command that ended before has gone through its last phase */
    return used;
}

int count_octave(struct map *counts, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return map_add(counts, bits >> FIRST_16_BITS, 1);
}

/* Make the buckets so many times twice as wide. */
static int widen(struct histogram *histogram, unsigned doublings)
{
    struct map wide = {NULL, 0, 0};
    const struct map *counts = &histogram->counts;

    for (size_t i = 0; i < counts->size; i++)
        if (counts->slots[i].value != 0 && map_add(&wide, counts->slots[i].key >> doublings, counts->slots[i].value) < 0) {
            map_clear(&wide);
            return -1;
        }
    map_clear(&histogram->counts);
    histogram->counts = wide;
    histogram->shift += doublings;
    return 0;
}

int count_width(struct histogram *histogram, uint64_t value)
{
    unsigned doublings = 0;

    while (value >> histogram->shift >> doublings >= MOST_PLACES)
        doublings++;
    if (doublings > 0 && widen(histogram, doublings) < 0)
        return -1;
    return map_add(&histogram->counts, value >> histogram->shift, 1);
}

/* -- for Python */

static PyObject *histograms_of(const struct cell *cell, size_t kept)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)kept);

    for (size_t i = 0; tuple != NULL && i < kept; i++) {
        PyObject *counts = map_to_dict(&cell->kept[i].counts);
        PyObject *pair = counts == NULL ? NULL : Py_BuildValue("(IN)", cell->kept[i].shift, counts);
        if (pair == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)i, pair) < 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *number_or_none(bool there, uint32_t number)
{
    if (there)
        return PyLong_FromUnsignedLong(number);
    Py_RETURN_NONE;
}

PyObject *cell_to_tuple(const struct cell *cell, PyObject *info, size_t kept)
{
    PyObject *parts[] = {
        number_or_none(cell->key & KEY_KNOWN, cell->key & 0xff),
        number_or_none(cell->key & KEY_ACTION, cell->key >> 8 & 0xffff),
        map_to_dict(&cell->latencies),
        map_to_dict(&cell->errors),
        histograms_of(cell, kept),
    };
    PyObject *tuple = NULL;

    if (parts[0] != NULL && parts[1] != NULL && parts[2] != NULL && parts[3] != NULL && parts[4] != NULL)
        tuple = Py_BuildValue("(OKOOiiKKKKKKKKKOOO)", info, (unsigned long long)cell->unit->lun, parts[0], parts[1],
                              (cell->key & KEY_READS) != 0, (cell->key & KEY_WRITES) != 0,
                              (unsigned long long)cell->commands, (unsigned long long)cell->ended,
                              (unsigned long long)cell->latency, (unsigned long long)cell->maximum,
                              (unsigned long long)cell->failed, (unsigned long long)cell->in_pdus,
                              (unsigned long long)cell->in_bytes, (unsigned long long)cell->out_pdus,
                              (unsigned long long)cell->out_bytes, parts[2], parts[3], parts[4]);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        Py_XDECREF(parts[i]);
    return tuple;
}

/* -- commands under way */

struct start *start_find(const struct counted *counted, uint32_t itt)
{
    return pointer(map_get(&counted->starts, itt));
}

static void unlink_start(struct counted *counted, struct start *start)
{
    *(start->before != NULL ? &start->before->after : &counted->oldest) = start->after;
    *(start->after != NULL ? &start->after->before : &counted->newest) = start->before;
}

static void link_last(struct counted *counted, struct start *start)
{
    start->before = counted->newest;
    start->after = NULL;
    *(counted->newest != NULL ? &counted->newest->after : &counted->oldest) = start;
    counted->newest = start;
}

static void spare(struct counted *counted, struct start *start)
{
    start->after = counted->spare;
    counted->spare = start;
}

void start_end(struct counted *counted, struct start *start)
{
    map_take(&counted->starts, start->itt);
    unlink_start(counted, start);
    spare(counted, start);
}

int start_leave(struct counted *counted, struct start *start)
{
    if (map_put(&counted->unsent, start->itt, (uintptr_t)start) < 0)
        return -1;
    map_take(&counted->starts, start->itt);
    unlink_start(counted, start);
    return 0;
}

struct start *unsent_find(const struct counted *counted, uint32_t itt)
{
    return pointer(map_get(&counted->unsent, itt));
}

void unsent_end(struct counted *counted, struct start *start)
{
    map_take(&counted->unsent, start->itt);
    spare(counted, start);
}

struct start *start_new(struct counted *counted, uint32_t itt)
{
    struct start *start = counted->spare;

    if (start != NULL) {
        counted->spare = start->after;
    } else if ((start = malloc(sizeof *start)) == NULL) {
        return NULL;
    } else {
        counted->made++;
    }
    *start = (struct start){.itt = itt};
    if (map_put(&counted->starts, itt, (uintptr_t)start) < 0) {
        free(start);
        counted->made--;
        return NULL;
    }
    link_last(counted, start);
    return start;
}

static void free_starts(struct start *start)
{
    while (start != NULL) {
        struct start *next = start->after;
        free(start);
        start = next;
    }
}

static void free_unit(struct unit *unit, size_t kept)
{
    for (size_t i = 0; i < unit->cells.size; i++)
        if (unit->cells.slots[i].value != 0)
            cell_free(pointer(unit->cells.slots[i].value), kept);
    map_clear(&unit->cells);
    free(unit);
}

void counted_free(struct counted *counted, size_t kept)
{
    for (size_t i = 0; i < counted->units.size; i++)
        if (counted->units.slots[i].value != 0)
            free_unit(pointer(counted->units.slots[i].value), kept);
    map_clear(&counted->units);
    if (counted->overflow != NULL)
        cell_free(counted->overflow, kept);
    map_clear(&counted->starts);
    for (size_t i = 0; i < counted->unsent.size; i++)
        free(pointer(counted->unsent.slots[i].value));
    map_clear(&counted->unsent);
    free_starts(counted->oldest);
    free_starts(counted->spare);
    Py_XDECREF(counted->info);
    free(counted);
}
