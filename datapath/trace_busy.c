#include "trace_busy.h"

#include <stdlib.h>
#include <string.h>

void busy_start(struct busy_table *table)
{
    pthread_mutex_init(&table->lock, NULL);
}

/* Have room for a place. */
static int reserve(struct busy_table *table, uint32_t place)
{
    size_t count = table->count > 0 ? table->count : 16;
    struct busy *places;

    if (place < table->count)
        return 0;
    while (count <= place)
        count *= 2;
    places = realloc(table->places, count * sizeof *places);
    if (places == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(places + table->count, 0, (count - table->count) * sizeof *places);
    table->places = places;
    table->count = count;
    return 0;
}

int busy_join(struct busy_table *table, PyObject *join, PyObject *info, uint64_t lun, uint32_t places[PLACES_OF_UNIT])
{
    PyObject *pair = PyObject_CallFunction(join, "OK", info, (unsigned long long)lun);
    int parsed = 0;

    if (pair != NULL && PyTuple_Check(pair))
        parsed = PyArg_ParseTuple(pair, "II", &places[0], &places[1]);
    else if (pair != NULL)
        PyErr_SetString(PyExc_TypeError, "places are a tuple");
    Py_XDECREF(pair);
    if (!parsed)
        return -1;
    if (places[0] >= MOST_BUSY_PLACES || places[1] >= MOST_BUSY_PLACES) {
        PyErr_SetString(PyExc_ValueError, "too many places");
        return -1;
    }
    pthread_mutex_lock(&table->lock);
    parsed = reserve(table, places[0] > places[1] ? places[0] : places[1]);
    pthread_mutex_unlock(&table->lock);
    return parsed;
}

PyObject *busy_read(struct busy_table *table, size_t count, uint64_t now, bool reset)
{
    PyObject *list = PyList_New(0);

    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; list != NULL && i < count; i++) {
        struct busy *busy = i < table->count ? &table->places[i] : NULL;
        if (busy != NULL && busy->open > 0) {
            busy->total += now > busy->since ? now - busy->since : 0;
            busy->since = now;
        }
        PyObject *time = PyLong_FromUnsignedLongLong(busy == NULL ? 0 : busy->total);
        if (time == NULL || PyList_Append(list, time) < 0)
            Py_CLEAR(list);
        Py_XDECREF(time);
    }
    for (size_t i = 0; reset && i < table->count; i++)
        table->places[i].total = 0;
    pthread_mutex_unlock(&table->lock);
    return list;
}

void busy_clear(struct busy_table *table)
{
    free(table->places);
    table->places = NULL;
    table->count = 0;
}
