/*
 * What has ended, in whatever thread, goes onto a stack without a lock, and lands when the event loop looks there: at the
 * end of the backstore's "reap". A thread that finds the stack empty makes the backstore's descriptor readable; in the
 * loop's own thread that is only needed within "submit", for else "reap" is what runs.
 */
#include "carrier.h"

#include "flights.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct carrier {
    PyObject_HEAD
    struct air air;
    PyObject *capsule;
    const struct iscsitools_carrier *offer;
    int fd;          /* an eventfd, of the backstore */
    pthread_t loop;  /* the thread that made it, and that alone submits and lands */
    bool submitting; /* its own */
    uint64_t count;
    _Atomic(struct flight *) ended;
};

PyTypeObject *carrier_type;

static struct carrier *carrier_of(struct air *air)
{
    return (struct carrier *)(void *)((char *)air - offsetof(struct carrier, air));
}

struct air *carrier_air(PyObject *carrier)
{
    return &((struct carrier *)carrier)->air;
}

/* Onto the stack; whether it was empty. From then on the flight is the loop's, and the carrier may go with it. */
static bool push(struct carrier *carrier, struct flight *flight)
{
    struct flight *before = atomic_load_explicit(&carrier->ended, memory_order_relaxed);

    do
        flight->next_ended = before;
    while (!atomic_compare_exchange_weak_explicit(&carrier->ended, &before, flight, memory_order_acq_rel,
                                                  memory_order_relaxed));
    return before == NULL;
}

static void call_ended(struct iscsitools_call *call, int64_t result)
{
    struct flight *flight = (struct flight *)(void *)((char *)call - offsetof(struct flight, call));
    struct carrier *carrier = carrier_of(flight->air);
    bool quiet = pthread_equal(carrier->loop, pthread_self()) && !carrier->submitting;
    int fd = carrier->fd;
    uint64_t one = 1;

    flight->result = result;
    if (push(carrier, flight) && !quiet)
        (void)!write(fd, &one, sizeof one);
}

/* -- what flights.c asks for */

static bool find_memory(struct air *Py_UNUSED(air), struct flight *flight)
{
    struct operation *operation = &flight->operation;

    operation->memory = malloc(operation->length);
    operation->own = operation->memory != NULL;
    return operation->own;
}

static int start(struct air *air, struct flight *flight)
{
    struct carrier *carrier = carrier_of(air);
    const struct operation *operation = &flight->operation;
    int failed;

    flight->call = (struct iscsitools_call){
        .operation = flight->writes ? ISCSITOOLS_WRITE : ISCSITOOLS_READ,
        .durable = flight->durable,
        .offset = operation->offset,
        .length = operation->length,
        .memory = operation->memory,
        .ended = call_ended,
    };
    Py_INCREF((PyObject *)carrier);
    carrier->count++;
    carrier->submitting = true;
    failed = carrier->offer->submit(carrier->offer->store, &flight->call);
    carrier->submitting = false;
    if (failed != 0) {
        carrier->count--;
        Py_DECREF((PyObject *)carrier);
    }
    return failed > 0 ? -failed : failed;
}

/* One that is refused now has ended: who has it then asks the backstore's "submit", or learns why. */
static bool start_waiting(struct air *air, struct flight *flight)
{
    struct carrier *carrier = carrier_of(air);
    int failed = start(air, flight);

    if (failed != 0) {
        Py_INCREF((PyObject *)carrier);
        carrier->count++;
        flight->result = failed;
        (void)push(carrier, flight); /* reap, which is why this is called, looks again */
    }
    return true;
}

/* -- the type */

/* Turn the stack round: what has ended first lands first. */
static struct flight *take_ended(struct carrier *carrier)
{
    struct flight *newest = atomic_exchange_explicit(&carrier->ended, NULL, memory_order_acq_rel), *first = NULL;

    while (newest != NULL) {
        struct flight *before = newest->next_ended;
        newest->next_ended = first;
        first = newest;
        newest = before;
    }
    return first;
}

static PyObject *carrier_reap(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct carrier *carrier = (struct carrier *)self;
    PyObject *results = carrier->air.results, *next = PyList_New(0);
    struct flight *flight;

    if (next == NULL)
        return NULL;
    flights_reapings++;
    while ((flight = take_ended(carrier)) != NULL)
        while (flight != NULL) {
            struct flight *after = flight->next_ended;
            flight_land(&flight->operation, flight->result);
            carrier->count--;
            Py_DECREF(self); /* the flight's; the caller has one too */
            flight = after;
        }
    carrier->air.results = next;
    return results;
}

static PyObject *get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load(&((struct carrier *)self)->ended) != NULL);
}

static PyObject *get_under_way(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((struct carrier *)self)->count);
}

static PyObject *carrier_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"capsule", "fd", NULL};
    const struct iscsitools_carrier *offer;
    struct carrier *carrier;
    PyObject *capsule;
    int fd;

    if (!PyArg_ParseTupleAndKeywords(args, named, "Oi:Carrier", names, &capsule, &fd))
        return NULL;
    offer = PyCapsule_GetPointer(capsule, ISCSITOOLS_CARRIER);
    if (offer == NULL)
        return NULL;
    carrier = (struct carrier *)PyType_GenericAlloc(type, 0);
    if (carrier == NULL)
        return NULL;
    carrier->air = (struct air){
        .results = PyList_New(0), .longest = SLOT_LENGTH, .find_memory = find_memory, .start = start,
        .start_waiting = start_waiting,
    };
    carrier->capsule = Py_NewRef(capsule);
    carrier->offer = offer;
    carrier->fd = fd;
    carrier->loop = pthread_self();
    if (carrier->air.results == NULL)
        Py_CLEAR(carrier);
    return (PyObject *)carrier;
}

static void carrier_dealloc(PyObject *self)
{
    struct carrier *carrier = (struct carrier *)self;
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(carrier->air.results);
    Py_XDECREF(carrier->capsule);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"reap", carrier_reap, METH_NOARGS, "Land what has ended: pairs of a call and a result, to be told."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"waiting", get_waiting, NULL, "Whether reap has something to do.", NULL},
    {"under_way", get_under_way, NULL, "Calls that have not landed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "READs and WRITEs by a capsule of a backstore; see iscsitools.backstores.carrier."},
    {Py_tp_new, (void *)carrier_new},
    {Py_tp_dealloc, (void *)carrier_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Carrier",
    .basicsize = sizeof(struct carrier),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int carrier_init(PyObject *module)
{
    carrier_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return carrier_type == NULL ? -1 : PyModule_AddObjectRef(module, "Carrier", (PyObject *)carrier_type);
}
