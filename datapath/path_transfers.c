/* What the requests' side does with commands that wait for data here: give them memory, look at them, take them over. */
#include "path.h"

#include "words.h"

#include <stdlib.h>

static void set(PyObject **place, PyObject *value)
{
    PyObject *old = *place;

    Py_INCREF(value);
    *place = value;
    Py_XDECREF(old);
}

/* lend_by(reserve, release, take, give): of the connection's memory; before it, no command waits here. */
PyObject *path_lend_by(PyObject *self, PyObject *args)
{
    struct memory *memory = &((struct path *)self)->memory;
    PyObject *reserve, *release, *take, *give;

    if (!PyArg_ParseTuple(args, "OOOO:lend_by", &reserve, &release, &take, &give))
        return NULL;
    set(&memory->release, release);
    set(&memory->take, take);
    set(&memory->give, give);
    set(&memory->reserve, reserve);
    Py_RETURN_NONE;
}

/* place_for(itt, ttt, offset, length): a view of the buffer, or None where the data belongs to nothing here. */
PyObject *path_place_for(PyObject *self, PyObject *args)
{
    struct path *path = (struct path *)self;
    unsigned int itt, ttt;
    unsigned long long offset, length;
    struct transfer *transfer;
    PyObject *view, *part;

    if (path_check_here(path) < 0 || !PyArg_ParseTuple(args, "IIKK:place_for", &itt, &ttt, &offset, &length))
        return NULL;
    transfer = transfers_find(&path->transfers, itt);
    if (transfer == NULL || transfer_sequence(transfer, ttt) == NULL || offset > transfer->wanted
        || length > transfer->wanted - offset || !transfer_open_buffer(transfer, &path->memory, NULL))
        Py_RETURN_NONE;
    view = PyMemoryView_FromObject(transfer->buffer);
    part = view == NULL ? NULL : PySequence_GetSlice(view, (Py_ssize_t)offset, (Py_ssize_t)(offset + length));
    Py_XDECREF(view);
    return part;
}

static PyObject *sequences_of(const struct transfer *transfer)
{
    PyObject *list = PyList_New((Py_ssize_t)transfer->sequence_count);

    for (uint32_t i = 0; list != NULL && i < transfer->sequence_count; i++) {
        const struct sequence *sequence = &transfer->sequences[i];
        PyObject *entry = Py_BuildValue("(IIIII)", sequence->ttt, sequence->offset, sequence->length,
                                        sequence->received, sequence->datasn);
        if (entry == NULL || PyList_SetItem(list, (Py_ssize_t)i, entry) < 0)
            Py_CLEAR(list);
    }
    return list;
}

/* take_over(itt): all that is known of the command, which is not here any more; None where there is none. */
PyObject *path_take_over(PyObject *self, PyObject *tag)
{
    struct path *path = (struct path *)self;
    struct transfer *transfer;
    PyObject *sequences, *found;
    uint64_t itt;

    if (path_check_here(path) < 0 || number_of(tag, UINT32_MAX, &itt) < 0)
        return NULL;
    transfer = transfers_find(&path->transfers, (uint32_t)itt);
    if (transfer == NULL)
        Py_RETURN_NONE;
    sequences = sequences_of(transfer);
    if (sequences == NULL)
        return NULL;
    found = Py_BuildValue("(y#OIIIIKN)", transfer->bhs, (Py_ssize_t)BHS_LENGTH,
                          transfer->buffer == NULL ? Py_None : transfer->buffer, transfer->wanted, transfer->received,
                          transfer->asked, transfer->r2tsn, (unsigned long long)transfer->since, sequences);
    if (found != NULL) {
        memory_pass_on(&path->memory, transfer->wanted);
        transfers_remove(&path->transfers, transfer);
    }
    return found;
}

static int by_number(const void *one, const void *other)
{
    uint64_t first = (*(struct transfer *const *)one)->number, second = (*(struct transfer *const *)other)->number;

    return (first > second) - (first < second);
}

/* pending(): (ITT, unit number) of all, in the order in which they came. */
PyObject *path_pending(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const struct transfers *transfers = &((struct path *)self)->transfers;
    struct transfer *found[MOST_TRANSFERS];
    size_t count = 0;
    PyObject *list;

    if (path_check_here((struct path *)self) < 0)
        return NULL;
    for (size_t i = 0; count < transfers->count && i < TRANSFER_SLOTS; i++)
        if (transfers->slots[i] != NULL)
            found[count++] = transfers->slots[i];
    qsort(found, count, sizeof found[0], by_number);
    list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *entry = Py_BuildValue("(IK)", found[i]->itt, (unsigned long long)found[i]->gate->number);
        if (entry == NULL || PyList_SetItem(list, (Py_ssize_t)i, entry) < 0)
            Py_CLEAR(list);
    }
    return list;
}
