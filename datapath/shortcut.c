/*
 * The same steps as the try_ methods of FileBackstore, RamBackstore and NullBackstore, on the same words. The control
 * thread holds the interpreter's lock throughout: so no thread of Python comes between the look at the words and the
 * system call, and RangeLock.inline is not needed. A data thread is inside (users.h), which whoever changes a word waits
 * for. A read never waits (RWF_NOWAIT); a write that was slow sends the next ones to threads.
 */
#include "shortcut.h"

#include "carrier.h"
#include "flights.h"
#include "shortcut_file.h"
#include "shortcut_ram.h"

#include <string.h>

static enum attempt null_read(const struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++)
        memset(pieces->first[i].iov_base, 0, pieces->first[i].iov_len);
    return DONE;
}

int shortcut_unflushed(const struct shortcut *shortcut)
{
    return shortcut->kind == SHORTCUT_FILE ? shortcut_word(shortcut, UNFLUSHED) != 0 : -1;
}

static enum attempt read_kind(const struct shortcut *shortcut, const struct user *user, uint64_t offset,
                              const struct pieces *pieces)
{
    switch (shortcut->kind) {
    case SHORTCUT_FILE:
        return file_read(shortcut, user, offset, pieces);
    case SHORTCUT_RAM:
        return ram_read(shortcut, user, offset, pieces);
    case SHORTCUT_NULL:
        return null_read(pieces);
    case SHORTCUT_CARRIER:
        return CANNOT;
    case SHORTCUT_NONE:
        break;
    }
    return ASK;
}

static enum attempt write_kind(const struct shortcut *shortcut, struct user *user, uint64_t offset,
                               const struct pieces *pieces)
{
    switch (shortcut->kind) {
    case SHORTCUT_FILE:
        return file_write(shortcut, user, offset, pieces);
    case SHORTCUT_RAM:
        return ram_write(shortcut, user, offset, pieces);
    case SHORTCUT_NULL:
        return DONE;
    case SHORTCUT_CARRIER:
        return CANNOT;
    case SHORTCUT_NONE:
        break;
    }
    return ASK;
}

/* Whether others may be at the same bytes: the store is known to them by its words. */
static bool is_shared(const struct shortcut *shortcut, const struct user *user)
{
    return (user->threaded || users_threads != 0)
           && (shortcut->kind == SHORTCUT_FILE || shortcut->kind == SHORTCUT_RAM);
}

bool shortcut_claim(const struct shortcut *shortcut, struct user *user, uint64_t offset, size_t length, bool changes)
{
    const void *store = shortcut->words.buf;

    if (!is_shared(shortcut, user) || user_has(user, store, offset, offset + length, changes))
        return false;
    user_claim(user, store, offset, offset + length, changes);
    return true;
}

enum attempt shortcut_read_pieces(const struct shortcut *shortcut, struct user *user, uint64_t offset,
                                  const struct pieces *pieces)
{
    bool claimed = shortcut_claim(shortcut, user, offset, pieces->length, false);
    enum attempt attempt = read_kind(shortcut, user, offset, pieces);

    if (claimed)
        user_release(user);
    return attempt;
}

enum attempt shortcut_write_pieces(const struct shortcut *shortcut, struct user *user, uint64_t offset,
                                   const struct pieces *pieces)
{
    bool claimed = shortcut_claim(shortcut, user, offset, pieces->length, true);
    enum attempt attempt = write_kind(shortcut, user, offset, pieces);

    if (claimed)
        user_release(user);
    return attempt;
}

enum attempt shortcut_read(const struct shortcut *shortcut, struct user *user, uint64_t offset, uint8_t *to, size_t length)
{
    struct iovec piece = {to, length};
    const struct pieces one = {&piece, 1, length};

    return shortcut_read_pieces(shortcut, user, offset, &one);
}

enum attempt shortcut_write(const struct shortcut *shortcut, struct user *user, uint64_t offset, const uint8_t *from,
                            size_t length)
{
    struct iovec piece = {(void *)(uintptr_t)from, length};
    const struct pieces one = {&piece, 1, length};

    return shortcut_write_pieces(shortcut, user, offset, &one);
}

void shortcut_count_flight(const struct shortcut *shortcut, bool writes, int more)
{
    int64_t *words = shortcut->words.buf;

    __atomic_fetch_add(&words[FLIGHTS], more, __ATOMIC_SEQ_CST);
    if (writes)
        __atomic_fetch_add(&words[WRITE_FLIGHTS], more, __ATOMIC_SEQ_CST);
}

/* The kind by its name, and how many words it has at least. */
static enum shortcut_kind kind_of(PyObject *name, Py_ssize_t *words)
{
    if (PyUnicode_CompareWithASCIIString(name, "file") == 0) {
        *words = FILE_WORDS;
        return SHORTCUT_FILE;
    }
    if (PyUnicode_CompareWithASCIIString(name, "ram") == 0) {
        *words = RAM_WORDS;
        return SHORTCUT_RAM;
    }
    if (PyUnicode_CompareWithASCIIString(name, "carrier") == 0) {
        *words = FILE_WORDS;
        return SHORTCUT_CARRIER;
    }
    *words = 0;
    return PyUnicode_CompareWithASCIIString(name, "null") == 0 ? SHORTCUT_NULL : SHORTCUT_NONE;
}

/* That by which commands fly, or None. */
static int take_ring(struct shortcut *shortcut, PyObject *ring)
{
    PyTypeObject *type = shortcut->kind == SHORTCUT_CARRIER ? carrier_type : ring_type;

    if (ring == Py_None && shortcut->kind != SHORTCUT_CARRIER)
        return 0;
    if ((shortcut->kind != SHORTCUT_FILE && shortcut->kind != SHORTCUT_CARRIER) || !PyObject_TypeCheck(ring, type)) {
        PyErr_SetString(PyExc_TypeError, "not a ring or carrier of this module, or not of such a store");
        return -1;
    }
    shortcut->ring = Py_NewRef(ring);
    shortcut->air = type == carrier_type ? carrier_air(ring) : &((struct ring *)ring)->air;
    return 0;
}

static int take_over(struct shortcut *shortcut, PyObject *offer)
{
    PyObject *kind, *words, *chunks, *slow, *places = Py_None, *ring = Py_None, *ended = Py_None;
    Py_ssize_t least;

    if (!PyTuple_Check(offer)) {
        PyErr_SetString(PyExc_TypeError, "a shortcut is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(offer, "UOOO|OOO:shortcut", &kind, &words, &chunks, &slow, &places, &ring, &ended))
        return -1;
    shortcut->kind = kind_of(kind, &least);
    if (PyObject_GetBuffer(words, &shortcut->words, PyBUF_WRITABLE) < 0
        || (places != Py_None && PyObject_GetBuffer(places, &shortcut->places, PyBUF_SIMPLE) < 0))
        return -1;
    if (shortcut->words.len < least * (Py_ssize_t)sizeof(int64_t)
        || (shortcut->kind == SHORTCUT_RAM && !PyDict_Check(chunks))) {
        PyErr_SetString(PyExc_ValueError, "not what a backstore of that kind has to offer");
        return -1;
    }
    if (take_ring(shortcut, ring) < 0)
        return -1;
    shortcut->ended = Py_NewRef(ended);
    Py_INCREF(chunks);
    Py_INCREF(slow);
    shortcut->chunks = chunks;
    shortcut->slow = slow;
    return 0;
}

int shortcut_open(struct shortcut *shortcut, PyObject *store)
{
    PyObject *offer = PyObject_CallMethod(store, "shortcut", NULL);
    int result = 0;

    shortcut->kind = SHORTCUT_NONE;
    if (offer == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    if (offer != Py_None)
        result = take_over(shortcut, offer);
    Py_DECREF(offer);
    if (result < 0)
        shortcut_close(shortcut);
    return result;
}

int shortcut_visit(const struct shortcut *shortcut, visitproc visit, void *arg)
{
    Py_VISIT(shortcut->words.obj);
    Py_VISIT(shortcut->places.obj);
    Py_VISIT(shortcut->chunks);
    Py_VISIT(shortcut->slow);
    Py_VISIT(shortcut->ended);
    return 0;
}

void shortcut_close(struct shortcut *shortcut)
{
    shortcut->kind = SHORTCUT_NONE;
    if (shortcut->words.obj != NULL)
        PyBuffer_Release(&shortcut->words);
    if (shortcut->places.obj != NULL)
        PyBuffer_Release(&shortcut->places);
    Py_CLEAR(shortcut->chunks);
    Py_CLEAR(shortcut->slow);
    Py_CLEAR(shortcut->ended);
    shortcut->air = NULL;
    Py_CLEAR(shortcut->ring);
}
