#include "trace_marks.h"

#include <stdlib.h>

enum { FEWEST = 64 };

static PyTypeObject *marks_type;

static struct mark *at(const struct marks *marks, size_t index)
{
    return &marks->entries[(marks->first + index) & (marks->size - 1)];
}

static int grow(struct marks *marks)
{
    size_t size = marks->size ? marks->size * 2 : FEWEST;
    struct mark *entries = malloc(size * sizeof *entries);

    if (entries == NULL)
        return -1;
    for (size_t i = 0; i < marks->count; i++)
        entries[i] = *at(marks, i);
    free(marks->entries);
    marks->entries = entries;
    marks->size = size;
    marks->first = 0;
    return 0;
}

int marks_append(struct marks *marks, const struct mark *mark)
{
    if (marks->count == marks->size && grow(marks) < 0)
        return -1;
    *at(marks, marks->count++) = *mark;
    return 0;
}

static void take_first(struct marks *marks)
{
    marks->first = (marks->first + 1) & (marks->size - 1);
    marks->count--;
}

void marks_fire(PyObject *object, const struct tracers *set, const struct source *source, uint64_t upto)
{
    struct marks *marks = (struct marks *)object;

    if (Py_TYPE(object) != marks_type)
        return;
    while (marks->count > 0 && at(marks, 0)->place <= upto) {
        struct mark mark = *at(marks, 0);
        struct event event = {.source = source, .clock = set->clock, .lun = mark.lun, .probe = PROBE_XFER_DONE};
        event.xfer = (struct xfer){mark.itt, RESERVED_TAG, mark.address, mark.offset, mark.length, 0};
        take_first(marks);
        tracers_fire(set, &event);
    }
}

static PyObject *to_tuple(const struct mark *mark)
{
    return Py_BuildValue("(KKIKII)", (unsigned long long)mark->place, (unsigned long long)mark->lun, mark->itt,
                         (unsigned long long)mark->address, mark->offset, mark->length);
}

static PyObject *marks_add(PyObject *self, PyObject *tuple)
{
    unsigned long long place, lun, address;
    struct mark mark = {0};

    if (!PyTuple_Check(tuple))
        return PyErr_Format(PyExc_TypeError, "a mark is a tuple");
    if (!PyArg_ParseTuple(tuple, "KKIKII", &place, &lun, &mark.itt, &address, &mark.offset, &mark.length))
        return NULL;
    mark.place = place;
    mark.lun = lun;
    mark.address = address;
    if (marks_append((struct marks *)self, &mark) < 0)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *marks_popleft(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct marks *marks = (struct marks *)self;
    PyObject *tuple;

    if (marks->count == 0)
        return PyErr_Format(PyExc_IndexError, "there is no mark");
    tuple = to_tuple(at(marks, 0));
    if (tuple != NULL)
        take_first(marks);
    return tuple;
}

static PyObject *marks_clear(PyObject *self, PyObject *Py_UNUSED(unused))
{
    ((struct marks *)self)->count = 0;
    Py_RETURN_NONE;
}

static Py_ssize_t marks_length(PyObject *self)
{
    return (Py_ssize_t)((struct marks *)self)->count;
}

static PyObject *marks_item(PyObject *self, Py_ssize_t index)
{
    struct marks *marks = (struct marks *)self;

    if (index < 0 || (size_t)index >= marks->count)
        return PyErr_Format(PyExc_IndexError, "there is no such mark");
    return to_tuple(at(marks, (size_t)index));
}

static void marks_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    free(((struct marks *)self)->entries);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"append", marks_add, METH_O, "Put a mark at the end."},
    {"popleft", marks_popleft, METH_NOARGS, "Take the first one off."},
    {"clear", marks_clear, METH_NOARGS, "Forget all."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A queue of marks."},
    {Py_tp_dealloc, (void *)marks_dealloc},
    {Py_tp_methods, methods},
    {Py_sq_length, (void *)marks_length},
    {Py_sq_item, (void *)marks_item},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Marks",
    .basicsize = sizeof(struct marks),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

PyObject *marks_new(void)
{
    struct marks *marks = PyObject_New(struct marks, marks_type);

    if (marks == NULL)
        return NULL;
    marks->entries = NULL;
    marks->size = marks->first = marks->count = 0;
    return (PyObject *)marks;
}

int marks_init(void)
{
    marks_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return marks_type == NULL ? -1 : 0;
}
