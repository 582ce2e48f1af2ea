/* The same steps as the try_ methods of RamBackstore: copies from and to its chunks, as far as these are there. */
#include "shortcut_ram.h"

#include <string.h>

enum { CHUNK = 1 << 20 }; /* as in ram.py */

/* How many chunks have a place. */
static uint64_t places_of(const struct shortcut *shortcut)
{
    return (uint64_t)shortcut->places.len / sizeof(uint64_t);
}

/* Where a chunk begins, or NULL: there is none. */
static uint8_t *chunk_of(const struct shortcut *shortcut, uint64_t index)
{
    const uint64_t *places = shortcut->places.buf;
    PyObject *key, *chunk;

    if (index < places_of(shortcut))
        return (uint8_t *)(uintptr_t)__atomic_load_n(&places[index], __ATOMIC_RELAXED);
    key = PyLong_FromUnsignedLongLong(index);
    chunk = key == NULL ? NULL : PyDict_GetItemWithError(shortcut->chunks, key);
    Py_XDECREF(key);
    if (chunk == NULL) {
        PyErr_Clear();
        return NULL;
    }
    return PyByteArray_Size(chunk) == CHUNK ? (uint8_t *)PyByteArray_AsString(chunk) : NULL;
}

/* The bytes from "offset" on that lie in one chunk, at most *length of them, whose number that becomes; NULL: none. */
static uint8_t *chunk_at(const struct shortcut *shortcut, uint64_t offset, size_t *length)
{
    size_t start = (size_t)(offset % CHUNK);
    uint8_t *chunk = chunk_of(shortcut, offset / CHUNK);

    if (*length > CHUNK - start)
        *length = CHUNK - start;
    return chunk == NULL ? NULL : chunk + start;
}

/* Whether a user may be at these bytes: they are there, and no call of Python wants to be alone with them. */
static bool may_enter(const struct shortcut *shortcut, const struct user *user, uint64_t offset, size_t length)
{
    if (user->threaded && (shortcut_word(shortcut, ALONE) != 0 || (offset + length - 1) / CHUNK >= places_of(shortcut)))
        return false;
    return offset + length <= (uint64_t)shortcut_word(shortcut, SIZE);
}

static void ram_fill(const struct shortcut *shortcut, uint64_t offset, uint8_t *to, size_t length)
{
    while (length > 0) {
        size_t part = length;
        const uint8_t *from = chunk_at(shortcut, offset, &part);
        if (from == NULL)
            memset(to, 0, part);
        else
            memcpy(to, from, part);
        to += part;
        offset += part;
        length -= part;
    }
}

enum attempt ram_read(const struct shortcut *shortcut, const struct user *user, uint64_t offset, const struct pieces *pieces)
{
    if (!may_enter(shortcut, user, offset, pieces->length))
        return ASK;
    for (size_t i = 0; i < pieces->count; i++) {
        ram_fill(shortcut, offset, pieces->first[i].iov_base, pieces->first[i].iov_len);
        offset += pieces->first[i].iov_len;
    }
    return DONE;
}

static bool ram_put(const struct shortcut *shortcut, uint64_t offset, const uint8_t *from, size_t length)
{
    while (length > 0) {
        size_t part = length;
        uint8_t *to = chunk_at(shortcut, offset, &part);
        if (to == NULL)
            return false;
        memcpy(to, from, part);
        from += part;
        offset += part;
        length -= part;
    }
    return true;
}

enum attempt ram_write(const struct shortcut *shortcut, const struct user *user, uint64_t offset, const struct pieces *pieces)
{
    if (!may_enter(shortcut, user, offset, pieces->length))
        return ASK;
    for (size_t i = 0; i < pieces->count; i++) {
        if (!ram_put(shortcut, offset, pieces->first[i].iov_base, pieces->first[i].iov_len))
            return ASK; /* it makes the chunk, and writes what is written already once more */
        offset += pieces->first[i].iov_len;
    }
    return DONE;
}
