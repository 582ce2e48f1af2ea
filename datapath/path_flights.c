/* What the requests' side does with commands that wait for the disk: see them, and take them over as tasks. */
#include "path.h"

#include "flights.h"
#include "words.h"

static void set(PyObject **place, PyObject *value)
{
    PyObject *old = *place;

    Py_INCREF(value);
    *place = value;
    Py_XDECREF(old);
}

/* land_by(make_room, landed): before it, no command waits for the disk here. */
PyObject *path_land_by(PyObject *self, PyObject *args)
{
    struct flights *flights = &((struct path *)self)->flights;
    PyObject *make_room, *landed;

    if (!PyArg_ParseTuple(args, "OO:land_by", &make_room, &landed))
        return NULL;
    set(&flights->make_room, make_room);
    set(&flights->landed, landed);
    Py_RETURN_NONE;
}

/* flying(): (ITT, unit number) of all, in the order in which they came. */
PyObject *path_flying(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const struct flight *each = ((struct path *)self)->flights.first;
    PyObject *list = PyList_New(0);

    for (; list != NULL && each != NULL; each = each->after_of_path) {
        PyObject *entry = Py_BuildValue("(IK)", each->itt, (unsigned long long)each->gate->number);
        if (entry == NULL || PyList_Append(list, entry) < 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

/* What "take" makes of it: a request, and the buffer that a READ fills. 0, or -1 with an exception. */
static int ask_taker(struct flight *flight, PyObject *take)
{
    const struct operation *operation = &flight->operation;
    PyObject *data, *taken, *request, *buffer;
    int result = -1;

    data = flight->writes ? PyBytes_FromStringAndSize((const char *)operation->memory, (Py_ssize_t)operation->length)
                          : Py_NewRef(Py_None);
    if (data == NULL)
        return -1;
    taken = PyObject_CallFunction(take, "y#NOI", flight->bhs, (Py_ssize_t)BHS_LENGTH, data,
                                  flight->durable ? Py_True : Py_False, flight->r2ts);
    if (taken == Py_None) { /* nobody wants to know */
        Py_DECREF(taken);
        return 0;
    }
    if (taken != NULL && PyArg_ParseTuple(taken, "OO:take", &request, &buffer)) {
        if (buffer != Py_None && PyObject_GetBuffer(buffer, &flight->lent, PyBUF_WRITABLE) < 0) {
            result = -1;
        } else if (!flight->writes && flight->lent.len != (Py_ssize_t)operation->length) {
            PyErr_SetString(PyExc_ValueError, "a buffer of another length");
        } else {
            Py_INCREF(request);
            flight->taker = request;
            result = 0;
        }
    }
    Py_XDECREF(taken);
    return result;
}

/* take_flight(itt, take): have another told how it ends, in place of this path; whether there was such a command. */
PyObject *path_take_flight(PyObject *self, PyObject *args)
{
    struct path *path = (struct path *)self;
    struct flight *flight;
    PyObject *take, *told = Py_None;
    unsigned int itt;

    if (!PyArg_ParseTuple(args, "IO:take_flight", &itt, &take))
        return NULL;
    flight = flights_find(&path->flights, itt);
    if (flight == NULL)
        Py_RETURN_FALSE;
    if (ask_taker(flight, take) < 0)
        return NULL;
    if (flight->taker != NULL) /* it counts as begun, as other tasks do */
        gate_count_moved(flight->gate, false, flight->writes ? UNIT_WRITES : UNIT_READS, flight->operation.length);
    flight_leave_path(flight);
    if (flight->failed) { /* it has ended already */
        told = flight->taker == NULL ? Py_None
                                     : PyObject_CallFunction(flight->gate->shortcut.ended, "OL", flight->taker,
                                                             (long long)flight->result);
        flight_free(flight);
        if (told == NULL)
            return NULL;
    }
    Py_RETURN_TRUE;
}
