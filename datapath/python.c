/* What the data path needs of Python's side: its enumeration, its tuples, and backstores' own methods. */
#include "consume.h"

static PyObject *stops[STOPS];

enum attempt ask_store(PyObject *store, const char *method, uint64_t offset, PyObject *view, size_t from, size_t to)
{
    PyObject *part = PySequence_GetSlice(view, (Py_ssize_t)from, (Py_ssize_t)to);
    PyObject *result = NULL;
    int done = -1;

    if (part != NULL)
        result = PyObject_CallMethod(store, method, "KO", (unsigned long long)offset, part);
    if (result != NULL)
        done = PyObject_IsTrue(result);
    if (done < 0)
        PyErr_Clear(); /* the task's way meets it again, and makes sense data of it */
    Py_XDECREF(result);
    Py_XDECREF(part);
    return done > 0 ? DONE : CANNOT;
}

bool store_unflushed(PyObject *store)
{
    PyObject *value = PyObject_GetAttrString(store, "unflushed");
    int unflushed = value == NULL ? -1 : PyObject_IsTrue(value);

    Py_XDECREF(value);
    if (unflushed < 0)
        PyErr_Clear(); /* the task's way meets it again */
    return unflushed != 0;
}

PyObject *stop_object(enum stop stop)
{
    return stops[stop];
}

static int load_stops(PyObject *module)
{
    PyObject *type = PyObject_GetAttrString(module, "Stop");

    for (int i = 0; i < STOPS && type != NULL; i++)
        if ((stops[i] = PyObject_CallFunction(type, "i", i)) == NULL)
            Py_CLEAR(type);
    Py_XDECREF(type);
    return type == NULL ? -1 : 0;
}

int python_init(void)
{
    PyObject *module = PyImport_ImportModule("iscsitools.iscsi.connection.stops");
    int result = -1;

    if (module != NULL)
        result = load_stops(module);
    Py_XDECREF(module);
    return result;
}
