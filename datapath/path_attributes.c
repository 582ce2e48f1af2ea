/* The attributes of DataPath: its numbers, its objects, and the open chunk. */
#include "guest.h"
#include "words.h"

static PyObject *data_name, *view_name;

static PyObject *get_object(PyObject *self, void *offset)
{
    PyObject *found = *(PyObject **)(void *)((char *)self + (size_t)(uintptr_t)offset);

    if (found == NULL)
        found = Py_None;
    Py_INCREF(found);
    return found;
}

void path_leave_chunk(struct path *path)
{
    if (path->chunk.obj != NULL)
        PyBuffer_Release(&path->chunk);
    Py_CLEAR(path->chunk_view);
    Py_CLEAR(path->chunk_object);
}

int path_enter_chunk(struct path *path, PyObject *chunk)
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
        path_leave_chunk(path);
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
    path_leave_chunk(path);
    return value == NULL || value == Py_None ? 0 : path_enter_chunk(path, value);
}

static PyObject *get_max_cmdsn(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(max_cmdsn_of((struct path *)self));
}

static PyObject *get_waiting_since(PyObject *self, void *Py_UNUSED(closure))
{
    const struct path *path = (const struct path *)self;

    return PyLong_FromUnsignedLongLong(path->guest == NULL ? transfers_since(&path->transfers) : path->guest->since);
}

/* By when the data segment on its way has to be there; 0: there is none. */
static PyObject *get_segment_by(PyObject *self, void *Py_UNUSED(closure))
{
    const struct arriving *arriving = &((const struct path *)self)->arriving;

    return PyLong_FromUnsignedLongLong(arriving->buffer == NULL ? 0 : arriving->by);
}

static PyObject *get_receive(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *receive = ((struct path *)self)->receive.obj;

    Py_INCREF(receive);
    return receive;
}

static PyObject *get_true(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_TRUE;
}

static struct word exp_cmdsn = {offsetof(struct path, exp_cmdsn), UINT32_MAX};
static struct word window = {offsetof(struct path, window), UINT32_MAX};
static struct word statsn = {offsetof(struct path, statsn), UINT32_MAX};
static struct word in_order = {offsetof(struct path, in_order), 1};
static struct word header_digest = {offsetof(struct path, header_digest), 1};
static struct word data_digest = {offsetof(struct path, data_digest), 1};
static struct word tail = {offsetof(struct path, tail), UINT32_MAX};
static struct word chunk_begin = {offsetof(struct path, chunk_begin), UINT64_MAX};
static struct word sent = {offsetof(struct path, sent), UINT64_MAX};
static struct word commands = {offsetof(struct path, commands), UINT64_MAX};
static struct word read_bytes = {offsetof(struct path, read_bytes), UINT64_MAX};
static struct word written_bytes = {offsetof(struct path, written_bytes), UINT64_MAX};
static struct word fired = {offsetof(struct path, fired), UINT64_MAX};

static struct word ttt = {offsetof(struct path, ttt), UINT32_MAX - 1};
static struct word now = {offsetof(struct path, now), UINT64_MAX};
static struct word alone = {offsetof(struct path, alone), 1};
static struct word heard = {offsetof(struct path, heard), UINT64_MAX};
static struct word waiting = {offsetof(struct path, waiting), UINT64_MAX};
static struct word flying = {offsetof(struct path, flights.count), UINT64_MAX};
static struct word pending = {offsetof(struct path, transfers.count), UINT64_MAX};
static struct word awaited = {offsetof(struct path, transfers.awaited), UINT64_MAX};

/* Where an object stands in its path: a closure of get_object. */
#define PLACE(member) ((void *)offsetof(struct path, member))

PyGetSetDef path_attributes[] = {
    {"exp_cmdsn", word_get, word_set, NULL, &exp_cmdsn},
    {"window", word_get, word_set, NULL, &window},
    {"statsn", word_get, word_set, NULL, &statsn},
    {"max_cmdsn", get_max_cmdsn, NULL, NULL, NULL},
    {"in_order", flag_get, flag_set, NULL, &in_order},
    {"header_digest", flag_get, flag_set, NULL, &header_digest},
    {"data_digest", flag_get, flag_set, NULL, &data_digest},
    {"tail", word_get, word_set, NULL, &tail},
    {"chunk_begin", word_get, word_set, NULL, &chunk_begin},
    {"sent", word_get, word_set, NULL, &sent},
    {"turns", get_true, NULL, NULL, NULL},
    {"commands", word_get, word_set, NULL, &commands},
    {"read_bytes", word_get, word_set, NULL, &read_bytes},
    {"written_bytes", word_get, word_set, NULL, &written_bytes},
    {"fired", word_get, word_set, NULL, &fired},
    {"ttt", word_get, word_set, NULL, &ttt},
    {"now", word_get, word_set, NULL, &now},
    {"alone", flag_get, flag_set, NULL, &alone},
    {"heard", word_get, NULL, NULL, &heard},
    {"transfers", word_get, NULL, NULL, &pending},
    {"awaited", word_get, NULL, NULL, &awaited},
    {"waiting", word_get, NULL, NULL, &waiting},
    {"flights", word_get, NULL, NULL, &flying},
    {"waiting_since", get_waiting_since, NULL, NULL, NULL},
    {"segment_by", get_segment_by, NULL, NULL, NULL},
    {"receive", get_receive, NULL, NULL, NULL},
    {"info", get_object, NULL, NULL, PLACE(info)},
    {"probes", get_object, NULL, NULL, PLACE(probes)},
    {"marks", get_object, NULL, NULL, PLACE(marks)},
    {"tags", get_object, NULL, NULL, PLACE(tags)},
    {"chunk", get_object, set_chunk, NULL, PLACE(chunk_object)},
    {NULL, NULL, NULL, NULL, NULL},
};

int path_attributes_init(void)
{
    data_name = PyUnicode_InternFromString("data");
    view_name = PyUnicode_InternFromString("view");
    return data_name == NULL || view_name == NULL ? -1 : 0;
}
