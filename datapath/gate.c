#include "gate.h"

#include "words.h"

PyTypeObject *gate_type;

static int fill(struct gate *gate, PyObject *const *values)
{
    if (number_of(values[0], UINT64_MAX, &gate->number) < 0 || number_of(values[2], UINT32_MAX, &gate->block_size) < 0
        || number_of(values[3], UINT64_MAX, &gate->blocks) < 0 || shortcut_open(&gate->shortcut, values[1]) < 0)
        return -1;
    if (PyObject_GetBuffer(values[4], &gate->words, PyBUF_WRITABLE) < 0)
        return -1;
    if (gate->words.len < (Py_ssize_t)(UNIT_WORDS * sizeof(int64_t))) {
        PyErr_SetString(PyExc_ValueError, "not the words of a unit");
        return -1;
    }
    Py_INCREF(values[1]);
    gate->store = values[1];
    return 0;
}

static PyObject *gate_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"number", "store", "block_size", "blocks", "words", NULL};
    PyObject *self, *values[5];

    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOO:Gate", names, &values[0], &values[1], &values[2], &values[3],
                                     &values[4]))
        return NULL;
    self = PyType_GenericAlloc(type, 0);
    if (self != NULL && fill((struct gate *)self, values) < 0)
        Py_CLEAR(self);
    return self;
}

/* A word that data threads may change meanwhile. */
static int64_t unit_word(const struct gate *gate, int number)
{
    return __atomic_load_n((const int64_t *)gate->words.buf + number, __ATOMIC_RELAXED);
}

bool gate_is_busy(const struct gate *gate)
{
    return unit_word(gate, UNIT_TASKS) != 0 || unit_word(gate, UNIT_TRANSFERS) != 0;
}

bool gate_has_room(const struct gate *gate)
{
    return unit_word(gate, UNIT_TASKS) + unit_word(gate, UNIT_TRANSFERS) < unit_word(gate, UNIT_DEPTH);
}

void gate_count_transfer(struct gate *gate, int more)
{
    __atomic_fetch_add((int64_t *)gate->words.buf + UNIT_TRANSFERS, more, __ATOMIC_RELAXED);
    __atomic_fetch_add(&gate->transfers, (uint64_t)(int64_t)more, __ATOMIC_RELAXED);
}

void gate_count_flight(struct gate *gate, int more)
{
    gate_count_transfer(gate, more);
    __atomic_fetch_add((int64_t *)gate->words.buf + UNIT_FLIGHTS, more, __ATOMIC_SEQ_CST);
}

void gate_add_up(struct gate *gate)
{
    int64_t *words = gate->words.buf;

    for (int i = 0; i < UNIT_FLIGHTS - UNIT_READS; i++)
        words[UNIT_READS + i] += (int64_t)__atomic_exchange_n(&gate->apart[i], 0, __ATOMIC_RELAXED);
}

static PyObject *add_up(PyObject *self, PyObject *Py_UNUSED(unused))
{
    gate_add_up((struct gate *)self);
    Py_RETURN_NONE;
}

/* Set a word. What it forbids is over when this returns, in data threads too. */
static void set_word(struct gate *gate, uint64_t *word, uint64_t value)
{
    uint64_t before = *word;

    if (before == value)
        return;
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    if (value < before && gate->lent != 0)
        users_settle();
}

static PyObject *gate_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct gate *gate = (struct gate *)self;

    set_word(gate, &gate->read_open, 0);
    set_word(gate, &gate->write_open, 0);
    Py_RETURN_NONE;
}

static int set_number(PyObject *self, PyObject *value, void *word)
{
    const struct word *place = word;
    uint64_t number;

    if (value == NULL)
        PyErr_SetString(PyExc_TypeError, "it cannot be deleted");
    if (value == NULL || number_of(value, place->most, &number) < 0)
        return -1;
    set_word((struct gate *)self, (uint64_t *)(void *)((char *)self + place->offset), number);
    return 0;
}

static int set_flag(PyObject *self, PyObject *value, void *word)
{
    int on = value == NULL ? 0 : PyObject_IsTrue(value);

    if (value == NULL)
        PyErr_SetString(PyExc_TypeError, "it cannot be deleted");
    if (value == NULL || on < 0)
        return -1;
    set_word((struct gate *)self, (uint64_t *)(void *)((char *)self + ((const struct word *)word)->offset), (uint64_t)on);
    return 0;
}

static PyObject *get_store(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *store = ((struct gate *)self)->store;

    if (store == NULL)
        store = Py_None;
    Py_INCREF(store);
    return store;
}

static PyObject *get_words(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *words = ((struct gate *)self)->words.obj;

    if (words == NULL)
        words = Py_None;
    Py_INCREF(words);
    return words;
}

static PyObject *get_busy(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(gate_is_busy((struct gate *)self));
}

static int gate_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct gate *gate = (struct gate *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(gate->store);
    Py_VISIT(gate->words.obj);
    return shortcut_visit(&gate->shortcut, visit, arg);
}

static int gate_clear(PyObject *self)
{
    struct gate *gate = (struct gate *)self;

    gate->read_open = gate->write_open = 0; /* whoever still has it may ask */
    shortcut_close(&gate->shortcut);
    Py_CLEAR(gate->store);
    return 0;
}

static void gate_dealloc(PyObject *self)
{
    struct gate *gate = (struct gate *)self;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    gate_clear(self);
    if (gate->words.obj != NULL) /* kept until now: transfers count in them */
        PyBuffer_Release(&gate->words);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"close", gate_close, METH_NOARGS, "Let no command through: what the gate leads to is gone for this nexus."},
    {"add_up", add_up, METH_NOARGS, "Add what a data thread has counted to the unit's words."},
    {NULL, NULL, 0, NULL},
};

static struct word number = {offsetof(struct gate, number), UINT64_MAX};
static struct word block_size = {offsetof(struct gate, block_size), UINT32_MAX};
static struct word blocks = {offsetof(struct gate, blocks), UINT64_MAX};
static struct word read_open = {offsetof(struct gate, read_open), 1};
static struct word write_open = {offsetof(struct gate, write_open), 1};

static struct word transfers = {offsetof(struct gate, transfers), UINT64_MAX};
static struct word lent = {offsetof(struct gate, lent), UINT64_MAX};

static PyGetSetDef attributes[] = {
    {"number", word_get, NULL, "The unit number.", &number},
    {"store", get_store, NULL, "The backstore.", NULL},
    {"block_size", word_get, NULL, "Bytes of a block.", &block_size},
    {"words", get_words, NULL, "The unit's.", NULL},
    {"busy", get_busy, NULL, "Whether the unit has tasks, or commands that will be.", NULL},
    {"transfers", word_get, NULL, "How many of its WRITEs wait for data in data paths.", &transfers},
    {"lent", word_get, NULL, "How many paths that lead through it data threads have.", &lent},
    {"blocks", word_get, set_number, "Blocks of the unit now.", &blocks},
    {"read_open", flag_get, set_flag, "Whether a READ needs no look at the unit's state.", &read_open},
    {"write_open", flag_get, set_flag, "The same of a WRITE.", &write_open},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Plain words about one I_T_L nexus; see iscsitools.scsi.core.gate."},
    {Py_tp_new, (void *)gate_new},
    {Py_tp_dealloc, (void *)gate_dealloc},
    {Py_tp_traverse, (void *)gate_traverse},
    {Py_tp_clear, (void *)gate_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "iscsitools.datapath._native.Gate",
    .basicsize = sizeof(struct gate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int gate_init(void)
{
    gate_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return gate_type == NULL ? -1 : 0;
}
