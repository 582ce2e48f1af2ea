/* A turn of one connection, on the event loop's thread: receive, serve, send. */
#ifndef TURN_H
#define TURN_H

#include "path.h"

/*
 * Behind "fill" bytes of input, with a chunk that may be used: what DataPath.turn returns (path_state.py), or NULL with
 * an exception. "of_python": the most of its budget that Python may have behind it. Afterwards path->alone says whether
 * the next one may begin with nothing asked.
 */
PyObject *turn_take(struct path *path, int fd, PyObject *chunk, size_t fill, size_t of_python, uint64_t now);

#endif
