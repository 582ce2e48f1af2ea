#include "gates.h"

enum { FEWEST = 8 };

/* The entry of a LUN, or the empty one where it would be. */
static struct gates_entry *entry_of(const struct gates *gates, uint64_t lun)
{
    size_t mask = gates->size - 1;
    size_t at = (size_t)((lun >> 48) * 0x9e3779b1u ^ lun) & mask; /* most LUNs have their number in the first 16 bits */

    while (gates->entries[at].gate != NULL && gates->entries[at].lun != lun)
        at = (at + 1) & mask;
    return &gates->entries[at];
}

struct gate *gates_find(const struct gates *gates, uint64_t lun)
{
    return gates->count == 0 ? NULL : entry_of(gates, lun)->gate;
}

static int grow(struct gates *gates)
{
    struct gates more = {NULL, gates->size ? gates->size * 2 : FEWEST, gates->count};

    more.entries = PyMem_Calloc(more.size, sizeof *more.entries);
    if (more.entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < gates->size; i++)
        if (gates->entries[i].gate != NULL)
            *entry_of(&more, gates->entries[i].lun) = gates->entries[i];
    PyMem_Free(gates->entries);
    *gates = more;
    return 0;
}

int gates_set(struct gates *gates, uint64_t lun, struct gate *gate)
{
    struct gates_entry *entry;
    struct gate *old;

    if (gates->count * 2 >= gates->size && grow(gates) < 0)
        return -1;
    entry = entry_of(gates, lun);
    old = entry->gate;
    gates->count += old == NULL;
    Py_INCREF((PyObject *)gate);
    entry->lun = lun;
    entry->gate = gate;
    Py_XDECREF((PyObject *)old);
    return 0;
}

int gates_visit(const struct gates *gates, visitproc visit, void *arg)
{
    for (size_t i = 0; i < gates->size; i++)
        Py_VISIT(gates->entries[i].gate);
    return 0;
}

void gates_clear(struct gates *gates)
{
    struct gates old = *gates;

    *gates = (struct gates){NULL, 0, 0};
    for (size_t i = 0; i < old.size; i++)
        Py_XDECREF((PyObject *)old.entries[i].gate);
    PyMem_Free(old.entries);
}
