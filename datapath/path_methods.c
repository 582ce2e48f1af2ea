/* The methods of DataPath beside those that serve: what framing, session and requests tell it. */
#include "path.h"

#include "crc32c.h"
#include "taker.h"
#include "wire.h"
#include "words.h"

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

int path_check_here(const struct path *path)
{
    if (path->guest == NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "a data thread has it");
    return -1;
}

static PyObject *next_statsn(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct path *path = (struct path *)self;
    uint64_t number = path->statsn;

    if (path_check_here(path) < 0)
        return NULL;
    path->statsn = (uint32_t)(number + 1);
    return PyLong_FromUnsignedLongLong(number);
}

static PyObject *advance(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct path *path = (struct path *)self;

    if (path_check_here(path) < 0)
        return NULL;
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

/* Of a READ that is answered by several Data-Ins: as long as all of their headers have room in a chunk beside it. */
static uint64_t largest_in_parts(const struct path *path, uint64_t max_send, uint64_t max_burst)
{
    uint64_t headers;

    if (path->header_digest || path->data_digest || max_send & 3 || max_burst & 3 || path->largest_read == 0)
        return path->largest_read;
    headers = LARGEST_READ / max_send + LARGEST_READ / max_burst + 3;
    return headers * BHS_LENGTH <= SMALLEST_CHUNK - LARGEST_READ ? LARGEST_READ : LARGEST_READ / 2;
}

static PyObject *agree(PyObject *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"max_send", "max_burst", "immediate", "first_burst", "initial_r2t", "outstanding", NULL};
    struct path *path = (struct path *)self;
    unsigned long long max_send, max_burst, immediate, first_burst = 0, outstanding = 0;
    int initial_r2t = 1;

    if (!PyArg_ParseTupleAndKeywords(args, named, "KKK|KpK:agree", names, &max_send, &max_burst, &immediate, &first_burst,
                                     &initial_r2t, &outstanding)
        || path_check_here(path) < 0)
        return NULL;
    path->largest_read = max_send < max_burst ? max_send : max_burst;
    if (path->largest_read > LARGEST_READ)
        path->largest_read = LARGEST_READ;
    path->largest_in_parts = largest_in_parts(path, max_send, max_burst);
    path->max_send = max_send;
    path->max_burst = max_burst;
    path->largest_write = immediate;
    path->first_burst = first_burst;
    path->initial_r2t = initial_r2t != 0;
    path->outstanding = outstanding;
    Py_RETURN_NONE;
}

static PyObject *open_gate(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct path *path = (struct path *)self;
    uint64_t lun;

    if (path_check_here(path) < 0)
        return NULL;
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

PyMethodDef path_methods[] = {
    {"consume", (PyCFunction)(void (*)(void))path_consume, METH_FASTCALL, "Serve the PDUs of the receive buffer."},
    {"turn", (PyCFunction)(void (*)(void))path_turn, METH_FASTCALL, "Receive, serve and send."},
    {"events", path_events, METH_VARARGS, "What takes the events of a socket while nothing else has to do with it."},
    {"write_in_place", (PyCFunction)(void (*)(void))path_write_in_place, METH_FASTCALL,
     "Answer a WRITE whose data was received elsewhere."},
    {"data_in_place", (PyCFunction)(void (*)(void))path_data_in_place, METH_FASTCALL,
     "Take a Data-Out whose data was received in the place that it was given."},
    {"lend_by", path_lend_by, METH_VARARGS, "How the memory of commands that wait for data is held."},
    {"place_for", path_place_for, METH_VARARGS, "Where the data of a Data-Out belongs."},
    {"take_segment", path_take_segment, METH_NOARGS, "Let another receive the rest of a long data segment."},
    {"take_over", path_take_over, METH_O, "Let another take a command that waits for data."},
    {"pending", path_pending, METH_NOARGS, "Tags and unit numbers of the commands that wait for data."},
    {"land_by", path_land_by, METH_VARARGS, "Where the answers of commands go that wait for the disk."},
    {"flying", path_flying, METH_NOARGS, "Tags and unit numbers of the commands that wait for the disk."},
    {"take_flight", path_take_flight, METH_VARARGS, "Let another take a command that waits for the disk."},
    {"next_statsn", next_statsn, METH_NOARGS, "The StatSN of a response that is being made."},
    {"advance", advance, METH_NOARGS, "A request that was next has been taken, not by this path."},
    {"continue_numbers", continue_numbers, METH_O, "Go on with the session of another path."},
    {"agree", (PyCFunction)(void (*)(void))agree, METH_VARARGS | METH_KEYWORDS, "What was agreed on, in bytes."},
    {"open_gate", (PyCFunction)(void (*)(void))open_gate, METH_FASTCALL, "Serve commands to a LUN by a gate."},
    {"header_intact", (PyCFunction)(void (*)(void))header_intact, METH_FASTCALL, "Whether a header's digest is right."},
    {NULL, NULL, 0, NULL},
};
