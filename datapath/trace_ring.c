/*
 * The type RingTracer: writes records, as docs/trace-protocol.md lays them out, into memory that a reader maps too.
 *
 * "introduce" (iscsitools/trace/feed/sink.py) tells the reader a connection's strings before its first record. How far
 * the reader is says a word that it may write at any time, or "grant" where there is none. What is granted has been marked
 * as not written; a record is there from the moment when its sequence number stands in it, stored last and at once.
 *
 * A reader may have several rings, one of the loop's thread and one of each data thread, and merges them by time. So each
 * says in its header since when its thread has been at events that may not all be there yet (look).
 */
#include "trace.h"

#include <string.h>

#include "clock.h"
#include "words.h"

enum { HEADER = 4096, DROPS = 0, SINCE = 1 /* words of it */, MOST_GRANTED = 256 };
enum { RECORD = 128, LONGEST_IN_BHS = 16, LONGEST_CDB = 32, CDB_REST = 96 };

struct ring {
    struct tracer base;
    Py_buffer memory; /* obj is NULL once it was let go */
    uint8_t *records; /* in it */
    uint64_t *header; /* before them; NULL with "grant" */
    Py_buffer positions; /* of the reader; obj is NULL with "grant" */
    const uint64_t *position;
    PyObject *introduce, *grant;
    uint64_t capacity; /* records, a power of two */
    uint64_t written, limit;
    uint64_t read, drops; /* the last position that made sense */
    PyObject *last; /* the connection of the last record, as it was then */
    int64_t generation;
};


static void put_le32(uint8_t *to, uint32_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    memcpy(to, &word, sizeof word);
}

static void put_le64(uint8_t *to, uint64_t word)
{
    put_le32(to, (uint32_t)word);
    put_le32(to + 4, (uint32_t)(word >> 32));
}

/* Before a record of a connection, or of new strings of it: 1, 0 when its records are not wanted, -1 with an exception. */
static int turn_to(struct ring *ring, const struct source *source)
{
    PyObject *result;
    int wanted;

    Py_CLEAR(ring->last);
    result = PyObject_CallFunctionObjArgs(ring->introduce, source->info, NULL);
    wanted = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (wanted > 0) {
        Py_INCREF(source->info);
        ring->last = source->info;
        ring->generation = source->generation;
    }
    return wanted;
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* The reader's word can be any number at any time: outside what was written and not overwritten, the last good one counts. */
static int grant_by_position(struct ring *ring)
{
    uint64_t position = __atomic_load_n(ring->position, __ATOMIC_ACQUIRE), slot = ring->written & (ring->capacity - 1);
    uint64_t count;

    if (ring->read <= position && position <= ring->written)
        ring->read = position;
    count = least(least(ring->capacity - (ring->written - ring->read), MOST_GRANTED), ring->capacity - slot);
    if (count == 0) {
        word_store(&ring->drops, ring->drops + 1);
        word_store(&ring->header[DROPS], ring->drops);
        return 0;
    }
    for (uint64_t i = slot; i < slot + count; i++)
        word_store((uint64_t *)(void *)(ring->records + i * RECORD), 0);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* a reader that still copies one finds this before any other byte of it */
    ring->limit = ring->written + count;
    return 1;
}

static int grant_by_call(struct ring *ring)
{
    PyObject *result = PyObject_CallFunction(ring->grant, "K", (unsigned long long)ring->written);
    uint64_t limit;
    int failed = result == NULL || number_of(result, ring->written + ring->capacity, &limit) < 0;

    Py_XDECREF(result);
    if (failed)
        return -1;
    if (limit < ring->written) {
        PyErr_SetString(PyExc_ValueError, "less than what was written");
        return -1;
    }
    ring->limit = limit;
    return limit != ring->written;
}

/* Have more records granted: 1, 0 when the reader is behind, -1 with an exception. */
static int get_more(struct ring *ring)
{
    return ring->position != NULL ? grant_by_position(ring) : grant_by_call(ring);
}

static void put_pdu(uint8_t *at, const struct event *event)
{
    memcpy(at + 48, event->bhs, BHS_LENGTH);
    memset(at + CDB_REST, 0, RECORD - CDB_REST);
    if (event->cdb_length > LONGEST_IN_BHS) {
        size_t rest = event->cdb_length < LONGEST_CDB ? event->cdb_length : LONGEST_CDB;
        memcpy(at + CDB_REST, event->cdb + LONGEST_IN_BHS, rest - LONGEST_IN_BHS);
    }
}

static void put_xfer(uint8_t *at, const struct xfer *xfer)
{
    memset(at + 48, 0, RECORD - 48);
    put_le32(at + 48, xfer->itt);
    put_le32(at + 52, xfer->ttt);
    put_le64(at + 56, xfer->address);
    put_le32(at + 64, xfer->offset);
    put_le32(at + 68, xfer->length);
    put_le32(at + 72, xfer->kind);
}

static void put_record(struct ring *ring, const struct event *event, uint64_t now)
{
    uint8_t *at = ring->records + (ring->written & (ring->capacity - 1)) * RECORD;

    put_le64(at + 8, now);
    put_le64(at + 16, event->lun);
    put_le32(at + 24, event->source->ident);
    put_le32(at + 28, (uint32_t)event->source->generation);
    put_le32(at + 32, (uint32_t)event->probe);
    put_le32(at + 36, event->sense);
    put_le32(at + 40, (uint32_t)event->cdb_length);
    put_le32(at + 44, 0);
    if (event->bhs != NULL)
        put_pdu(at, event);
    else
        put_xfer(at, &event->xfer);
    __atomic_store_n((uint64_t *)(void *)at, ring->written + 1, __ATOMIC_RELEASE);
    word_store(&ring->written, ring->written + 1);
}

static int take(struct tracer *self, struct event *event)
{
    struct ring *ring = (struct ring *)self;
    uint64_t now;
    int there;

    if (event->place == NULL
        && (ring->last != event->source->info || ring->generation != event->source->generation)) {
        there = turn_to(ring, event->source);
        if (there <= 0)
            return there;
    }
    if (ring->written == ring->limit) {
        there = get_more(ring);
        if (there <= 0)
            return there;
    }
    if (event_time(event, &now) < 0)
        return -1;
    if (ring->memory.obj != NULL)
        put_record(ring, event, now);
    return 0;
}

/*
 * Whoever merges rings looks at the clock, then at these words, then at the records: those with a time before all of them
 * are there. The store and the clock that an event's time is read from must not change places.
 */
static void look(struct tracer *self, bool begins)
{
    struct ring *ring = (struct ring *)self;

    if (ring->memory.obj != NULL)
        __atomic_store_n(&ring->header[SINCE], begins ? monotonic_now() : 0, __ATOMIC_SEQ_CST);
}

/* A connection that a data thread has: the reader knows it then, or does not want it. */
static int open_source(struct tracer *self, const struct source *source, struct user *Py_UNUSED(user), void **place)
{
    int wanted = turn_to((struct ring *)self, source);

    if (wanted > 0)
        *place = self;
    return wanted;
}

static void close_source(struct tracer *Py_UNUSED(self), void *Py_UNUSED(place))
{
}

/* -- the object */

/* Where the reader says how far it is. With "merged" this ring is one of several, and its events come in their order. */
static int use_positions(struct ring *ring, PyObject *positions, Py_ssize_t index, bool merged)
{
    if (PyObject_GetBuffer(positions, &ring->positions, PyBUF_WRITABLE) < 0)
        return -1;
    if (index < 0 || index >= ring->positions.len / (Py_ssize_t)sizeof(uint64_t) || ring->records - (uint8_t *)ring->memory.buf < HEADER) {
        PyErr_SetString(PyExc_ValueError, "a position outside of its memory, or no room for a header");
        return -1;
    }
    ring->position = (const uint64_t *)ring->positions.buf + index;
    ring->header = (uint64_t *)(void *)(ring->records - HEADER);
    ring->base.open = open_source;
    ring->base.close = close_source;
    if (merged)
        ring->base.look = look;
    ring->base.at_once = merged;
    return 0;
}

/* "count" records from "offset" on; 0: all that there is room for. */
static int fill(struct ring *ring, PyObject *memory, Py_ssize_t offset, Py_ssize_t count, PyObject *introduce,
                PyObject *grant)
{
    if (PyObject_GetBuffer(memory, &ring->memory, PyBUF_WRITABLE) < 0)
        return -1;
    if (offset < 0 || offset > ring->memory.len || count < 0 || count > (ring->memory.len - offset) / RECORD) {
        PyErr_SetString(PyExc_ValueError, "records outside of the memory");
        return -1;
    }
    ring->records = (uint8_t *)ring->memory.buf + offset;
    ring->capacity = (uint64_t)(count != 0 ? count : (ring->memory.len - offset) / RECORD);
    if (ring->capacity == 0 || (ring->capacity & (ring->capacity - 1)) != 0
        || ((uintptr_t)ring->records & (sizeof(uint64_t) - 1)) != 0) {
        PyErr_SetString(PyExc_ValueError, "the memory is for a power of two of records, and aligned");
        return -1;
    }
    Py_INCREF(introduce);
    Py_INCREF(grant);
    ring->introduce = introduce;
    ring->grant = grant;
    ring->base.take = take;
    return 0;
}

static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"memory", "offset", "introduce", "grant", "fail",
                            "clock",  "lun",    "records",   "positions", "index", "merged", NULL};
    PyObject *self, *memory, *introduce, *grant, *fail, *clock, *lun, *positions = Py_None;
    Py_ssize_t offset, records = 0, index = 0;
    int merged = 0;

    if (!PyArg_ParseTupleAndKeywords(args, named, "OnOOOOO|nOnp:RingTracer", names, &memory, &offset, &introduce, &grant,
                                     &fail, &clock, &lun, &records, &positions, &index, &merged))
        return NULL;
    self = PyType_GenericAlloc(type, 0);
    if (self != NULL
        && (tracer_begin((struct tracer *)self, fail, clock, lun) < 0
            || fill((struct ring *)self, memory, offset, records, introduce, grant) < 0
            || (positions != Py_None && use_positions((struct ring *)self, positions, index, merged != 0) < 0)))
        Py_CLEAR(self);
    return self;
}

static PyObject *ring_revoke(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct ring *ring = (struct ring *)self;

    ring->limit = ring->written;
    Py_RETURN_NONE;
}

static void let_go(struct ring *ring)
{
    __atomic_store_n(&ring->base.broken, true, __ATOMIC_RELAXED);
    if (ring->memory.obj != NULL)
        PyBuffer_Release(&ring->memory);
    ring->position = NULL;
    if (ring->positions.obj != NULL)
        PyBuffer_Release(&ring->positions);
}

static PyObject *ring_release(PyObject *self, PyObject *Py_UNUSED(unused))
{
    let_go((struct ring *)self);
    Py_RETURN_NONE;
}

static int ring_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct ring *ring = (struct ring *)self;

    Py_VISIT(ring->memory.obj);
    Py_VISIT(ring->positions.obj);
    Py_VISIT(ring->introduce);
    Py_VISIT(ring->grant);
    Py_VISIT(ring->last);
    return tracer_visit(&ring->base, visit, arg);
}

static int ring_clear(PyObject *self)
{
    struct ring *ring = (struct ring *)self;

    let_go(ring);
    Py_CLEAR(ring->introduce);
    Py_CLEAR(ring->grant);
    Py_CLEAR(ring->last);
    tracer_end(&ring->base);
    return 0;
}

static void ring_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    ring_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    TRACER_METHODS,
    {"revoke", ring_revoke, METH_NOARGS, "Take back what was granted and not used: the next event asks again."},
    {"release", ring_release, METH_NOARGS, "Let go of the memory; it takes no more events."},
    {NULL, NULL, 0, NULL},
};

static struct word written = {offsetof(struct ring, written), UINT64_MAX};
static struct word drops = {offsetof(struct ring, drops), UINT64_MAX};

static PyGetSetDef attributes[] = {
    {"written", word_get, NULL, "Records so far.", &written},
    {"drops", word_get, NULL, "Events for which there was no room; grant counts them where that is called.", &drops},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Writes records: RingTracer(memory, offset, introduce, grant, fail, clock, lun, records, positions, index, merged)."},
    {Py_tp_new, (void *)ring_new},
    {Py_tp_dealloc, (void *)ring_dealloc},
    {Py_tp_traverse, (void *)ring_traverse},
    {Py_tp_clear, (void *)ring_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.RingTracer",
    .basicsize = sizeof(struct ring),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int trace_ring_init(PyObject *module)
{
    return trace_add_type(module, "RingTracer", &spec);
}
