/* WRITEs whose data came with the command (RFC 7143 11.3). */
#include "batch.h"

#include "crc32c.h"

bool data_matches(const struct batch *batch, size_t data, size_t done)
{
    uint8_t digest[DIGEST_LENGTH];

    put_digest(digest, crc32c(0, batch->in + data, done - data));
    return memcmp(digest, batch->in + done, DIGEST_LENGTH) == 0;
}

static enum attempt write_data(struct batch *batch, size_t data, size_t done)
{
    struct gate *gate = batch->gate;
    uint64_t offset = batch->command.lba * gate->block_size;
    enum attempt attempt;

    if (batch->command.fua)
        return CANNOT;
    attempt = shortcut_write(&gate->shortcut, batch->user, offset, batch->in + data, done - data);

    if (attempt == ASK && !batch->user->threaded)
        attempt = ask_store(gate->store, "try_write", offset, batch->path->receive_view, data, done);
    return attempt;
}

/* Before the data is written: the three times, or the three events. */
static int begin_write(struct batch *batch, const struct served *served, PyObject **times)
{
    const struct watch *watch = &batch->watch;

    if (watch->mask == 0 || batch->fired == FIRED_TRANSFER)
        return 0;
    if (watch->write != NULL)
        return watch_now(watch, &times[0]) < 0 || watch_now(watch, &times[1]) < 0 || watch_now(watch, &times[2]) < 0
                   ? -1
                   : 0;
    batch->fired = FIRED_TRANSFER;
    return fire_command(watch, served) < 0 ? -1 : fire_transfer(watch, served);
}

static int put_write(struct batch *batch, const struct served *served, PyObject *const *times)
{
    uint8_t *bhs = batch->out + batch->tail;
    int raised = 0;

    count_served(batch);
    put_response(bhs, batch->command.itt, &batch->numbers);
    batch->numbers.statsn++;
    if (batch->watch.mask) {
        batch->fired = FIRED_NOTHING;
        raised = times[0] != NULL ? fire_all_of_write(&batch->watch, served, times)
                                  : fire_response(&batch->watch, served);
    }
    if (batch->path->header_digest)
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
    return raised;
}

enum stop serve_write(struct batch *batch)
{
    size_t data = batch->pos + batch->head;
    size_t done = data + batch->command.edtl;
    size_t after = done + (batch->path->data_digest ? DIGEST_LENGTH : 0);
    PyObject *times[3] = {NULL, NULL, NULL};
    struct served served = served_at(batch, batch->in + data, 0);
    enum stop stop = OTHER;
    enum attempt attempt = CANNOT;

    if (after > batch->end)
        return INCOMPLETE;
    if (batch->tail > batch->full)
        return no_room(batch, batch->tail);
    if (!header_intact(batch))
        return CLOSED;
    if (!data_intact(batch, data, done))
        return OTHER;
    if (begin_write(batch, &served, times) < 0) {
        stop = RAISED;
    } else if ((attempt = write_data(batch, data, done)) == DONE) {
        stop = put_write(batch, &served, times) < 0 ? RAISED : SERVED;
        batch->pos = after;
        batch->tail += batch->head;
        count_written(batch, batch->gate, batch->command.edtl);
    } else if (attempt == CANNOT && take_off(batch, batch->in + batch->pos, batch->in + data)) {
        stop = SERVED;
        batch->pos = after;
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(times[i]);
    return stop;
}
