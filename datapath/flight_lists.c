/* Where a flight is known: in the air that it was begun in, and by the path whose answer it is going to be. */
#include "flights.h"

#include "path.h"
#include "words.h"

#include <stdlib.h>

void air_join(struct air *air, struct flight *flight)
{
    flight->before = air->last;
    if (flight->before != NULL)
        flight->before->after = flight;
    else
        air->first = flight;
    air->last = flight;
}

void air_leave(struct air *air, struct flight *flight)
{
    if (flight->before != NULL)
        flight->before->after = flight->after;
    else
        air->first = flight->after;
    if (flight->after != NULL)
        flight->after->before = flight->before;
    else
        air->last = flight->before;
}

void flight_join_path(struct path *path, struct flight *flight)
{
    struct flights *flights = &path->flights;

    if (flight->home)
        Py_INCREF((PyObject *)path);
    flight->path = path;
    flight->before_of_path = flights->last;
    if (flights->last != NULL)
        flights->last->after_of_path = flight;
    else
        flights->first = flight;
    flights->last = flight;
    word_store(&flights->count, flights->count + 1);
    gate_count_flight(flight->gate, 1);
}

void flight_leave_path(struct flight *flight)
{
    struct path *path = flight->path;
    struct flights *flights = &path->flights;

    if (flight->before_of_path != NULL)
        flight->before_of_path->after_of_path = flight->after_of_path;
    else
        flights->first = flight->after_of_path;
    if (flight->after_of_path != NULL)
        flight->after_of_path->before_of_path = flight->before_of_path;
    else
        flights->last = flight->before_of_path;
    word_store(&flights->count, flights->count - 1);
    gate_count_flight(flight->gate, -1);
    flight->path = NULL;
    if (flight->home)
        Py_DECREF((PyObject *)path);
}

struct flight *flights_find(const struct flights *flights, uint32_t itt)
{
    struct flight *flight = flights->first;

    while (flight != NULL && flight->itt != itt)
        flight = flight->after_of_path;
    return flight;
}

void flights_come_home(struct path *path)
{
    for (struct flight *each = path->flights.first; each != NULL; each = each->after_of_path) {
        Py_INCREF((PyObject *)path);
        Py_INCREF((PyObject *)each->gate);
    }
}

void flight_discard(struct flight *flight)
{
    operation_release(&flight->operation);
    free(flight);
}

void flight_free(struct flight *flight)
{
    struct air *air = flight->air;

    if (flight->lent.obj != NULL)
        PyBuffer_Release(&flight->lent);
    Py_XDECREF(flight->taker);
    Py_DECREF((PyObject *)flight->gate);
    if (air->give_back != NULL)
        air->give_back(air, flight);
    else
        flight_discard(flight);
}
