/*
 * A long data segment that a data thread receives where it belongs, as iscsitools/iscsi/connection/framing.py has it for
 * the loop's thread: in the buffer of a WRITE that has begun, or in one of its own. So it is not copied, and what is there
 * of it is not kept and taken up again at each turn of the socket.
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include "batch.h"

/*
 * "header": as it came, with its digest. "have": bytes of "length" that are there. "size": of memory from the thread's
 * pool, which begins with the data; 0: the data lies in a command's.
 */
struct segment {
    uint8_t header[BHS_LENGTH + DIGEST_LENGTH];
    uint8_t *data; /* NULL: there is none on its way */
    size_t length, have, size;
};

/* How many bytes of it have to come yet. */
static inline size_t segment_missing(const struct segment *segment)
{
    return segment->data == NULL ? 0 : segment->length - segment->have;
}

/*
 * Begin with the PDU that a batch has stopped at, of which all bytes that are there are taken: a WRITE or a Data-Out with
 * a long data segment that has a place. "most": bytes that may be held for it. False: it is none.
 */
bool segment_begin(struct segment *segment, struct batch *batch, size_t most);

/*
 * Serve its PDU, of which the digest is at the beginning of the batch. SERVED, also when there is none on its way;
 * INCOMPLETE; OTHER: it cannot be served here, and is still there.
 */
enum stop segment_serve(struct segment *segment, struct batch *batch);

/*
 * Give it up: what had come of it, and "count" bytes behind that, are put together as they came, into memory of malloc.
 * NULL: there is none.
 */
uint8_t *segment_return(struct segment *segment, const struct path *path, struct pool *pool, const uint8_t *behind,
                        size_t count, size_t *length);

#endif
