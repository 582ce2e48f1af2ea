/* Who and what sums are of: connections, their units, and the rows of those. */
#include "trace_sums.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CELLS = 2048 };

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

/* Ask who it is, when that is not known or may have changed. */
struct counted *sums_admit(struct sums *sums, const struct source *source)
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

struct unit *sums_unit(struct sums *sums, struct counted *counted, uint64_t lun)
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

struct cell *sums_add_cell(struct sums *sums, struct counted *counted, uint64_t lun, uint32_t key)
{
    struct unit *unit;
    struct cell *cell;

    if (__atomic_load_n(&sums->cells, __ATOMIC_RELAXED) >= MAX_CELLS)
        return overflow_of(sums, counted);
    unit = sums_unit(sums, counted, lun);
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
/* A connection that a data thread has. */
int sums_open_counted(struct tracer *self, const struct source *source, struct user *user, void **place)
{
    struct sums *sums = (struct sums *)self;
    struct counted *counted = sums_admit(sums, source);

    if (counted == NULL)
        return -1;
    if (!counted->admitted)
        return 0;
    for (size_t i = 0; sums->join != NULL && i < source->lun_count; i++)
        if (sums_unit(sums, counted, source->luns[i]) == NULL) /* its places are Python's to give */
            return -1;
    counted->user = user;
    *place = counted;
    return 1;
}

void sums_close_counted(struct tracer *Py_UNUSED(self), void *place)
{
    ((struct counted *)place)->user = NULL;
}
