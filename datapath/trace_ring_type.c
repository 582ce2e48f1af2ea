/* The type RingTracer: the memory and the callables that it is given, and when it lets go of them. */
#include "trace_ring.h"

#include "words.h"

/* Where the reader says how far it is. With "merged" this ring is one of several, and its events come in their order. */
static int use_positions(struct trace_ring *ring, PyObject *positions, Py_ssize_t index, bool merged)
{
    if (PyObject_GetBuffer(positions, &ring->positions, PyBUF_WRITABLE) < 0)
        return -1;
    if (index < 0 || index >= ring->positions.len / (Py_ssize_t)sizeof(uint64_t)
        || ring->records - (uint8_t *)ring->memory.buf < TRACE_HEADER) {
        PyErr_SetString(PyExc_ValueError, "a position outside of its memory, or no room for a header");
        return -1;
    }
    ring->position = (const uint64_t *)ring->positions.buf + index;
    ring->header = (uint64_t *)(void *)(ring->records - TRACE_HEADER);
    ring->base.open = trace_ring_open;
    ring->base.close = trace_ring_close;
    if (merged)
        ring->base.look = trace_ring_look;
    ring->base.at_once = merged;
    return 0;
}

/* "count" records from "offset" on; 0: all that there is room for. */
static int fill(struct trace_ring *ring, PyObject *memory, Py_ssize_t offset, Py_ssize_t count, PyObject *introduce,
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
    ring->base.take = trace_ring_take;
    return 0;
}

static PyObject *trace_ring_new(PyTypeObject *type, PyObject *args, PyObject *named)
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
            || fill((struct trace_ring *)self, memory, offset, records, introduce, grant) < 0
            || (positions != Py_None && use_positions((struct trace_ring *)self, positions, index, merged != 0) < 0)))
        Py_CLEAR(self);
    return self;
}

static PyObject *trace_ring_revoke(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct trace_ring *ring = (struct trace_ring *)self;

    ring->limit = ring->written;
    Py_RETURN_NONE;
}

static void let_go(struct trace_ring *ring)
{
    __atomic_store_n(&ring->base.broken, true, __ATOMIC_RELAXED);
    if (ring->memory.obj != NULL)
        PyBuffer_Release(&ring->memory);
    ring->position = NULL;
    if (ring->positions.obj != NULL)
        PyBuffer_Release(&ring->positions);
}

static PyObject *trace_ring_release(PyObject *self, PyObject *Py_UNUSED(unused))
{
    let_go((struct trace_ring *)self);
    Py_RETURN_NONE;
}

static int trace_ring_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct trace_ring *ring = (struct trace_ring *)self;

    Py_VISIT(ring->memory.obj);
    Py_VISIT(ring->positions.obj);
    Py_VISIT(ring->introduce);
    Py_VISIT(ring->grant);
    Py_VISIT(ring->last);
    return tracer_visit(&ring->base, visit, arg);
}

static int trace_ring_clear(PyObject *self)
{
    struct trace_ring *ring = (struct trace_ring *)self;

    let_go(ring);
    Py_CLEAR(ring->introduce);
    Py_CLEAR(ring->grant);
    Py_CLEAR(ring->last);
    tracer_end(&ring->base);
    return 0;
}

static void trace_ring_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    trace_ring_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    TRACER_METHODS,
    {"revoke", trace_ring_revoke, METH_NOARGS, "Take back what was granted and not used: the next event asks again."},
    {"release", trace_ring_release, METH_NOARGS, "Let go of the memory; it takes no more events."},
    {NULL, NULL, 0, NULL},
};

static struct word written = {offsetof(struct trace_ring, written), UINT64_MAX};
static struct word drops = {offsetof(struct trace_ring, drops), UINT64_MAX};

static PyGetSetDef attributes[] = {
    {"written", word_get, NULL, "Records so far.", &written},
    {"drops", word_get, NULL, "Events for which there was no room; grant counts them where that is called.", &drops},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Writes records: RingTracer(memory, offset, introduce, grant, fail, clock, lun, records, positions, index, "
                "merged)."},
    {Py_tp_new, (void *)trace_ring_new},
    {Py_tp_dealloc, (void *)trace_ring_dealloc},
    {Py_tp_traverse, (void *)trace_ring_traverse},
    {Py_tp_clear, (void *)trace_ring_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.RingTracer",
    .basicsize = sizeof(struct trace_ring),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int trace_ring_init(PyObject *module)
{
    return trace_add_type(module, "RingTracer", &spec);
}
