/* The type DataPath: how it is made, visited and freed. */
#include "path.h"

#include "consume.h"

static int fill(struct path *path, PyObject *receive, PyObject *info, PyObject *probes)
{
    path->marks = (struct marks *)marks_new();
    path->tags = (struct tags *)tags_new();
    path->receive_view = PyMemoryView_FromObject(receive);
    if (path->marks == NULL || path->tags == NULL || path->receive_view == NULL)
        return -1;
    if (PyObject_GetBuffer(receive, &path->receive, PyBUF_WRITABLE) < 0)
        return -1;
    Py_INCREF(info);
    Py_INCREF(probes);
    path->info = info;
    path->probes = probes;
    path->window = 1;
    path->in_order = 1;
    return 0;
}

static PyObject *path_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"receive", "info", "probes", NULL};
    static bool ready;
    PyObject *self, *receive, *info, *probes;

    if (!PyArg_ParseTupleAndKeywords(args, named, "OOO:DataPath", names, &receive, &info, &probes))
        return NULL;
    if (!ready && (fire_init() < 0 || python_init() < 0)) /* not before: Python's modules of them import this one */
        return NULL;
    ready = true;
    self = PyType_GenericAlloc(type, 0);
    if (self != NULL && fill((struct path *)self, receive, info, probes) < 0)
        Py_CLEAR(self);
    return self;
}

static int path_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct path *path = (struct path *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(path->receive.obj);
    Py_VISIT(path->receive_view);
    Py_VISIT(path->info);
    Py_VISIT(path->probes);
    Py_VISIT(path->chunk_object);
    Py_VISIT(path->chunk_view);
    Py_VISIT(path->chunk.obj);
    Py_VISIT(path->memory.reserve);
    Py_VISIT(path->memory.release);
    Py_VISIT(path->memory.take);
    Py_VISIT(path->memory.give);
    Py_VISIT(path->arriving.buffer);
    Py_VISIT(path->flights.make_room);
    Py_VISIT(path->flights.landed);
    /* A data thread's change meanwhile, and refer to nothing of Python. */
    int result = path->guest != NULL ? 0 : transfers_visit(&path->transfers, visit, arg);

    return result ? result : gates_visit(&path->gates, visit, arg);
}

static int path_clear(PyObject *self)
{
    struct path *path = (struct path *)self;

    path_leave_chunk(path);
    transfers_clear(&path->transfers);
    gates_clear(&path->gates);
    Py_CLEAR(path->memory.reserve);
    Py_CLEAR(path->memory.release);
    Py_CLEAR(path->memory.take);
    Py_CLEAR(path->memory.give);
    Py_CLEAR(path->arriving.buffer);
    Py_CLEAR(path->flights.make_room);
    Py_CLEAR(path->flights.landed);
    return 0;
}

static void path_dealloc(PyObject *self)
{
    struct path *path = (struct path *)self;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    path_clear(self);
    if (path->receive.obj != NULL)
        PyBuffer_Release(&path->receive);
    Py_XDECREF(path->receive_view);
    Py_XDECREF(path->info);
    Py_XDECREF(path->probes);
    Py_XDECREF((PyObject *)path->marks);
    Py_XDECREF((PyObject *)path->tags);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_doc, "The hot state of one connection; see iscsitools.iscsi.connection.datapath."},
    {Py_tp_new, (void *)path_new},
    {Py_tp_dealloc, (void *)path_dealloc},
    {Py_tp_traverse, (void *)path_traverse},
    {Py_tp_clear, (void *)path_clear},
    {Py_tp_methods, path_methods},
    {Py_tp_getset, path_attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.DataPath",
    .basicsize = sizeof(struct path),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int path_init(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    int result = -1;

    if (type != NULL && path_attributes_init() == 0)
        result = PyModule_AddObjectRef(module, "DataPath", type);
    Py_XDECREF(type);
    return result;
}
