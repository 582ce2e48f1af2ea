/* READs that are answered by one Data-In with the status in it (RFC 7143 11.7). */
#include "batch.h"

#include "crc32c.h"

enum attempt read_data(struct batch *batch, size_t data, size_t done)
{
    struct gate *gate = batch->gate;
    uint64_t offset = batch->command.lba * gate->block_size;
    enum attempt attempt = shortcut_read(&gate->shortcut, batch->user, offset, batch->out + data, done - data);

    if (attempt == ASK && !batch->user->threaded)
        attempt = ask_store(gate->store, "try_read_into", offset, batch->path->chunk_view, data, done);
    return attempt;
}

static int fire_read(struct batch *batch, size_t data, size_t done, PyObject *began)
{
    struct served served = served_at(batch, batch->out + data, done);

    batch->fired = FIRED_NOTHING;
    return began != NULL ? fire_all_of_read(&batch->watch, &served, began) : fire_read_one_by_one(&batch->watch, &served);
}

/* The data is there: put the header before it and the digests. Returns where the PDU ends. */
static size_t put_read(struct batch *batch, size_t data, size_t done)
{
    uint8_t *bhs = batch->out + batch->tail;

    count_served(batch);
    put_data_in(bhs, batch->command.edtl, batch->command.itt, &batch->numbers);
    batch->numbers.statsn++;
    if (batch->path->header_digest)
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
    if (batch->path->data_digest) {
        put_digest(batch->out + done, crc32c(0, batch->out + data, done - data));
        done += DIGEST_LENGTH;
    }
    return done;
}

enum stop serve_read(struct batch *batch)
{
    size_t data = batch->tail + batch->head;
    size_t done = data + batch->command.edtl;
    PyObject *began = NULL;
    enum attempt attempt;
    int raised = 0;

    if (!has_place(batch, done))
        return no_room(batch, done);
    if (!header_intact(batch))
        return CLOSED;
    if (batch->watch.mask) {
        struct served served = served_at(batch, NULL, 0);
        if (batch->watch.read != NULL) {
            raised = watch_now(&batch->watch, &began);
        } else if (batch->fired == FIRED_NOTHING) {
            batch->fired = FIRED_COMMAND;
            raised = fire_command(&batch->watch, &served);
        }
        if (raised < 0)
            return RAISED;
    }
    attempt = read_data(batch, data, done);
    if (attempt == DONE) {
        done = put_read(batch, data, done);
        if (batch->watch.mask)
            raised = fire_read(batch, data, done, began);
        batch->pos += batch->head;
        count_read(batch, batch->command.edtl);
        batch->tail = done;
    }
    if (attempt == CANNOT && take_off(batch, batch->in + batch->pos, NULL)) {
        batch->pos += batch->head;
        return SERVED;
    }
    Py_XDECREF(began);
    if (raised < 0)
        return RAISED;
    return attempt != DONE ? OTHER : SERVED;
}
