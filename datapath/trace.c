/* Events, what all tracers have in common, and the set of those that are attached. */
#include "trace.h"

#include <time.h>

#include "trace_marks.h"
#include "words.h"

enum { MOST_TYPES = 4 };

static PyObject *ident_name, *generation_name;
static PyTypeObject *types[MOST_TYPES];
static size_t type_count;
static PyTypeObject *set_type;

int event_time(struct event *event, uint64_t *now)
{
    if (event->now == 0 && event->clock == NULL) {
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        event->now = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
    } else if (event->now == 0) {
        PyObject *time = PyObject_CallFunctionObjArgs(event->clock, NULL);
        int failed = time == NULL || number_of(time, UINT64_MAX, &event->now) < 0;
        Py_XDECREF(time);
        if (failed)
            return -1;
    }
    *now = event->now;
    return 0;
}

static int attribute(PyObject *info, PyObject *name, long long *number)
{
    PyObject *value = PyObject_GetAttr(info, name);

    if (value == NULL)
        return -1;
    *number = PyLong_AsLongLong(value);
    Py_DECREF(value);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

int source_read(struct source *source, PyObject *info)
{
    long long ident, generation;

    if (attribute(info, ident_name, &ident) < 0 || attribute(info, generation_name, &generation) < 0)
        return -1;
    *source = (struct source){info, (uint32_t)ident, generation, NULL, NULL, 0};
    return 0;
}

/* -- a tracer */

static bool is_broken(const struct tracer *self)
{
    return __atomic_load_n(&self->broken, __ATOMIC_RELAXED);
}

static void set_broken(struct tracer *self)
{
    __atomic_store_n(&self->broken, true, __ATOMIC_RELAXED);
}

static void keep_clock(PyObject **kept, PyObject *clock)
{
    if (clock == Py_None)
        return;
    Py_INCREF(clock);
    *kept = clock;
}

int tracer_begin(struct tracer *self, PyObject *fail, PyObject *clock, PyObject *lun)
{
    keep_clock(&self->clock, clock);
    self->one_lun = lun != Py_None;
    if (self->one_lun && number_of(lun, UINT64_MAX, &self->lun) < 0)
        return -1;
    Py_INCREF(fail);
    self->fail = fail;
    return 0;
}

int tracer_visit(const struct tracer *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->clock);
    Py_VISIT(self->fail);
    return 0;
}

void tracer_end(struct tracer *self)
{
    set_broken(self);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->fail);
}

/* It is told of its exception, and gets no more events. */
static void give_up(struct tracer *self)
{
    PyObject *type, *value, *traceback, *result = NULL;

    if (!PyErr_Occurred())
        PyErr_NoMemory();
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    set_broken(self);
    if (self->fail != NULL && value != NULL)
        result = PyObject_CallFunctionObjArgs(self->fail, value, NULL);
    if (result == NULL)
        PyErr_Clear();
    Py_XDECREF(result);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static bool wants(const struct tracer *self, const struct event *event)
{
    return !is_broken(self) && (!self->one_lun || event->lun == self->lun || self->always >> event->probe & 1);
}

void tracer_take(struct tracer *self, struct event *event)
{
    if (!wants(self, event))
        return;
    Py_INCREF((PyObject *)self); /* to fail takes it out of the set, and the set may be all that keeps it */
    if (self->take(self, event) < 0)
        give_up(self);
    Py_DECREF((PyObject *)self);
}

void tracer_take_there(struct tracer *self, struct event *event)
{
    if (!wants(self, event) || self->take(self, event) == 0)
        return;
    __atomic_store_n(&self->failed, true, __ATOMIC_RELAXED);
    set_broken(self);
}

/* -- calls from Python */

/* The arguments of a PduCall, and the buffers that they keep for as long as the event lasts. */
struct pdu_call {
    struct source source;
    struct event event;
    Py_buffer buffer, cdb;
};

static int probe_of(PyObject *object, int *probe)
{
    long number = PyLong_AsLong(object);

    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < 0 || number >= PROBES) {
        PyErr_Format(PyExc_ValueError, "there is no probe %ld", number);
        return -1;
    }
    *probe = (int)number;
    return 0;
}

static int lun_of(PyObject *object, uint64_t *lun)
{
    return number_of(object, UINT64_MAX, lun);
}

static void close_call(struct pdu_call *call)
{
    if (call->buffer.obj != NULL)
        PyBuffer_Release(&call->buffer);
    if (call->cdb.obj != NULL)
        PyBuffer_Release(&call->cdb);
}

static int open_buffers(struct pdu_call *call, PyObject *const *args, Py_ssize_t count)
{
    uint64_t offset = 0, sense = 0;

    if (PyObject_GetBuffer(args[3], &call->buffer, PyBUF_SIMPLE) < 0)
        return -1;
    if (call->buffer.len < BHS_LENGTH) {
        PyErr_SetString(PyExc_ValueError, "a basic header segment has 48 bytes");
        return -1;
    }
    if (count > 4 && number_of(args[4], (uint64_t)call->buffer.len - BHS_LENGTH, &offset) < 0)
        return -1;
    if (count > 5 && PyObject_GetBuffer(args[5], &call->cdb, PyBUF_SIMPLE) < 0)
        return -1;
    if (count > 6 && number_of(args[6], UINT32_MAX, &sense) < 0)
        return -1;
    call->event.bhs = (const uint8_t *)call->buffer.buf + offset;
    call->event.cdb = call->cdb.buf;
    call->event.cdb_length = (size_t)call->cdb.len;
    call->event.sense = (uint32_t)sense;
    return 0;
}

static int open_pdu(struct pdu_call *call, PyObject *const *args, Py_ssize_t count)
{
    *call = (struct pdu_call){.event = {.source = &call->source}};
    if (count < 4 || count > 7) {
        PyErr_Format(PyExc_TypeError, "takes 4 to 7 arguments, not %zd", count);
        return -1;
    }
    if (probe_of(args[0], &call->event.probe) < 0 || source_read(&call->source, args[1]) < 0
        || lun_of(args[2], &call->event.lun) < 0 || open_buffers(call, args, count) < 0) {
        close_call(call);
        return -1;
    }
    return 0;
}

static int word_of(PyObject *object, uint32_t *word)
{
    uint64_t number;

    if (number_of(object, UINT32_MAX, &number) < 0)
        return -1;
    *word = (uint32_t)number;
    return 0;
}

static int open_xfer(struct source *source, struct event *event, PyObject *const *args, Py_ssize_t count)
{
    *event = (struct event){.source = source};
    if (count != 9) {
        PyErr_Format(PyExc_TypeError, "takes 9 arguments, not %zd", count);
        return -1;
    }
    return probe_of(args[0], &event->probe) < 0 || source_read(source, args[1]) < 0 || lun_of(args[2], &event->lun) < 0
                   || word_of(args[3], &event->xfer.itt) < 0 || word_of(args[4], &event->xfer.ttt) < 0
                   || number_of(args[5], UINT64_MAX, &event->xfer.address) < 0
                   || word_of(args[6], &event->xfer.offset) < 0 || word_of(args[7], &event->xfer.length) < 0
                   || word_of(args[8], &event->xfer.kind) < 0
               ? -1
               : 0;
}

PyObject *tracer_pdu(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct pdu_call call;

    if (open_pdu(&call, args, count) < 0) {
        give_up((struct tracer *)self);
    } else {
        call.event.clock = ((struct tracer *)self)->clock;
        tracer_take((struct tracer *)self, &call.event);
        close_call(&call);
    }
    Py_RETURN_NONE;
}

PyObject *tracer_xfer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct source source;
    struct event event;

    if (open_xfer(&source, &event, args, count) < 0) {
        give_up((struct tracer *)self);
    } else {
        event.clock = ((struct tracer *)self)->clock;
        tracer_take((struct tracer *)self, &event);
    }
    Py_RETURN_NONE;
}

/* -- the set */

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
        give_up(set->members[i].tracer);
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static PyObject *set_pdu(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct tracers *set = (struct tracers *)self;
    struct pdu_call call;

    if (open_pdu(&call, args, count) < 0) {
        all_give_up(set);
    } else {
        call.event.clock = set->clock;
        tracers_begin(set);
        tracers_fire(set, &call.event);
        tracers_end(set);
        close_call(&call);
    }
    Py_RETURN_NONE;
}

static PyObject *set_xfer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct tracers *set = (struct tracers *)self;
    struct source source;
    struct event event;

    if (open_xfer(&source, &event, args, count) < 0) {
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

static bool is_tracer(PyObject *object)
{
    for (size_t i = 0; i < type_count; i++)
        if (Py_TYPE(object) == types[i])
            return true;
    return false;
}

static int add_member(struct tracers *set, PyObject *pair)
{
    struct member *member = &set->members[set->count];
    PyObject *tracer;
    uint64_t mask;

    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2 || !is_tracer(tracer = PyTuple_GetItem(pair, 1))) {
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

    keep_clock(&set->clock, clock);
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
        if (tracer->open != NULL && !is_broken(tracer) && tracer->open(tracer, source, user, &places[i]) < 0)
            give_up(tracer);
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
            give_up(tracer);
    }
}

bool tracers_check(PyObject *object)
{
    return Py_TYPE(object) == set_type;
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

int trace_add_type(PyObject *module, const char *name, PyType_Spec *type_spec)
{
    PyObject *type = PyType_FromSpec(type_spec);

    if (type == NULL)
        return -1;
    types[type_count++] = (PyTypeObject *)type;
    return PyModule_AddObjectRef(module, name, type);
}

int trace_init(PyObject *module)
{
    ident_name = PyUnicode_InternFromString("ident");
    generation_name = PyUnicode_InternFromString("generation");
    set_type = (PyTypeObject *)PyType_FromSpec(&spec);
    if (ident_name == NULL || generation_name == NULL || set_type == NULL || marks_init() < 0)
        return -1;
    return PyModule_AddObjectRef(module, "Tracers", (PyObject *)set_type) < 0 || trace_ring_init(module) < 0
                   || trace_sums_init(module) < 0 || trace_provider_init(module) < 0
               ? -1
               : 0;
}
