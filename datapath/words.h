/* Numbers and flags of an object as attributes of Python. */
#ifndef WORDS_H
#define WORDS_H

#include "python.h"

#include <stddef.h>
#include <stdint.h>

/* A word that another thread reads meanwhile. */
static inline void word_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* Where a uint64_t stands in its object, and the most that it may be set to. The closure of the four below. */
struct word {
    size_t offset;
    uint64_t most;
};

PyObject *word_get(PyObject *self, void *word);
int word_set(PyObject *self, PyObject *value, void *word);
PyObject *flag_get(PyObject *self, void *word);
int flag_set(PyObject *self, PyObject *value, void *word);

/* The low 64 bits of a number that is not negative; 0, or -1 with an exception. */
int number_of(PyObject *object, uint64_t most, uint64_t *number);

#endif
