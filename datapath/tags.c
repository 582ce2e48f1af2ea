#include "tags.h"

#define IN_USE (UINT64_C(1) << 32)
enum { FEWEST = 64 };

static PyTypeObject *tags_type;

/* Initiators count tags up or use few of them: multiplied, neighbours do not fill neighbouring slots. */
static size_t home(const struct tags *tags, uint64_t slot)
{
    return (size_t)((uint32_t)slot * 0x9e3779b1u >> 7) & tags->mask;
}

/* Where the tag is, or the empty slot where it would be. */
static size_t find(const struct tags *tags, uint64_t wanted)
{
    size_t at = home(tags, wanted);

    while (tags->slots[at] != 0 && tags->slots[at] != wanted)
        at = (at + 1) & tags->mask;
    return at;
}

bool tags_contain(const struct tags *tags, uint32_t tag)
{
    return tags->count != 0 && tags->slots[find(tags, tag | IN_USE)] != 0;
}

static int grow(struct tags *tags)
{
    size_t size = tags->mask + 1;
    uint64_t *old = tags->slots;
    uint64_t *slots = PyMem_Calloc(size * 2, sizeof *slots);

    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    tags->slots = slots;
    tags->mask = size * 2 - 1;
    for (size_t i = 0; i < size; i++)
        if (old[i] != 0)
            slots[find(tags, old[i])] = old[i];
    PyMem_Free(old);
    return 0;
}

/* Empty a slot, and move those behind it that would not be found any more. */
static void take_out(struct tags *tags, size_t hole)
{
    uint64_t *slots = tags->slots;

    for (size_t at = (hole + 1) & tags->mask; slots[at] != 0; at = (at + 1) & tags->mask) {
        size_t from_home = (at - home(tags, slots[at])) & tags->mask;
        if (from_home >= ((at - hole) & tags->mask)) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole] = 0;
    tags->count--;
}

static int tag_of(PyObject *object, uint64_t *slot)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(object);

    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    if (number > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a task tag has 32 bits");
        return -1;
    }
    *slot = number | IN_USE;
    return 0;
}

static PyObject *tags_add(PyObject *self, PyObject *tag)
{
    struct tags *tags = (struct tags *)self;
    uint64_t slot;

    if (tag_of(tag, &slot) < 0 || (tags->count * 2 > tags->mask && grow(tags) < 0))
        return NULL;
    size_t at = find(tags, slot);
    tags->count += tags->slots[at] == 0;
    tags->slots[at] = slot;
    Py_RETURN_NONE;
}

static PyObject *tags_discard(PyObject *self, PyObject *tag)
{
    struct tags *tags = (struct tags *)self;
    uint64_t slot;

    if (tag_of(tag, &slot) < 0)
        return NULL;
    size_t at = find(tags, slot);
    if (tags->slots[at] != 0)
        take_out(tags, at);
    Py_RETURN_NONE;
}

static int tags_in(PyObject *self, PyObject *tag)
{
    uint64_t slot;

    if (tag_of(tag, &slot) < 0)
        return -1;
    return tags_contain((struct tags *)self, (uint32_t)slot);
}

static Py_ssize_t tags_length(PyObject *self)
{
    return (Py_ssize_t)((struct tags *)self)->count;
}

static void tags_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyMem_Free(((struct tags *)self)->slots);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"add", tags_add, METH_O, "Put a tag into the set."},
    {"discard", tags_discard, METH_O, "Take a tag out, if it is there."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A set of task tags."},
    {Py_tp_dealloc, (void *)tags_dealloc},
    {Py_tp_methods, methods},
    {Py_sq_contains, (void *)tags_in},
    {Py_sq_length, (void *)tags_length},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Tags",
    .basicsize = sizeof(struct tags),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

PyObject *tags_new(void)
{
    struct tags *tags = PyObject_New(struct tags, tags_type);

    if (tags == NULL)
        return NULL;
    tags->count = 0;
    tags->mask = FEWEST - 1;
    tags->slots = PyMem_Calloc(FEWEST, sizeof *tags->slots);
    if (tags->slots == NULL) {
        Py_DECREF(tags);
        return PyErr_NoMemory();
    }
    return (PyObject *)tags;
}

int tags_init(void)
{
    tags_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return tags_type == NULL ? -1 : 0;
}
