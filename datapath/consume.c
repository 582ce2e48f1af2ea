/*
 * DataPath.consume: serve the PDUs of the receive buffer, one after the other, until one is none of ours.
 *
 * The steps of the Python twin, and the same answers. What is asked of a command before it may be served stands in
 * may_serve; after it nothing of the connection's state has been changed, and whoever takes the PDU instead finds all as
 * it was. Nothing is committed to the path before the batch ends.
 */
#include "consume.h"

#include "crc32c.h"

#define SERIAL_LIMIT (SERIAL_MASK - RECEIVE_SIZE / BHS_LENGTH) /* nothing is served near the end of the numbers */
enum {
    RECEIVE_SIZE = 256 << 10,
    MAP_MINIMUM = 128 << 10,
    BEHIND = BHS_LENGTH + 2 * DIGEST_LENGTH, /* room that is left at the end of a chunk */
};

/* One call of consume. */
struct batch {
    struct path *path;
    struct watch watch;
    struct numbers numbers;
    bool in_step;
    const uint8_t *in;
    uint8_t *out;
    size_t pos, end, head; /* head: a header and its digest */
    size_t tail, full;
    uint64_t served, read, written;
    int fired;
    struct command command;
    struct gate *gate;
};

static enum stop no_room(const struct batch *batch, size_t done)
{
    return done > (size_t)batch->path->chunk.len - BEHIND ? OUTPUT_FULL : BUDGET;
}

static bool header_intact(const struct batch *batch)
{
    const uint8_t *bhs = batch->in + batch->pos;
    uint8_t digest[DIGEST_LENGTH];

    if (!batch->path->header_digest)
        return true;
    put_digest(digest, crc32c(0, bhs, BHS_LENGTH));
    return memcmp(digest, bhs + BHS_LENGTH, DIGEST_LENGTH) == 0;
}

bool is_plain(const struct command *command, const struct gate *gate, bool watched)
{
    int unflushed;

    if (command->unwatched && watched)
        return false;
    if (!command->fua)
        return true;
    if (command->writes)
        return false;
    unflushed = shortcut_unflushed(&gate->shortcut); /* SBC-3 5.11: then the cache is what the medium is */
    return unflushed < 0 ? !store_unflushed(gate->store) : !unflushed;
}

bool lengths_fit(const struct path *path, const struct command *command, const struct gate *gate)
{
    uint64_t length = command->count * gate->block_size;

    if (command->edtl != length || command->segment != (command->writes ? command->edtl : 0))
        return false;
    if (length > (command->writes ? path->largest_write : path->largest_in_parts))
        return false;
    return command->count <= gate->blocks && command->lba <= gate->blocks - command->count;
}

/* Whether the PDU at "pos" is a command to be answered here, now. */
static bool may_serve(struct batch *batch)
{
    const struct path *path = batch->path;
    struct command *command = &batch->command;

    if (!batch->in_step || !command_read(command, batch->in + batch->pos))
        return false;
    batch->gate = gates_find(&path->gates, command->lun);
    if (batch->gate == NULL || !(command->writes ? batch->gate->write_open : batch->gate->read_open))
        return false;
    if (!is_plain(command, batch->gate, batch->watch.mask != 0))
        return false;
    if (command->cmdsn != batch->numbers.exp_cmdsn || !lengths_fit(path, command, batch->gate))
        return false;
    return command->itt != RESERVED_TAG && !tags_contain(path->tags, command->itt);
}

static void count_served(struct batch *batch)
{
    batch->served++;
    batch->numbers.exp_cmdsn++;
    batch->numbers.max_cmdsn++;
}

static struct served served_at(const struct batch *batch, const void *data, size_t done)
{
    struct path *path = batch->path;

    return (struct served){path, &batch->command, batch->gate->number, path->receive.obj, batch->pos,
                           (uint64_t)(uintptr_t)data, batch->tail, done};
}

/* -- reads */

/* Where long data can be sent straight from the backstore's mapping, it is lent: path->mapped is set. */
static enum attempt try_map(struct batch *batch, uint64_t offset)
{
    struct path *path = batch->path;
    PyObject *range;

    if (batch->command.edtl < MAP_MINIMUM || path->data_digest || batch->gate->shortcut.kind == SHORTCUT_RAM
        || batch->gate->shortcut.kind == SHORTCUT_NULL)
        return CANNOT;
    range = PyObject_CallMethod(batch->gate->store, "try_map", "KI", (unsigned long long)offset, batch->command.edtl);
    if (range == NULL) {
        PyErr_Clear();
        return ASK; /* as anything that raises: the task's way meets it again */
    }
    if (range == Py_None) {
        Py_DECREF(range);
        return CANNOT;
    }
    PyObject *mapped = mapped_new(range, batch->gate->store, offset);
    Py_DECREF(range);
    if (mapped == NULL)
        return ASK;
    Py_DECREF(path->mapped);
    path->mapped = mapped;
    return DONE;
}

static enum attempt read_data(struct batch *batch, size_t data, size_t done)
{
    struct gate *gate = batch->gate;
    uint64_t offset = batch->command.lba * gate->block_size;
    enum attempt attempt = shortcut_read(&gate->shortcut, offset, batch->out + data, done - data);

    if (attempt == ASK)
        attempt = ask_store(gate->store, "try_read_into", offset, batch->path->chunk_view, data, done);
    return attempt;
}

static int fire_read(struct batch *batch, size_t data, size_t done, PyObject *began)
{
    struct served served = served_at(batch, batch->out + data, done);

    batch->fired = FIRED_NOTHING;
    return began != NULL ? fire_all_of_read(&batch->watch, &served, began) : fire_read_one_by_one(&batch->watch, &served);
}

/* The data is there, or lent: put the header before it and the digests. Returns where the PDU ends, mapped or not. */
static size_t put_read(struct batch *batch, size_t data, size_t done, bool mapped)
{
    uint8_t *bhs = batch->out + batch->tail;

    count_served(batch);
    put_data_in(bhs, batch->command.edtl, batch->command.itt, &batch->numbers);
    batch->numbers.statsn++;
    if (batch->path->header_digest)
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
    if (batch->path->data_digest && !mapped) {
        put_digest(batch->out + done, crc32c(0, batch->out + data, done - data));
        done += DIGEST_LENGTH;
    }
    return done;
}

static enum stop serve_read(struct batch *batch)
{
    size_t data = batch->tail + batch->head;
    size_t done = data + batch->command.edtl;
    PyObject *began = NULL;
    enum attempt attempt;
    bool mapped;
    int raised = 0;

    if (done > batch->full)
        return no_room(batch, done);
    if (!header_intact(batch))
        return CLOSED;
    if (batch->watch.mask) {
        struct served served = served_at(batch, NULL, 0);
        if (batch->watch.read != NULL) {
            raised = watch_now(&batch->watch, &began);
        } else {
            batch->fired = FIRED_COMMAND;
            raised = fire_command(&batch->watch, &served);
        }
        if (raised < 0)
            return RAISED;
    }
    attempt = try_map(batch, batch->command.lba * batch->gate->block_size);
    mapped = attempt == DONE;
    if (attempt == CANNOT)
        attempt = read_data(batch, data, done);
    if (attempt == DONE) {
        done = put_read(batch, data, done, mapped);
        if (batch->watch.mask)
            raised = fire_read(batch, data, done, began);
        batch->pos += batch->head;
        batch->read += batch->command.edtl;
        batch->tail = mapped ? data : done;
    }
    Py_XDECREF(began);
    if (raised < 0)
        return RAISED;
    return attempt != DONE ? OTHER : mapped ? MAPPED : SERVED;
}

/* -- reads that are answered by several Data-Ins (RFC 7143 11.7) */

/* Put each part's header, and move its data behind it, once the part before has left that place. */
static void cut_into_parts(struct batch *batch, const uint8_t *data)
{
    const struct path *path = batch->path;
    uint32_t length = batch->command.edtl, most = (uint32_t)path->max_send, burst = (uint32_t)path->max_burst;
    struct part part = {0};

    while (!part.last) {
        uint32_t of_burst = burst - part.offset % burst;
        uint8_t *bhs = batch->out + batch->tail;
        part.length = length - part.offset < most ? length - part.offset : most;
        part.length = part.length < of_burst ? part.length : of_burst;
        part.last = part.offset + part.length == length;
        part.final = part.last || part.length == of_burst;
        put_part(bhs, &part, batch->command.itt, &batch->numbers);
        memmove(bhs + BHS_LENGTH, data + part.offset, part.length);
        batch->tail += BHS_LENGTH + part.length;
        part.offset += part.length;
        part.number++;
    }
}

/* The data is read in one go, behind room for all headers. There are no digests, and nobody looks. */
static enum stop serve_read_in_parts(struct batch *batch)
{
    const struct path *path = batch->path;
    size_t length = batch->command.edtl;
    size_t data = batch->tail + BHS_LENGTH * (length / path->max_send + length / path->max_burst + 2);

    if (batch->watch.mask)
        return OTHER;
    if (data + length > (size_t)path->chunk.len - BHS_LENGTH)
        return OUTPUT_FULL;
    if (read_data(batch, data, data + length) != DONE)
        return OTHER;
    count_served(batch);
    cut_into_parts(batch, batch->out + data);
    batch->numbers.statsn++;
    batch->pos += batch->head;
    batch->read += length;
    return batch->tail <= batch->full ? SERVED : BUDGET;
}

/* -- writes */

static bool data_intact(const struct batch *batch, size_t data, size_t done)
{
    uint8_t digest[DIGEST_LENGTH];

    if (!batch->path->data_digest)
        return true;
    put_digest(digest, crc32c(0, batch->in + data, done - data));
    return memcmp(digest, batch->in + done, DIGEST_LENGTH) == 0;
}

static enum attempt write_data(struct batch *batch, size_t data, size_t done)
{
    struct gate *gate = batch->gate;
    uint64_t offset = batch->command.lba * gate->block_size;
    enum attempt attempt = shortcut_write(&gate->shortcut, offset, batch->in + data, done - data);

    if (attempt == ASK)
        attempt = ask_store(gate->store, "try_write", offset, batch->path->receive_view, data, done);
    return attempt;
}

/* Before the data is written: the three times, or the three events. */
static int begin_write(struct batch *batch, const struct served *served, PyObject **times)
{
    const struct watch *watch = &batch->watch;

    if (watch->mask == 0)
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

static enum stop serve_write(struct batch *batch)
{
    size_t data = batch->pos + batch->head;
    size_t done = data + batch->command.edtl;
    size_t after = done + (batch->path->data_digest ? DIGEST_LENGTH : 0);
    PyObject *times[3] = {NULL, NULL, NULL};
    struct served served = served_at(batch, batch->in + data, 0);
    enum stop stop = OTHER;

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
    } else if (write_data(batch, data, done) == DONE) {
        stop = put_write(batch, &served, times) < 0 ? RAISED : SERVED;
        batch->pos = after;
        batch->tail += batch->head;
        batch->written += batch->command.edtl;
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(times[i]);
    return stop;
}

/* -- the loop */

static enum stop serve_all(struct batch *batch)
{
    enum stop stop = SERVED;

    while (stop == SERVED) {
        if (batch->end - batch->pos < batch->head)
            return INCOMPLETE;
        if (!may_serve(batch))
            return OTHER;
        if (batch->command.writes)
            stop = serve_write(batch);
        else if (batch->command.edtl <= batch->path->largest_read)
            stop = serve_read(batch);
        else
            stop = serve_read_in_parts(batch);
    }
    return stop;
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

static struct batch batch_of(struct path *path, size_t pos, size_t end, size_t budget)
{
    struct batch batch = {.path = path, .pos = pos, .end = end, .tail = path->tail};
    size_t most = (size_t)path->chunk.len - BEHIND;

    batch.in = path->receive.buf;
    batch.out = path->chunk.buf;
    batch.head = BHS_LENGTH + (path->header_digest ? DIGEST_LENGTH : 0);
    batch.numbers = (struct numbers){(uint32_t)path->statsn, (uint32_t)path->exp_cmdsn, max_cmdsn_of(path)};
    batch.in_step = path->in_order && batch.numbers.exp_cmdsn < SERIAL_LIMIT && batch.numbers.statsn < SERIAL_LIMIT
                    && batch.numbers.max_cmdsn < SERIAL_LIMIT;
    budget = least(budget, most);
    batch.full = least(most, batch.tail + (budget > batch.head + LARGEST_READ ? budget : batch.head + LARGEST_READ));
    return batch;
}

static void commit(const struct batch *batch)
{
    struct path *path = batch->path;

    path->commands += batch->served;
    path->exp_cmdsn = batch->numbers.exp_cmdsn;
    path->statsn = batch->numbers.statsn;
    path->tail = batch->tail;
    path->fired = (uint64_t)batch->fired;
    path->read_bytes += batch->read;
    path->written_bytes += batch->written;
}

/* consume(pos, end, budget): as DataPath.consume in Python. */
PyObject *path_consume(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct path *path = (struct path *)self;
    Py_ssize_t numbers[3];
    struct batch batch;
    enum stop stop;

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
    batch = batch_of(path, (size_t)numbers[0], (size_t)numbers[1], numbers[2] < 0 ? 0 : (size_t)numbers[2]);
    if (watch_begin(&batch.watch, path->probes) < 0) {
        watch_end(&batch.watch);
        return NULL;
    }
    path->busy = true;
    stop = serve_all(&batch);
    path->busy = false;
    watch_end(&batch.watch);
    if (stop == RAISED)
        return NULL;
    commit(&batch);
    return stopped_at(batch.pos, stop);
}
