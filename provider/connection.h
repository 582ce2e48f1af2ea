/* The strings of a connection, of which Python has the originals. */
#ifndef CONNECTION_H
#define CONNECTION_H

/* The limited API of Python 3.11: one build serves that and every later version. Before all system headers. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "event.h"

struct connection;

/*
 * Point proto's addresses and strings at copies of a ConnectionInfo's, which are remade when its generation changed.
 * Returns 0, or -1 with a Python exception. The copies live until connections_forget, or until another connection takes
 * their slot, and the connection with them: at most 64.
 */
int event_set_connection(struct event *event, PyObject *connection);

/* A copy by itself, for a thread that has no interpreter's lock; NULL with a Python exception. */
struct connection *connection_copy(PyObject *connection);
void connection_forget(struct connection *copy);
void event_set_copy(struct event *event, const struct connection *copy);

/* Let go of all copies that event_set_connection has made. */
void connections_forget(void);

/* Intern the attribute names; 0, or -1 with a Python exception. */
int connections_init(void);

#endif
