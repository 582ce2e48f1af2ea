/* Events, and what all tracers have in common. */
#include "trace.h"

#include "clock.h"
#include "trace_marks.h"
#include "words.h"

enum { MOST_TYPES = 4 };

static PyObject *ident_name, *generation_name;
static PyTypeObject *types[MOST_TYPES];
static size_t type_count;

int event_time(struct event *event, uint64_t *now)
{
    if (event->now == 0 && event->clock == NULL) {
        event->now = monotonic_now();
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

static void set_broken(struct tracer *self)
{
    __atomic_store_n(&self->broken, true, __ATOMIC_RELAXED);
}

void clock_keep(PyObject **kept, PyObject *clock)
{
    if (clock == Py_None)
        return;
    Py_INCREF(clock);
    *kept = clock;
}

int tracer_begin(struct tracer *self, PyObject *fail, PyObject *clock, PyObject *lun)
{
    clock_keep(&self->clock, clock);
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

void tracer_give_up(struct tracer *self)
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
    return !tracer_is_broken(self) && (!self->one_lun || event->lun == self->lun || self->always >> event->probe & 1);
}

void tracer_take(struct tracer *self, struct event *event)
{
    if (!wants(self, event))
        return;
    Py_INCREF((PyObject *)self); /* to fail takes it out of the set, and the set may be all that keeps it */
    if (self->take(self, event) < 0)
        tracer_give_up(self);
    Py_DECREF((PyObject *)self);
}

void tracer_take_there(struct tracer *self, struct event *event)
{
    if (!wants(self, event) || self->take(self, event) == 0)
        return;
    __atomic_store_n(&self->failed, true, __ATOMIC_RELAXED);
    set_broken(self);
}

/* -- the types */

bool tracer_check(PyObject *object)
{
    for (size_t i = 0; i < type_count; i++)
        if (Py_TYPE(object) == types[i])
            return true;
    return false;
}

int trace_add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);

    if (type == NULL)
        return -1;
    types[type_count++] = (PyTypeObject *)type;
    return PyModule_AddObjectRef(module, name, type);
}

int trace_init(PyObject *module)
{
    ident_name = PyUnicode_InternFromString("ident");
    generation_name = PyUnicode_InternFromString("generation");
    if (ident_name == NULL || generation_name == NULL || marks_init() < 0)
        return -1;
    return trace_set_init(module) < 0 || trace_ring_init(module) < 0 || trace_sums_init(module) < 0
                   || trace_provider_init(module) < 0
               ? -1
               : 0;
}
