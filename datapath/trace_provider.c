/* The type ProviderTracer: fires the probes of the system's tracers, through the calls that the provider's module lends. */
#include "../provider/calls.h"
#include "trace.h"

struct provider {
    struct tracer base;
    PyObject *capsule; /* keeps the calls */
    const struct calls *calls;
};

/* In a data thread: by a copy of the connection's strings, and with arguments of its own. */
static void fire_there(const struct calls *calls, const struct event *event)
{
    const struct xfer *xfer = &event->xfer;

    if (event->bhs != NULL)
        calls->pdu_of(event->probe, event->place, event->lun, event->bhs, event->cdb, event->cdb_length);
    else
        calls->xfer_of(event->probe, event->place, event->lun, xfer->itt, xfer->ttt, xfer->address, xfer->offset,
                       xfer->length, xfer->kind);
}

static int take(struct tracer *self, struct event *event)
{
    const struct calls *calls = ((struct provider *)self)->calls;
    const struct xfer *xfer = &event->xfer;
    PyObject *info = event->source->info;

    if (event->place != NULL) {
        fire_there(calls, event);
        return 0;
    }
    if (event->bhs != NULL)
        return calls->pdu(event->probe, info, event->lun, event->bhs, event->cdb, event->cdb_length);
    return calls->xfer(event->probe, info, event->lun, xfer->itt, xfer->ttt, xfer->address, xfer->offset, xfer->length,
                       xfer->kind);
}

static int open_copy(struct tracer *self, const struct source *source, struct user *Py_UNUSED(user), void **place)
{
    *place = ((struct provider *)self)->calls->open(source->info);
    return *place == NULL ? -1 : 1;
}

static void close_copy(struct tracer *self, void *place)
{
    ((struct provider *)self)->calls->close(place);
}

static PyObject *provider_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"calls", "fail", NULL};
    PyObject *self, *capsule, *fail;
    const struct calls *calls;

    if (!PyArg_ParseTupleAndKeywords(args, named, "OO:ProviderTracer", names, &capsule, &fail))
        return NULL;
    calls = PyCapsule_GetPointer(capsule, CALLS_CAPSULE);
    self = calls == NULL ? NULL : PyType_GenericAlloc(type, 0);
    if (self != NULL && tracer_begin((struct tracer *)self, fail, Py_None, Py_None) == 0) {
        Py_INCREF(capsule);
        ((struct provider *)self)->capsule = capsule;
        ((struct provider *)self)->calls = calls;
        ((struct tracer *)self)->take = take;
        ((struct tracer *)self)->open = open_copy;
        ((struct tracer *)self)->close = close_copy;
        ((struct tracer *)self)->at_once = true;
    }
    return self;
}

static int provider_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct provider *)self)->capsule);
    return tracer_visit((struct tracer *)self, visit, arg);
}

static int provider_clear(PyObject *self)
{
    tracer_end((struct tracer *)self);
    Py_CLEAR(((struct provider *)self)->capsule);
    return 0;
}

static void provider_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    provider_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    TRACER_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Fires the provider's probes: ProviderTracer(calls, fail)."},
    {Py_tp_new, (void *)provider_new},
    {Py_tp_dealloc, (void *)provider_dealloc},
    {Py_tp_traverse, (void *)provider_traverse},
    {Py_tp_clear, (void *)provider_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.ProviderTracer",
    .basicsize = sizeof(struct provider),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int trace_provider_init(PyObject *module)
{
    return trace_add_type(module, "ProviderTracer", &spec);
}
