/*
 * A long data segment of which a turn received the beginning: the next turns receive the rest where it belongs, as
 * framing.py does, which takes it over (path_take_segment) when there is anything else to do. A data thread has its own
 * way, with memory of its own (segment.h).
 *
 * It is immediate data of a WRITE, in a buffer of its own that all of the command's data will lie in; or of a Data-Out,
 * in the buffer of its command. With digests, or padding behind it, it is framing's from the beginning.
 */
#ifndef ARRIVING_H
#define ARRIVING_H

#include "python.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

struct iovec;
struct path;

/* "buffer": a bytearray; NULL: none is on its way. "data": its place in there. "reserved": bytes held for it alone. */
struct arriving {
    uint8_t bhs[BHS_LENGTH];
    PyObject *buffer;
    uint8_t *data;
    size_t length, have;
    uint32_t reserved;
    uint64_t by; /* when it has to be there, in monotonic nanoseconds */
};

/* Take the PDU at "pos" of the receive buffer, which is not all there, if it is such a one; then the input is used up. */
bool arriving_begin(struct path *path, size_t pos, size_t end);

/* Where the rest of it goes; and take so many bytes that came: returns how many of them were behind it. */
struct iovec arriving_rest(const struct arriving *arriving);
size_t arriving_took(struct arriving *arriving, size_t count);

/* Serve the PDU, all of which is there: 1, 0 when that is not done here, or -1 with an exception. */
int arriving_serve(struct path *path);

/* take_segment(): all that is known of it, which is not here any more. */
PyObject *path_take_segment(PyObject *self, PyObject *unused);

#endif
