/* The type DataThread, as iscsitools.server.data_threads uses it. All of it runs under the interpreter's lock. */
#ifdef __linux__ /* by epoll and eventfd */
#include "data_thread.h"

#include "ring.h"

#include "words.h"

#include <errno.h>
#include <time.h>

enum { PATIENCE = 100000000 /* nanoseconds */ };

static PyTypeObject *path_type;

static PyObject *new_thread(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {NULL};
    struct data_thread *thread;
    int error;

    if (!PyArg_ParseTupleAndKeywords(args, named, ":DataThread", names))
        return NULL;
    thread = (struct data_thread *)PyType_GenericAlloc(type, 0);
    if (thread == NULL)
        return NULL;
    thread->draw = 1;
    thread->patience = PATIENCE;
    error = data_thread_start(thread);
    if (error != 0) {
        Py_DECREF((PyObject *)thread);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)thread;
}

/* The path of an argument, with an exception when it is none, or is not where it has to be. */
static struct path *path_of(PyObject *object, bool lent)
{
    struct path *path = (struct path *)object;

    if (!PyObject_TypeCheck(object, path_type))
        PyErr_SetString(PyExc_TypeError, "not a path of this module");
    else if ((path->guest != NULL) != lent || (!lent && path->busy))
        PyErr_SetString(PyExc_RuntimeError, lent ? "no data thread has it" : "it is being served");
    else
        return path;
    return NULL;
}

/*
 * lend(path, fd, owner, input, tracers): serve a connection from now on, of which "input" has been received already;
 * "tracers": a set of this thread's own, into which its events fire, or None.
 */
static PyObject *lend(PyObject *self, PyObject *args)
{
    struct data_thread *thread = (struct data_thread *)self;
    PyObject *object, *owner, *tracers;
    struct path *path;
    struct guest *guest;
    Py_buffer input;
    int fd;

    if (!PyArg_ParseTuple(args, "OiOy*O:lend", &object, &fd, &owner, &input, &tracers))
        return NULL;
    path = path_of(object, false);
    if (path != NULL && (!thread->running || path->chunk_object != NULL || path->flights.count != 0)) {
        PyErr_SetString(PyExc_ValueError, "it has output or commands in the disk, or the thread has ended");
        path = NULL;
    }
    guest = path == NULL ? NULL : guest_new(path, fd, owner, &input, tracers, thread->user);
    PyBuffer_Release(&input);
    if (guest == NULL)
        return NULL;
    data_thread_lend(thread, guest);
    Py_RETURN_NONE;
}

/* recall(path): call a connection back; what take_back() says of it. */
static PyObject *recall(PyObject *self, PyObject *object)
{
    struct path *path = path_of(object, true);

    if (path == NULL)
        return NULL;
    if (path->guest->thread != (struct data_thread *)self)
        return PyErr_Format(PyExc_ValueError, "another thread has it");
    data_thread_recall((struct data_thread *)self, path->guest);
    return guest_take_home(path->guest);
}

/* take_back(): of each connection that has gone back: its owner, input and output that are left, bytes put in all. */
static PyObject *take_back(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct guest *guest = data_thread_gone((struct data_thread *)self);
    PyObject *list = PyList_New(0);

    while (guest != NULL && list != NULL) {
        struct guest *next = guest->next;
        PyObject *home = guest_take_home(guest);
        if (home == NULL || PyList_Append(list, home) < 0)
            Py_CLEAR(list);
        Py_XDECREF(home);
        guest = next;
    }
    return list;
}

/* landed(): commands of connections that have gone back before, which the disk has done with; as what Ring.reap returns. */
static PyObject *landed(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct data_thread *thread = (struct data_thread *)self;
    PyObject *results, *next = PyList_New(0);

    if (next == NULL || thread->ring == NULL)
        return next;
    data_thread_settle(thread);
    results = thread->ring->air.results;
    thread->ring->air.results = next;
    return results;
}

/* forget(fd): a file is going to be closed, and no thread is at it. */
static PyObject *forget(PyObject *self, PyObject *args)
{
    struct data_thread *thread = (struct data_thread *)self;
    int fd;

    if (!PyArg_ParseTuple(args, "i:forget", &fd))
        return NULL;
    if (thread->ring != NULL)
        ring_forget(thread->ring, fd);
    Py_RETURN_NONE;
}

static PyObject *fileno_of(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(((struct data_thread *)self)->ready);
}

static PyObject *end(PyObject *self, PyObject *Py_UNUSED(unused))
{
    if (!data_thread_end((struct data_thread *)self))
        Py_INCREF(self);
    Py_RETURN_NONE;
}

static PyObject *get_guests(PyObject *self, void *Py_UNUSED(closure))
{
    struct data_thread *thread = (struct data_thread *)self;
    unsigned long long guests;

    pthread_mutex_lock(&thread->lock);
    guests = thread->guests;
    pthread_mutex_unlock(&thread->lock);
    return PyLong_FromUnsignedLongLong(guests);
}

static PyObject *get_cpu(PyObject *self, void *Py_UNUSED(closure))
{
    struct data_thread *thread = (struct data_thread *)self;
    struct timespec time = {0, 0};
    clockid_t clock;

    if (thread->running && pthread_getcpuclockid(thread->thread, &clock) == 0)
        clock_gettime(clock, &time);
    return PyLong_FromLongLong((long long)time.tv_sec * 1000000000 + time.tv_nsec);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (data_thread_end((struct data_thread *)self))
        PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"lend", lend, METH_VARARGS, "Serve a connection from now on."},
    {"recall", recall, METH_O, "Call a connection back."},
    {"take_back", take_back, METH_NOARGS, "The connections that have gone back."},
    {"landed", landed, METH_NOARGS, "Calls to be made for commands that have ended behind such connections."},
    {"forget", forget, METH_VARARGS, "A file is going to be closed."},
    {"fileno", fileno_of, METH_NOARGS, "A descriptor that can be read when connections have gone back."},
    {"end", end, METH_NOARGS, "End the thread, which has no connections any more."},
    {NULL, NULL, 0, NULL},
};

/* A number that its thread reads meanwhile. */
static int set_number(PyObject *self, PyObject *value, void *word)
{
    const struct word *place = word;
    uint64_t number;

    if (value == NULL)
        PyErr_SetString(PyExc_TypeError, "it cannot be deleted");
    if (value == NULL || number_of(value, place->most, &number) < 0)
        return -1;
    word_store((uint64_t *)(void *)((char *)self + place->offset), number);
    return 0;
}

static struct word busy_poll = {offsetof(struct data_thread, busy_poll), UINT32_MAX};
static struct word patience = {offsetof(struct data_thread, patience), INT64_MAX};

static PyGetSetDef attributes[] = {
    {"busy_poll", word_get, set_number, "For how many nanoseconds it looks again, before it sleeps.", &busy_poll},
    {"patience", word_get, set_number, "For how many nanoseconds what flies elsewhere may hold one up.", &patience},
    {"guests", get_guests, NULL, "How many connections it has.", NULL},
    {"cpu", get_cpu, NULL, "Nanoseconds of processor time that it has used.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A data thread; see iscsitools.server.data_threads."},
    {Py_tp_new, (void *)new_thread},
    {Py_tp_dealloc, (void *)dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.DataThread",
    .basicsize = sizeof(struct data_thread),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int data_thread_init(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    int result = -1;

    path_type = (PyTypeObject *)PyObject_GetAttrString(module, "DataPath");
    if (type != NULL && path_type != NULL)
        result = PyModule_AddObjectRef(module, "DataThread", type);
    Py_XDECREF(type);
    return result;
}

#endif
