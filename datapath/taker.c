/*
 * Readable events of a connection that nobody but its data path had to do with in its last turn: the event loop calls
 * "take" in place of TcpConnection.on_event, which is some ten calls of Python's for each. Whatever is not as that turn
 * left it goes to on_event: another event, memory that is tight, or a connection that is not "alone" any more.
 */
#include "taker.h"

#include "clock.h"
#include "path.h"
#include "turn.h"
#include "words.h"

enum { READ_EVENT = 1 }; /* READ of poller.py */

/* "buffers": the loop's, which have a chunk for a turn and the account. "left": called with what a turn leaves. */
struct taker {
    PyObject_HEAD
    struct path *path;
    PyObject *buffers, *on_event, *left;
    size_t budget;
    int fd;
};

static PyTypeObject *taker_type;
static PyObject *turn_chunk_name, *reserved_name, *tight_from_name;

/* Whether more than tight_from is reserved: 1, 0, or -1 with an exception. */
static int is_tight(PyObject *buffers)
{
    PyObject *reserved = PyObject_GetAttr(buffers, reserved_name), *limit = PyObject_GetAttr(buffers, tight_from_name);
    int result = reserved == NULL || limit == NULL ? -1 : PyObject_RichCompareBool(reserved, limit, Py_GT);

    Py_XDECREF(reserved);
    Py_XDECREF(limit);
    return result;
}

static PyObject *turn_of(const struct taker *taker, uint64_t now)
{
    PyObject *chunk = PyObject_GetAttr(taker->buffers, turn_chunk_name), *result;

    if (chunk == NULL)
        return NULL;
    result = turn_take(taker->path, taker->fd, chunk, 0, taker->budget, now);
    Py_DECREF(chunk);
    return result;
}

/* What the turn has raised, as an object that "left" raises again. */
static PyObject *raised(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* take(what): an event. */
static PyObject *taker_take(PyObject *self, PyObject *what)
{
    const struct taker *taker = (const struct taker *)self;
    uint64_t now = monotonic_now();
    PyObject *left = NULL, *result;
    int tight = 1;

    if (taker->path->alone && PyLong_AsLong(what) == READ_EVENT && (tight = is_tight(taker->buffers)) == 0) {
        left = turn_of(taker, now);
        if (left == Py_None)
            return left;
        if (left == NULL)
            left = raised();
    }
    if (tight < 0)
        return NULL;
    taker->path->alone = 0;
    if (left == NULL || left == Py_False)
        result = PyObject_CallFunctionObjArgs(taker->on_event, what, NULL);
    else
        result = PyObject_CallFunction(taker->left, "OK", left, (unsigned long long)now);
    Py_XDECREF(left);
    return result;
}

static int taker_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct taker *taker = (struct taker *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)taker->path);
    Py_VISIT(taker->buffers);
    Py_VISIT(taker->on_event);
    Py_VISIT(taker->left);
    return 0;
}

static int taker_clear(PyObject *self)
{
    struct taker *taker = (struct taker *)self;

    Py_CLEAR(taker->buffers);
    Py_CLEAR(taker->on_event);
    Py_CLEAR(taker->left);
    return 0;
}

static void taker_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)taker_clear(self);
    Py_XDECREF((PyObject *)((struct taker *)self)->path);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"take", taker_take, METH_O, "Take an event."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What takes a connection's events while only its data path has to do with it."},
    {Py_tp_dealloc, (void *)taker_dealloc},
    {Py_tp_traverse, (void *)taker_traverse},
    {Py_tp_clear, (void *)taker_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Taker",
    .basicsize = sizeof(struct taker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

PyObject *path_events(PyObject *self, PyObject *args)
{
#ifdef __linux__
    struct taker *taker;
    PyObject *take, *buffers, *on_event, *left;
    Py_ssize_t budget;
    int fd;

    if (!PyArg_ParseTuple(args, "iOnOO:events", &fd, &buffers, &budget, &on_event, &left))
        return NULL;
    taker = (struct taker *)PyType_GenericAlloc(taker_type, 0);
    if (taker == NULL)
        return NULL;
    taker->path = (struct path *)Py_NewRef(self);
    taker->buffers = Py_NewRef(buffers);
    taker->on_event = Py_NewRef(on_event);
    taker->left = Py_NewRef(left);
    taker->budget = budget < 0 ? 0 : (size_t)budget;
    taker->fd = fd;
    take = PyObject_GetAttrString((PyObject *)taker, "take");
    Py_DECREF((PyObject *)taker);
    return take;
#else
    (void)self;
    (void)args;
    Py_RETURN_NONE; /* time.monotonic_ns has another clock there */
#endif
}

int taker_init(void)
{
    turn_chunk_name = PyUnicode_InternFromString("turn_chunk");
    reserved_name = PyUnicode_InternFromString("reserved");
    tight_from_name = PyUnicode_InternFromString("tight_from");
    taker_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return turn_chunk_name == NULL || reserved_name == NULL || tight_from_name == NULL || taker_type == NULL ? -1 : 0;
}
