#include "transfers.h"

#include "words.h"

#include <stdlib.h>

/* -- the table: open addressing, at most half full */

static size_t home(uint32_t itt)
{
    return (size_t)(itt * 0x9e3779b1u >> 7) % TRANSFER_SLOTS;
}

static size_t place_of(const struct transfers *transfers, uint32_t itt)
{
    size_t at = home(itt);

    while (transfers->slots[at] != NULL && transfers->slots[at]->itt != itt)
        at = (at + 1) % TRANSFER_SLOTS;
    return at;
}

struct transfer *transfers_find(const struct transfers *transfers, uint32_t itt)
{
    return transfers->count == 0 ? NULL : transfers->slots[place_of(transfers, itt)];
}

struct transfer *transfers_add(struct transfers *transfers, uint32_t itt, struct gate *gate, uint32_t wanted,
                               bool threaded)
{
    struct transfer *transfer;

    if (transfers->count == MOST_TRANSFERS || (transfer = calloc(1, sizeof *transfer)) == NULL)
        return NULL;
    if (!threaded)
        Py_INCREF((PyObject *)gate);
    gate_count_transfer(gate, 1);
    transfer->gate = gate;
    transfer->itt = itt;
    transfer->wanted = wanted;
    transfer->number = transfers->begun++;
    transfers->slots[place_of(transfers, itt)] = transfer;
    word_store(&transfers->count, transfers->count + 1);
    transfers->awaited += wanted;
    return transfer;
}

/* Empty a slot, and move those behind it that would not be found any more. */
static void take_out(struct transfers *transfers, size_t hole)
{
    struct transfer **slots = transfers->slots;

    transfers->awaited -= slots[hole]->wanted;

    for (size_t at = (hole + 1) % TRANSFER_SLOTS; slots[at] != NULL; at = (at + 1) % TRANSFER_SLOTS) {
        size_t from_home = (at - home(slots[at]->itt)) % TRANSFER_SLOTS;
        if (from_home >= (at - hole) % TRANSFER_SLOTS) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole] = NULL;
    word_store(&transfers->count, transfers->count - 1);
}

static void destroy(struct transfer *transfer)
{
    gate_count_transfer(transfer->gate, -1);
    Py_DECREF((PyObject *)transfer->gate);
    Py_XDECREF(transfer->buffer);
    free(transfer);
}

void transfers_remove(struct transfers *transfers, struct transfer *transfer)
{
    take_out(transfers, place_of(transfers, transfer->itt));
    destroy(transfer);
}

int transfers_visit(const struct transfers *transfers, visitproc visit, void *arg)
{
    for (size_t i = 0; transfers->count != 0 && i < TRANSFER_SLOTS; i++)
        if (transfers->slots[i] != NULL)
            Py_VISIT(transfers->slots[i]->gate);
    return 0;
}

void transfers_clear(struct transfers *transfers)
{
    for (size_t i = 0; transfers->count != 0 && i < TRANSFER_SLOTS; i++) {
        struct transfer *transfer = transfers->slots[i];
        transfers->slots[i] = NULL;
        if (transfer != NULL)
            destroy(transfer);
    }
    transfers->count = 0;
}

/* -- one of them */

struct sequence *transfer_sequence(struct transfer *transfer, uint32_t ttt)
{
    for (uint32_t i = 0; i < transfer->sequence_count; i++)
        if (transfer->sequences[i].ttt == ttt)
            return &transfer->sequences[i];
    return NULL;
}

void transfer_end_sequence(struct transfer *transfer, struct sequence *sequence)
{
    size_t after = (size_t)(&transfer->sequences[--transfer->sequence_count] - sequence);

    memmove(sequence, sequence + 1, after * sizeof *sequence);
}

enum { MOST_AHEAD = 256 << 10 /* bytes that are held and not used */ };

static bool hold(struct memory *memory, uint64_t length)
{
    PyObject *result = memory->reserve == NULL
                           ? NULL
                           : PyObject_CallFunction(memory->reserve, "K", (unsigned long long)length);
    int fits = result == NULL ? -1 : PyObject_IsTrue(result);

    Py_XDECREF(result);
    if (fits < 0)
        PyErr_Clear(); /* the task's way meets it again */
    if (fits > 0)
        memory->held += length;
    return fits > 0;
}

bool memory_reserve(struct memory *memory, uint32_t length)
{
    uint64_t ahead = 3 * memory->asked < MOST_AHEAD ? 3 * memory->asked : MOST_AHEAD;
    uint64_t missing;

    if (memory->pool != NULL)
        return true; /* its thread sees to it after each batch */
    if (memory->used + length > memory->held) {
        missing = memory->used + length - memory->held;
        if (!(ahead != 0 && hold(memory, missing + ahead)) && !hold(memory, missing))
            return false;
        memory->asked += missing;
    }
    memory->used += length;
    return true;
}

void memory_release(struct memory *memory, uint32_t length)
{
    if (memory->pool == NULL)
        memory->used -= length;
}

void memory_settle(struct memory *memory)
{
    PyObject *type, *value, *traceback, *result;
    uint64_t unused = memory->held - memory->used;

    memory->asked = 0;
    if (unused == 0)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    memory->held = memory->used;
    result = PyObject_CallFunction(memory->release, "K", (unsigned long long)unused);
    if (result == NULL)
        PyErr_WriteUnraisable(memory->release);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

void memory_pass_on(struct memory *memory, uint64_t length)
{
    memory->held -= length;
    memory->used -= length;
}

PyObject *memory_take(const struct memory *memory, uint32_t length)
{
    PyObject *buffer = PyObject_CallFunction(memory->take, "I", length);

    if (buffer != NULL && (!PyByteArray_Check(buffer) || PyByteArray_Size(buffer) < (Py_ssize_t)length))
        Py_CLEAR(buffer);
    PyErr_Clear(); /* the task's way meets it again */
    return buffer;
}

void memory_give(const struct memory *memory, PyObject *buffer)
{
    PyObject *result = PyObject_CallFunctionObjArgs(memory->give, buffer, NULL);

    if (result == NULL)
        PyErr_WriteUnraisable(memory->give);
    Py_XDECREF(result);
}

bool transfer_open_buffer(struct transfer *transfer, const struct memory *memory, PyObject *place)
{
    if (transfer->data != NULL)
        return true;
    if (memory->pool != NULL) {
        transfer->data = pool_take(memory->pool, transfer->wanted);
        return transfer->data != NULL;
    }
    if (place != NULL && PyByteArray_Check(place) && PyByteArray_Size(place) >= (Py_ssize_t)transfer->wanted) {
        Py_INCREF(place);
    } else {
        place = memory_take(memory, transfer->wanted);
    }
    transfer->buffer = place;
    transfer->data = place == NULL ? NULL : (uint8_t *)PyByteArray_AsString(place);
    return place != NULL;
}

void transfer_end(struct transfers *transfers, struct transfer *transfer, struct memory *memory)
{
    if (memory->pool != NULL) { /* nothing of it is Python's */
        take_out(transfers, place_of(transfers, transfer->itt));
        gate_count_transfer(transfer->gate, -1);
        pool_give(memory->pool, transfer->data, transfer->wanted);
        free(transfer);
        return;
    }
    memory_release(memory, transfer->wanted);
    if (transfer->buffer != NULL)
        memory_give(memory, transfer->buffer);
    transfers_remove(transfers, transfer);
}

/* -- all of them */

uint64_t transfers_since(const struct transfers *transfers)
{
    uint64_t first = 0;

    for (size_t i = 0; transfers->count != 0 && i < TRANSFER_SLOTS; i++) {
        const struct transfer *transfer = transfers->slots[i];
        if (transfer != NULL && (first == 0 || transfer->since < first))
            first = transfer->since;
    }
    return first;
}

/* What has come of it, in memory that goes to a pool later; NULL: there is none. */
static uint8_t *copy_of(const struct transfer *transfer)
{
    uint8_t *copy = pool_make(transfer->wanted);

    if (copy != NULL)
        memcpy(copy, transfer->data, transfer->wanted);
    return copy;
}

bool transfers_leave(struct transfers *transfers, const struct memory *memory)
{
    uint8_t *copies[TRANSFER_SLOTS] = {NULL};
    bool all = true;

    for (size_t i = 0; transfers->count != 0 && i < TRANSFER_SLOTS; i++)
        if (transfers->slots[i] != NULL && transfers->slots[i]->data != NULL)
            all = (copies[i] = copy_of(transfers->slots[i])) != NULL && all;
    for (size_t i = 0; transfers->count != 0 && i < TRANSFER_SLOTS; i++) {
        struct transfer *transfer = transfers->slots[i];
        if (transfer == NULL)
            continue;
        if (!all) {
            free(copies[i]);
            continue;
        }
        if (transfer->buffer != NULL)
            memory_give(memory, transfer->buffer);
        Py_CLEAR(transfer->buffer);
        transfer->data = copies[i];
        Py_DECREF((PyObject *)transfer->gate); /* its path holds it */
    }
    return all;
}

bool transfers_return(struct transfers *transfers, const struct memory *memory)
{
    bool all = true;

    for (size_t i = 0; transfers->count != 0 && i < TRANSFER_SLOTS; i++) {
        struct transfer *transfer = transfers->slots[i];
        uint8_t *kept = transfer == NULL ? NULL : transfer->data;
        if (transfer == NULL)
            continue;
        Py_INCREF((PyObject *)transfer->gate);
        if (kept == NULL)
            continue;
        transfer->data = NULL;
        if (transfer_open_buffer(transfer, memory, NULL))
            memcpy(transfer->data, kept, transfer->wanted);
        else
            all = false;
        free(kept);
    }
    return all;
}
