/* Data-out that does not all come with its command (RFC 7143 4.2.5.2, 11.7, 11.8). */
#ifndef DATA_OUT_H
#define DATA_OUT_H

#include "batch.h"

/*
 * A Data-Out, or a command with its immediate data: a header, and "length" bytes whose digest is right. "place": the
 * bytearray that all of the command's data may lie in, or NULL; "own": the same of a data thread, memory from its pool.
 */
struct arrival {
    const uint8_t *bhs, *data;
    size_t length;
    PyObject *place;
    uint8_t *own;
};

/* Whether the command, which is in its turn and whose gate is open, may begin here without all of its data. */
bool may_begin(const struct batch *batch);

/* Whether there is room for all answers that one PDU may bring about. */
bool answers_fit(const struct batch *batch);

/* Begin it: keep what has come, and ask for more unless that comes unasked. SERVED, or OTHER with nothing changed. */
enum stop begin_transfer(struct batch *batch, const struct arrival *arrival);

/* Take a Data-Out for a transfer: SERVED, or OTHER with nothing changed. */
enum stop take_data_out(struct batch *batch, const struct arrival *arrival);

/* Where so many bytes of the Data-Out with that header belong, if it goes on with a transfer as it should; else NULL. */
uint8_t *data_out_place(struct batch *batch, const uint8_t *bhs, uint32_t length);

/* The same of the PDUs at "pos". */
enum stop serve_begin(struct batch *batch);
enum stop serve_data_out(struct batch *batch);

#endif
