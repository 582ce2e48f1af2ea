/*
 * DataPath.consume: serve the PDUs of the receive buffer, one after the other, until one is none of ours.
 *
 * The steps of the Python twin, and the same answers. What is asked of a command before it may be served stands in
 * is_next and lengths_fit; after them nothing of the connection's state has been changed, and whoever takes the PDU
 * instead finds all as it was. Nothing is committed to the path before the batch ends.
 */
#include "consume.h"
#include "batch.h"

#include "crc32c.h"
#include "data_out.h"
#include "words.h"

#define SERIAL_LIMIT (SERIAL_MASK - RECEIVE_SIZE / BHS_LENGTH) /* nothing is served near the end of the numbers */

enum stop no_room(const struct batch *batch, size_t done)
{
    return done > batch->room - BEHIND ? OUTPUT_FULL : BUDGET;
}

bool header_matches(const struct batch *batch)
{
    const uint8_t *bhs = batch->in + batch->pos;
    uint8_t digest[DIGEST_LENGTH];

    put_digest(digest, crc32c(0, bhs, BHS_LENGTH));
    return memcmp(digest, bhs + BHS_LENGTH, DIGEST_LENGTH) == 0;
}

bool is_plain(const struct command *command, const struct gate *gate, bool watched, const struct user *user)
{
    int unflushed;

    if (command->unwatched && watched)
        return false;
    if (!command->fua)
        return true;
    if (command->writes)
        return flights_air(&gate->shortcut, user) != NULL && !watched; /* it flies */
    unflushed = shortcut_unflushed(&gate->shortcut); /* SBC-3 5.11: then the cache is what the medium is */
    if (unflushed < 0)
        return !user->threaded && !store_unflushed(gate->store);
    return !unflushed;
}

bool lba_fits(uint64_t lba, uint64_t count, const struct gate *gate)
{
    uint64_t blocks = gate_word(&gate->blocks);

    return count <= blocks && lba <= blocks - count;
}

bool lengths_fit(const struct path *path, const struct command *command, const struct gate *gate)
{
    uint64_t length = command->count * gate->block_size;

    if (!command->final || command->edtl != length || command->segment != (command->writes ? command->edtl : 0))
        return false;
    if (length > (command->writes ? path->largest_write : path->largest_in_parts))
        return false;
    return lba_fits(command->lba, command->count, gate);
}

bool tag_is_free(const struct path *path, uint32_t itt)
{
    return itt != RESERVED_TAG && !tags_contain(path->tags, itt) && transfers_find(&path->transfers, itt) == NULL
           && flights_find(&path->flights, itt) == NULL;
}

bool is_next(struct batch *batch, const uint8_t *bhs)
{
    const struct path *path = batch->path;
    struct command *command = &batch->command;

    if (!batch->in_step || !command_read(command, bhs))
        return false;
    batch->gate = gates_find(&path->gates, command->lun);
    if (batch->gate == NULL || !gate_word(command->writes ? &batch->gate->write_open : &batch->gate->read_open))
        return false;
    if (command->attribute == ATTRIBUTE_ORDERED && (batch->user->threaded || gate_is_busy(batch->gate)))
        return false; /* it has to wait for the others */
    if (!is_plain(command, batch->gate, batch->watch.mask != 0 && batch->watch.tracers == NULL, batch->user))
        return false;
    return command->cmdsn == batch->numbers.exp_cmdsn && tag_is_free(path, command->itt);
}

struct served served_at(const struct batch *batch, const void *data, size_t done)
{
    struct path *path = batch->path;

    return (struct served){path, &batch->command, batch->gate->number, batch->in + batch->pos,
                           path->receive.obj, batch->pos,
                           (uint64_t)(uintptr_t)data, batch->out + batch->tail, batch->tail, done};
}

bool take_off(struct batch *batch, const uint8_t *bhs, const uint8_t *data)
{
    const struct command *command = &batch->command;
    struct iovec place = {(void *)(uintptr_t)data, command->edtl};
    const struct pieces pieces = {&place, 1, command->edtl};

    if (batch->watch.mask || command->attribute > ATTRIBUTE_SIMPLE)
        return false;
    if (flight_begin(batch->path, batch->user, batch->gate, bhs, command->itt, command->lba * batch->gate->block_size,
                     command->edtl, data == NULL ? NULL : &pieces, command->fua) == NULL)
        return false;
    count_served(batch);
    return true;
}

/* -- the loop */

static enum stop serve_command(struct batch *batch)
{
    if (!is_next(batch, batch->in + batch->pos))
        return OTHER;
    if (!lengths_fit(batch->path, &batch->command, batch->gate))
        return may_begin(batch) ? serve_begin(batch) : OTHER;
    if (batch->user->threaded)
        claim_ahead(batch);
    if (batch->command.writes)
        return serve_write(batch);
    return batch->command.edtl <= batch->path->largest_read ? serve_read(batch) : serve_read_in_parts(batch);
}

enum stop batch_serve(struct batch *batch)
{
    enum stop stop = SERVED;

    while (stop == SERVED) {
        if (batch->end - batch->pos < batch->head)
            stop = INCOMPLETE;
        else
            stop = batch->in[batch->pos] == DATA_OUT ? serve_data_out(batch) : serve_command(batch);
    }
    if (batch->user->claim.count != 0)
        user_release(batch->user); /* it was claimed ahead */
    return stop;
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

struct buffers own_buffers(const struct path *path)
{
    return (struct buffers){path->receive.buf, path->chunk.buf, (size_t)path->chunk.len, path->tail};
}

struct batch batch_of(struct path *path, const struct buffers *buffers, size_t pos, size_t end, size_t budget)
{
    struct batch batch = {.path = path, .user = loop_user, .memory = &path->memory, .pos = pos, .end = end,
                          .tail = buffers->tail, .fired = (int)path->fired};
    size_t most = buffers->room - BEHIND;

    batch.in = buffers->in;
    batch.out = buffers->out;
    batch.room = buffers->room;
    batch.head = BHS_LENGTH + (path->header_digest ? DIGEST_LENGTH : 0);
    batch.numbers = (struct numbers){(uint32_t)path->statsn, (uint32_t)path->exp_cmdsn, max_cmdsn_of(path)};
    batch.numbers_fit = batch.numbers.exp_cmdsn < SERIAL_LIMIT && batch.numbers.statsn < SERIAL_LIMIT
                        && batch.numbers.max_cmdsn < SERIAL_LIMIT;
    batch.in_step = path->in_order && batch.numbers_fit;
    batch.first = batch.tail;
    batch.full = least(most, batch.tail + least(budget, most));
    return batch;
}

void batch_commit(const struct batch *batch)
{
    struct path *path = batch->path;

    word_store(&path->commands, path->commands + (batch->numbers.exp_cmdsn - (uint32_t)path->exp_cmdsn));
    word_store(&path->exp_cmdsn, batch->numbers.exp_cmdsn);
    word_store(&path->waiting, path->transfers.count);
    path->statsn = batch->numbers.statsn;
    path->tail = batch->tail;
    path->fired = (uint64_t)batch->fired;
    word_store(&path->read_bytes, path->read_bytes + batch->read);
    word_store(&path->written_bytes, path->written_bytes + batch->written);
}

enum stop path_serve(struct path *path, size_t *pos, size_t end, size_t budget)
{
    struct buffers buffers = own_buffers(path);
    struct batch batch = batch_of(path, &buffers, *pos, end, budget);
    enum stop stop;

    if (watch_begin(&batch.watch, path->probes, path->info) < 0) {
        watch_end(&batch.watch);
        return RAISED;
    }
    path->busy = true;
    stop = batch_serve(&batch);
    path->busy = false;
    watch_end(&batch.watch);
    if (stop != RAISED) {
        batch_commit(&batch);
        *pos = batch.pos;
    } else if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    flights_take_off(path);
    return stop;
}

/* consume(pos, end, budget): as DataPath.consume in Python. */
PyObject *path_consume(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct path *path = (struct path *)self;
    Py_ssize_t numbers[3];
    enum stop stop;
    size_t pos;

    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "takes 3 arguments, not %zd", count);
    for (int i = 0; i < 3; i++) {
        numbers[i] = PyLong_AsSsize_t(args[i]);
        if (numbers[i] == -1 && PyErr_Occurred())
            return NULL;
    }
    if (path_check_open(path) < 0)
        return NULL;
    if (numbers[0] < 0 || numbers[1] < numbers[0] || numbers[1] > path->receive.len)
        return PyErr_Format(PyExc_ValueError, "positions outside of the receive buffer");
    pos = (size_t)numbers[0];
    stop = path_serve(path, &pos, (size_t)numbers[1], numbers[2] < 0 ? 0 : (size_t)numbers[2]);
    memory_settle(&path->memory);
    return stop == RAISED ? NULL : Py_BuildValue("(nO)", (Py_ssize_t)pos, stop_object(stop));
}
