/* The type Tracers: all that are attached. */
#include "trace_set.h"

#include "trace_calls.h"
#include "trace_marks.h"
#include "words.h"

static PyTypeObject *set_type;

/* An event that is none: no call site may see that, but those who look are told, as if each had found it. */
static void all_give_up(const struct tracers *set)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; i < set->count; i++) {
        Py_XINCREF(type);
        Py_XINCREF(value);
        Py_XINCREF(traceback);
        PyErr_Restore(type, value, traceback);
        tracer_give_up(set->members[i].tracer);
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static PyObject *set_pdu(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct tracers *set = (struct tracers *)self;
    struct pdu_call call;

    if (pdu_call_open(&call, args, count) < 0) {
        all_give_up(set);
    } else {
        call.event.clock = set->clock;
        tracers_begin(set);
        tracers_fire(set, &call.event);
        tracers_end(set);
        pdu_call_close(&call);
    }
    Py_RETURN_NONE;
}

static PyObject *set_xfer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct tracers *set = (struct tracers *)self;
    struct source source;
    struct event event;

    if (xfer_call_open(&source, &event, args, count) < 0) {
        all_give_up(set);
    } else {
        event.clock = set->clock;
        tracers_begin(set);
        tracers_fire(set, &event);
        tracers_end(set);
    }
    Py_RETURN_NONE;
}

/* sent(conn, marks, upto): SentCall. Marks that are no data path's in C are left to the caller. */
static PyObject *set_sent(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct source source;
    uint64_t upto;

    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "takes 3 arguments, not %zd", count);
    if (source_read(&source, args[0]) < 0 || number_of(args[2], UINT64_MAX, &upto) < 0)
        return NULL;
    tracers_begin((struct tracers *)self);
    marks_fire(args[1], (struct tracers *)self, &source, upto);
    tracers_end((struct tracers *)self);
    Py_RETURN_NONE;
}

static int add_member(struct tracers *set, PyObject *pair)
{
    struct member *member = &set->members[set->count];
    PyObject *tracer;
    uint64_t mask;

    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2 || !tracer_check(tracer = PyTuple_GetItem(pair, 1))) {
        PyErr_SetString(PyExc_TypeError, "a member is a mask and a tracer of this module");
        return -1;
    }
    if (number_of(PyTuple_GetItem(pair, 0), UINT32_MAX, &mask) < 0)
        return -1;
    Py_INCREF(tracer);
    *member = (struct member){(uint32_t)mask, (struct tracer *)tracer};
    set->at_once |= member->tracer->at_once;
    set->looks |= member->tracer->look != NULL;
    set->mask |= member->mask;
    set->count++;
    return 0;
}

static int fill(struct tracers *set, PyObject *clock, PyObject *members)
{
    Py_ssize_t count = PyTuple_Size(members);

    clock_keep(&set->clock, clock);
    set->members = PyMem_Calloc((size_t)count + 1, sizeof *set->members);
    if (set->members == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (add_member(set, PyTuple_GetItem(members, i)) < 0)
            return -1;
    return 0;
}

static PyObject *set_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"clock", "members", NULL};
    PyObject *self, *clock, *members;

    if (!PyArg_ParseTupleAndKeywords(args, named, "OO:Tracers", names, &clock, &members))
        return NULL;
    if (!PyTuple_Check(members))
        return PyErr_Format(PyExc_TypeError, "the members are a tuple");
    self = PyType_GenericAlloc(type, 0);
    if (self != NULL && fill((struct tracers *)self, clock, members) < 0)
        Py_CLEAR(self);
    return self;
}

static int set_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct tracers *set = (struct tracers *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(set->clock);
    for (size_t i = 0; i < set->count; i++)
        Py_VISIT((PyObject *)set->members[i].tracer);
    return 0;
}

static int set_clear(PyObject *self)
{
    struct tracers *set = (struct tracers *)self;

    Py_CLEAR(set->clock);
    while (set->count > 0) {
        set->count--;
        Py_DECREF((PyObject *)set->members[set->count].tracer);
    }
    return 0;
}

static void set_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    set_clear(self);
    PyMem_Free(((struct tracers *)self)->members);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* -- for data threads */

void tracers_look(struct tracers *set, bool begins)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->members[i].tracer->look != NULL)
            set->members[i].tracer->look(set->members[i].tracer, begins);
}

void tracers_open(struct tracers *set, struct source *source, struct user *user, void **places)
{
    for (size_t i = 0; i < set->count; i++) {
        struct tracer *tracer = set->members[i].tracer;
        places[i] = NULL;
        Py_INCREF((PyObject *)tracer);
        if (tracer->open != NULL && !tracer_is_broken(tracer) && tracer->open(tracer, source, user, &places[i]) < 0)
            tracer_give_up(tracer);
        Py_DECREF((PyObject *)tracer);
    }
    source->places = places;
}

void tracers_close(struct tracers *set, void **places)
{
    for (size_t i = 0; i < set->count; i++) {
        struct tracer *tracer = set->members[i].tracer;
        if (places[i] != NULL)
            tracer->close(tracer, places[i]);
        if (__atomic_exchange_n(&tracer->failed, false, __ATOMIC_RELAXED))
            tracer_give_up(tracer);
    }
}

static PyMethodDef methods[] = {
    {"pdu", (PyCFunction)(void (*)(void))set_pdu, METH_FASTCALL, "Fire a PDU's probe."},
    {"xfer", (PyCFunction)(void (*)(void))set_xfer, METH_FASTCALL, "Fire xfer-start or xfer-done."},
    {"sent", (PyCFunction)(void (*)(void))set_sent, METH_FASTCALL, "Fire xfer-done of the reads that were sent."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "All that look at the probes: Tracers(clock, members)."},
    {Py_tp_new, (void *)set_new},
    {Py_tp_dealloc, (void *)set_dealloc},
    {Py_tp_traverse, (void *)set_traverse},
    {Py_tp_clear, (void *)set_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Tracers",
    .basicsize = sizeof(struct tracers),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

bool tracers_check(PyObject *object)
{
    return Py_TYPE(object) == set_type;
}

int trace_set_init(PyObject *module)
{
    set_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return set_type == NULL ? -1 : PyModule_AddObjectRef(module, "Tracers", (PyObject *)set_type);
}
