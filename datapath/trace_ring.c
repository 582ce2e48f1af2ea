/*
 * A RingTracer writes records, as docs/trace-protocol.md lays them out, into memory that a reader maps too.
 *
 * "introduce" (iscsitools/trace/feed/sink.py) tells the reader a connection's strings before its first record. How far
 * the reader is says a word that it may write at any time, or "grant" where there is none. What is granted has been marked
 * as not written; a record is there from the moment when its sequence number stands in it, stored last and at once.
 *
 * A reader may have several rings, one of the loop's thread and one of each data thread, and merges them by time. So each
 * says in its header since when its thread has been at events that may not all be there yet (look).
 */
#include "trace_ring.h"

#include <string.h>

#include "clock.h"
#include "words.h"

enum { DROPS = 0, SINCE = 1 /* words of the header */, MOST_GRANTED = 256 };
enum { LONGEST_IN_BHS = 16, LONGEST_CDB = 32, CDB_REST = 96 };

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
static int turn_to(struct trace_ring *ring, const struct source *source)
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
static int grant_by_position(struct trace_ring *ring)
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

static int grant_by_call(struct trace_ring *ring)
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
static int get_more(struct trace_ring *ring)
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

static void put_record(struct trace_ring *ring, const struct event *event, uint64_t now)
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

int trace_ring_take(struct tracer *self, struct event *event)
{
    struct trace_ring *ring = (struct trace_ring *)self;
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
void trace_ring_look(struct tracer *self, bool begins)
{
    struct trace_ring *ring = (struct trace_ring *)self;

    if (ring->memory.obj != NULL)
        __atomic_store_n(&ring->header[SINCE], begins ? monotonic_now() : 0, __ATOMIC_SEQ_CST);
}

/* A connection that a data thread has: the reader knows it then, or does not want it. */
int trace_ring_open(struct tracer *self, const struct source *source, struct user *Py_UNUSED(user), void **place)
{
    int wanted = turn_to((struct trace_ring *)self, source);

    if (wanted > 0)
        *place = self;
    return wanted;
}

void trace_ring_close(struct tracer *Py_UNUSED(self), void *Py_UNUSED(place))
{
}
