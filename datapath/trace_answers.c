/* What sums say to Python of what they have counted, and what Python says to them of commands that get no status. */
#include "trace_sums.h"

#include "words.h"

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

static int read_rows(struct counted *counted, void *with)
{
    return each_cell(counted, add_row, with);
}

static int count_row(struct cell *Py_UNUSED(cell), const struct counted *counted, void *with)
{
    *(uint64_t *)with += counted != NULL;
    return 0;
}

/* Call "each" with a connection while nobody counts in it; 0, or -1 with an exception. */
static int held_counted(struct counted *counted, int (*each)(struct counted *, void *), void *with)
{
    int result;

    user_hold_counts(counted->user);
    result = each(counted, with);
    user_let_counts_go(counted->user);
    return result;
}

/* The same with every connection. */
static int each_counted(const struct sums *sums, int (*each)(struct counted *, void *), void *with)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < sums->connections.size; i++) {
        struct counted *counted = pointer(sums->connections.slots[i].value);
        if (counted != NULL)
            result = held_counted(counted, each, with);
    }
    return result;
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
            sums_drop(sums, counted, start, now);
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

/* read(reset[, ident]): the rows that counted anything, or those of one connection; with "reset" they begin again from 0, with
 * the commands under way. */
static PyObject *sums_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct sums *sums = (struct sums *)self;
    struct rows rows = {NULL, sums->kept_count, false};
    struct counted *counted = NULL;
    int result = 0;

    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "takes 1 or 2 arguments, not %zd", count);
    if (count == 2 && (counted = named(sums, args[1])) == NULL && PyErr_Occurred())
        return NULL;
    rows.reset = PyObject_IsTrue(args[0]) > 0;
    rows.list = PyList_New(0);
    if (rows.list == NULL)
        return NULL;
    if (count == 1)
        result = each_counted(sums, read_rows, &rows);
    else if (counted != NULL)
        result = held_counted(counted, read_rows, &rows);
    if (result < 0)
        Py_CLEAR(rows.list);
    return rows.list;
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
        sums_drop(sums, counted, start, now);
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

/* A pair of a connection and a number. */
static int add_pair(PyObject *list, const struct counted *counted, uint64_t number)
{
    PyObject *pair = Py_BuildValue("(OK)", counted->info, (unsigned long long)number);
    int result = pair == NULL ? -1 : PyList_Append(list, pair);

    Py_XDECREF(pair);
    return result;
}

static int add_under_way(struct counted *counted, void *list)
{
    for (const struct start *start = counted->oldest; start != NULL; start = start->after)
        if (add_pair(list, counted, start->cell->unit->lun) < 0)
            return -1;
    return 0;
}

static int add_held(struct counted *counted, void *list)
{
    return add_pair(list, counted, counted->made * sizeof(struct start) + counted->starts.size * sizeof(struct map_slot));
}

static PyObject *pairs_of(PyObject *self, int (*add)(struct counted *, void *))
{
    PyObject *list = PyList_New(0);

    if (list != NULL && each_counted((struct sums *)self, add, list) < 0)
        Py_CLEAR(list);
    return list;
}

/* under_way(): a list of (info, LUN) of each command that has begun and not ended. */
static PyObject *sums_under_way(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return pairs_of(self, add_under_way);
}

/* held(): a list of (info, bytes) of the memory that each connection's commands have taken. */
static PyObject *sums_held(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return pairs_of(self, add_held);
}

PyMethodDef sums_methods[] = {
    TRACER_METHODS,
    {"read", (PyCFunction)(void (*)(void))sums_read, METH_FASTCALL, "The rows that counted anything; True: they begin anew."},
    {"busy", (PyCFunction)(void (*)(void))sums_busy, METH_FASTCALL,
     "Nanoseconds in which something was under way, of so many places."},
    {"close", sums_close, METH_O, "Give the rows of a connection that is no more, and forget them."},
    {"forget", (PyCFunction)(void (*)(void))sums_forget, METH_FASTCALL, "A command gets no status."},
    {"forget_all", (PyCFunction)(void (*)(void))sums_forget_all, METH_FASTCALL, "No command to a LUN gets a status."},
    {"under_way", sums_under_way, METH_NOARGS, "The commands that have begun and not ended."},
    {"held", sums_held, METH_NOARGS, "The memory that each connection's commands have taken."},
    {NULL, NULL, 0, NULL},
};
