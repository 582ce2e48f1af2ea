#include "words.h"

static uint64_t *place(PyObject *self, const struct word *word)
{
    return (uint64_t *)(void *)((char *)self + word->offset);
}

int number_of(PyObject *object, uint64_t most, uint64_t *number)
{
    unsigned long long found = PyLong_AsUnsignedLongLong(object);

    if (found == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    if (found > most) {
        PyErr_Format(PyExc_OverflowError, "at most %llu, not %llu", (unsigned long long)most, found);
        return -1;
    }
    *number = found;
    return 0;
}

PyObject *word_get(PyObject *self, void *word)
{
    return PyLong_FromUnsignedLongLong(__atomic_load_n(place(self, word), __ATOMIC_RELAXED));
}

int word_set(PyObject *self, PyObject *value, void *word)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "it cannot be deleted");
        return -1;
    }
    return number_of(value, ((const struct word *)word)->most, place(self, word));
}

PyObject *flag_get(PyObject *self, void *word)
{
    return PyBool_FromLong(*place(self, word) != 0);
}

int flag_set(PyObject *self, PyObject *value, void *word)
{
    int on = value == NULL ? 0 : PyObject_IsTrue(value);

    if (value == NULL)
        PyErr_SetString(PyExc_TypeError, "it cannot be deleted");
    if (value == NULL || on < 0)
        return -1;
    *place(self, word) = (uint64_t)on;
    return 0;
}
