/* The type DataPath: what framing, session and requests tell it, and its numbers as attributes. */
#include "path.h"

#include "consume.h"
#include "crc32c.h"
#include "words.h"

static PyObject *data_name, *view_name;

static int fill(struct path *path, PyObject *receive, PyObject *info, PyObject *probes)
{
    PyObject *collections = PyImport_ImportModule("collections");

    if (collections == NULL)
        return -1;
    path->marks = PyObject_CallMethod(collections, "deque", NULL);
    Py_DECREF(collections);
    path->tags = (struct tags *)tags_new();
    path->receive_view = PyMemoryView_FromObject(receive);
    if (path->marks == NULL || path->tags == NULL || path->receive_view == NULL)
        return -1;
    if (PyObject_GetBuffer(receive, &path->receive, PyBUF_WRITABLE) < 0)
        return -1;
    Py_INCREF(info);
    Py_INCREF(probes);
    Py_INCREF(Py_None);
    path->info = info;
    path->probes = probes;
    path->mapped = Py_None;
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

/* -- methods */

int path_check_open(const struct path *path)
{
    if (path->chunk_object == NULL || path->busy)
        PyErr_SetString(PyExc_RuntimeError, path->busy ? "it is being served" : "there is no open chunk");
    else if (path->tail > (uint64_t)path->chunk.len)
        PyErr_SetString(PyExc_ValueError, "the tail is behind the chunk");
    else
        return 0;
    return -1;
}

static PyObject *next_statsn(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct path *path = (struct path *)self;
    uint64_t number = path->statsn;

    path->statsn = (uint32_t)(number + 1);
    return PyLong_FromUnsignedLongLong(number);
}

static PyObject *advance(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct path *path = (struct path *)self;

    path->exp_cmdsn = (uint32_t)(path->exp_cmdsn + 1);
    Py_RETURN_NONE;
}

static PyObject *continue_numbers(PyObject *self, PyObject *other)
{
    static const char *const names[] = {"exp_cmdsn", "commands"};

    for (int i = 0; i < 2; i++) {
        PyObject *value = PyObject_GetAttrString(other, names[i]);
        int failed = value == NULL || PyObject_SetAttrString(self, names[i], value) < 0;
        Py_XDECREF(value);
        if (failed)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *agree(PyObject *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"max_send", "max_burst", "immediate", NULL};
    struct path *path = (struct path *)self;
    unsigned long long max_send, max_burst, immediate;

    if (!PyArg_ParseTupleAndKeywords(args, named, "KKK:agree", names, &max_send, &max_burst, &immediate))
        return NULL;
    path->largest_read = max_send < max_burst ? max_send : max_burst;
    if (path->largest_read > LARGEST_READ)
        path->largest_read = LARGEST_READ;
    path->largest_in_parts = path->largest_read;
    if (!path->header_digest && !path->data_digest && !(max_send & 3) && !(max_burst & 3) && path->largest_read)
        path->largest_in_parts = LARGEST_READ;
    path->max_send = max_send;
    path->max_burst = max_burst;
    path->largest_write = immediate;
    Py_RETURN_NONE;
}

static PyObject *open_gate(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct path *path = (struct path *)self;
    uint64_t lun;

    if (count != 2 || !PyObject_TypeCheck(args[1], gate_type))
        return PyErr_Format(PyExc_TypeError, "takes a LUN and a gate of this module");
    if (path->busy)
        return PyErr_Format(PyExc_RuntimeError, "it is being served");
    if (number_of(args[0], UINT64_MAX, &lun) < 0 || gates_set(&path->gates, lun, (struct gate *)args[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *header_intact(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    const struct path *path = (struct path *)self;
    const uint8_t *bytes = path->receive.buf;
    uint64_t pos, length, most = (uint64_t)path->receive.len - DIGEST_LENGTH;
    uint8_t digest[DIGEST_LENGTH];

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "takes 2 arguments, not %zd", count);
    if (number_of(args[0], most, &pos) < 0 || number_of(args[1], most - pos, &length) < 0)
        return NULL;
    put_digest(digest, crc32c(0, bytes + pos, length));
    return PyBool_FromLong(memcmp(digest, bytes + pos + length, DIGEST_LENGTH) == 0);
}

/* -- attributes */

static PyObject *get_object(PyObject *self, void *offset)
{
    PyObject *found = *(PyObject **)(void *)((char *)self + (size_t)(uintptr_t)offset);

    if (found == NULL)
        found = Py_None;
    Py_INCREF(found);
    return found;
}

static int set_mapped(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *old = ((struct path *)self)->mapped;

    if (value == NULL)
        value = Py_None;
    Py_INCREF(value);
    ((struct path *)self)->mapped = value;
    Py_XDECREF(old);
    return 0;
}

static void leave_chunk(struct path *path)
{
    if (path->chunk.obj != NULL)
        PyBuffer_Release(&path->chunk);
    Py_CLEAR(path->chunk_view);
    Py_CLEAR(path->chunk_object);
}

static int enter_chunk(struct path *path, PyObject *chunk)
{
    PyObject *data = PyObject_GetAttr(chunk, data_name);
    int failed = data == NULL || PyObject_GetBuffer(data, &path->chunk, PyBUF_WRITABLE) < 0;

    Py_XDECREF(data);
    if (failed)
        return -1;
    path->chunk_view = PyObject_GetAttr(chunk, view_name);
    Py_INCREF(chunk);
    path->chunk_object = chunk;
    if (path->chunk_view == NULL || path->chunk.len < SMALLEST_CHUNK) {
        if (path->chunk_view != NULL)
            PyErr_SetString(PyExc_ValueError, "the chunk is too small");
        leave_chunk(path);
        return -1;
    }
    return 0;
}

static int set_chunk(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    struct path *path = (struct path *)self;

    if (path->busy) {
        PyErr_SetString(PyExc_RuntimeError, "it is being served");
        return -1;
    }
    leave_chunk(path);
    return value == NULL || value == Py_None ? 0 : enter_chunk(path, value);
}

static PyObject *get_max_cmdsn(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(max_cmdsn_of((struct path *)self));
}

static PyObject *get_receive(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *receive = ((struct path *)self)->receive.obj;

    Py_INCREF(receive);
    return receive;
}

/* -- the type */

static int path_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct path *path = (struct path *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(path->receive.obj);
    Py_VISIT(path->receive_view);
    Py_VISIT(path->info);
    Py_VISIT(path->probes);
    Py_VISIT(path->marks);
    Py_VISIT(path->mapped);
    Py_VISIT(path->chunk_object);
    Py_VISIT(path->chunk_view);
    Py_VISIT(path->chunk.obj);
    return gates_visit(&path->gates, visit, arg);
}

static int path_clear(PyObject *self)
{
    struct path *path = (struct path *)self;

    leave_chunk(path);
    gates_clear(&path->gates);
    Py_CLEAR(path->mapped);
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
    Py_XDECREF(path->marks);
    Py_XDECREF((PyObject *)path->tags);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"consume", (PyCFunction)(void (*)(void))path_consume, METH_FASTCALL, "Serve the PDUs of the receive buffer."},
    {"write_in_place", (PyCFunction)(void (*)(void))path_write_in_place, METH_FASTCALL,
     "Answer a WRITE whose data was received elsewhere."},
    {"next_statsn", next_statsn, METH_NOARGS, "The StatSN of a response that is being made."},
    {"advance", advance, METH_NOARGS, "A request that was next has been taken, not by this path."},
    {"continue_numbers", continue_numbers, METH_O, "Go on with the session of another path."},
    {"agree", (PyCFunction)(void (*)(void))agree, METH_VARARGS | METH_KEYWORDS, "What was agreed on, in bytes."},
    {"open_gate", (PyCFunction)(void (*)(void))open_gate, METH_FASTCALL, "Serve commands to a LUN by a gate."},
    {"header_intact", (PyCFunction)(void (*)(void))header_intact, METH_FASTCALL, "Whether a header's digest is right."},
    {NULL, NULL, 0, NULL},
};

static struct word exp_cmdsn = {offsetof(struct path, exp_cmdsn), UINT32_MAX};
static struct word window = {offsetof(struct path, window), UINT32_MAX};
static struct word statsn = {offsetof(struct path, statsn), UINT32_MAX};
static struct word in_order = {offsetof(struct path, in_order), 1};
static struct word header_digest = {offsetof(struct path, header_digest), 1};
static struct word data_digest = {offsetof(struct path, data_digest), 1};
static struct word tail = {offsetof(struct path, tail), UINT32_MAX};
static struct word chunk_begin = {offsetof(struct path, chunk_begin), UINT64_MAX};
static struct word commands = {offsetof(struct path, commands), UINT64_MAX};
static struct word read_bytes = {offsetof(struct path, read_bytes), UINT64_MAX};
static struct word written_bytes = {offsetof(struct path, written_bytes), UINT64_MAX};
static struct word fired = {offsetof(struct path, fired), UINT64_MAX};

/* Where an object stands in its path: a closure of get_object. */
#define PLACE(member) ((void *)offsetof(struct path, member))

static PyGetSetDef attributes[] = {
    {"exp_cmdsn", word_get, word_set, NULL, &exp_cmdsn},
    {"window", word_get, word_set, NULL, &window},
    {"statsn", word_get, word_set, NULL, &statsn},
    {"max_cmdsn", get_max_cmdsn, NULL, NULL, NULL},
    {"in_order", flag_get, flag_set, NULL, &in_order},
    {"header_digest", flag_get, flag_set, NULL, &header_digest},
    {"data_digest", flag_get, flag_set, NULL, &data_digest},
    {"tail", word_get, word_set, NULL, &tail},
    {"chunk_begin", word_get, word_set, NULL, &chunk_begin},
    {"commands", word_get, word_set, NULL, &commands},
    {"read_bytes", word_get, word_set, NULL, &read_bytes},
    {"written_bytes", word_get, word_set, NULL, &written_bytes},
    {"fired", word_get, word_set, NULL, &fired},
    {"receive", get_receive, NULL, NULL, NULL},
    {"info", get_object, NULL, NULL, PLACE(info)},
    {"probes", get_object, NULL, NULL, PLACE(probes)},
    {"marks", get_object, NULL, NULL, PLACE(marks)},
    {"tags", get_object, NULL, NULL, PLACE(tags)},
    {"chunk", get_object, set_chunk, NULL, PLACE(chunk_object)},
    {"mapped", get_object, set_mapped, NULL, PLACE(mapped)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The hot state of one connection; see iscsitools.iscsi.connection.datapath."},
    {Py_tp_new, (void *)path_new},
    {Py_tp_dealloc, (void *)path_dealloc},
    {Py_tp_traverse, (void *)path_traverse},
    {Py_tp_clear, (void *)path_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
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

    data_name = PyUnicode_InternFromString("data");
    view_name = PyUnicode_InternFromString("view");
    if (type != NULL && data_name != NULL && view_name != NULL)
        result = PyModule_AddObjectRef(module, "DataPath", type);
    Py_XDECREF(type);
    return result;
}
