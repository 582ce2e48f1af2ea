/* The type SumsTracer. */
#include "trace_sums.h"

#include <string.h>

static int take_tables(struct sums *sums, const Py_buffer *operations, PyObject *kept)
{
    Py_ssize_t count = PyTuple_Size(kept);

    if (operations->len != (Py_ssize_t)(sizeof sums->operations + sizeof sums->variable_length)) {
        PyErr_SetString(PyExc_ValueError, "a table of all operation codes, and the variable-length CDB's ranges");
        return -1;
    }
    if (count > MOST_KEPT) {
        PyErr_SetString(PyExc_ValueError, "too many histograms");
        return -1;
    }
    memcpy(sums->operations, operations->buf, sizeof sums->operations);
    memcpy(&sums->variable_length, (const uint8_t *)operations->buf + sizeof sums->operations, sizeof sums->variable_length);
    for (Py_ssize_t i = 0; i < count; i++) {
        int value, scale;
        PyObject *pair = PyTuple_GetItem(kept, i);
        if (!PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "what is kept is pairs, of value and scale");
            return -1;
        }
        if (!PyArg_ParseTuple(pair, "ii", &value, &scale))
            return -1;
        if (value < 0 || value >= VALUES || scale < 0 || scale >= SCALES) {
            PyErr_SetString(PyExc_ValueError, "no such value, or no such scale");
            return -1;
        }
        sums->kept[i] = (struct kept){(enum value)value, (enum scale)scale};
    }
    sums->kept_count = (size_t)count;
    return 0;
}

static int fill(struct sums *sums, const Py_buffer *operations, PyObject *kept, PyObject *admit, PyObject *task,
                PyObject *join)
{
    if (take_tables(sums, operations, kept) < 0)
        return -1;
    sums->overflow_unit.lun = UINT64_MAX;
    Py_INCREF(admit);
    Py_INCREF(task);
    sums->admit = admit;
    sums->task = task;
    sums->join = join != Py_None ? Py_NewRef(join) : NULL;
    busy_start(&sums->busy);
    sums->base.take = sums_take;
    sums->base.open = sums_open_counted;
    sums->base.close = sums_close_counted;
    sums->base.always = 1u << PROBE_TASK_COMMAND | 1u << PROBE_TASK_RESPONSE;
    return 0;
}

static PyObject *sums_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"operations", "kept", "admit", "task", "fail", "clock", "lun", "join", NULL};
    PyObject *self, *kept, *admit, *task, *fail, *clock, *lun, *join;
    Py_buffer operations;

    if (!PyArg_ParseTupleAndKeywords(args, named, "y*OOOOOOO:SumsTracer", names, &operations, &kept, &admit, &task,
                                     &fail, &clock, &lun, &join))
        return NULL;
    self = PyTuple_Check(kept) ? PyType_GenericAlloc(type, 0) : PyErr_Format(PyExc_TypeError, "kept is a tuple");
    if (self != NULL
        && (tracer_begin((struct tracer *)self, fail, clock, lun) < 0
            || fill((struct sums *)self, &operations, kept, admit, task, join) < 0))
        Py_CLEAR(self);
    PyBuffer_Release(&operations);
    return self;
}

static int sums_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct sums *sums = (struct sums *)self;

    Py_VISIT(sums->admit);
    Py_VISIT(sums->task);
    Py_VISIT(sums->join);
    for (size_t i = 0; i < sums->connections.size; i++)
        if (sums->connections.slots[i].value != 0)
            Py_VISIT(((struct counted *)pointer(sums->connections.slots[i].value))->info);
    return tracer_visit(&sums->base, visit, arg);
}

static int sums_clear(PyObject *self)
{
    struct sums *sums = (struct sums *)self;
    struct map connections = sums->connections;

    sums->connections = (struct map){NULL, 0, 0};
    sums->last = NULL;
    tracer_end(&sums->base);
    for (size_t i = 0; i < connections.size; i++)
        if (connections.slots[i].value != 0)
            counted_free(pointer(connections.slots[i].value), sums->kept_count);
    map_clear(&connections);
    busy_clear(&sums->busy);
    Py_CLEAR(sums->admit);
    Py_CLEAR(sums->task);
    Py_CLEAR(sums->join);
    return 0;
}

static void sums_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    sums_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_doc, "Keeps sums: SumsTracer(operations, kept, admit, task, fail, clock, lun, join)."},
    {Py_tp_new, (void *)sums_new},
    {Py_tp_dealloc, (void *)sums_dealloc},
    {Py_tp_traverse, (void *)sums_traverse},
    {Py_tp_clear, (void *)sums_clear},
    {Py_tp_methods, sums_methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.SumsTracer",
    .basicsize = sizeof(struct sums),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int trace_sums_init(PyObject *module)
{
    return trace_add_type(module, "SumsTracer", &spec);
}
