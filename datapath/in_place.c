/* PDUs whose data segment was received where it belongs: DataPath.write_in_place and data_in_place. */
#include "in_place.h"

#include "crc32c.h"
#include "data_out.h"
#include "trace_fire.h"

static bool has_room(const struct batch *batch)
{
    return batch->tail <= batch->room - BHS_LENGTH - DIGEST_LENGTH;
}

static enum attempt write_data(const struct batch *batch, const struct place *place)
{
    struct gate *gate = batch->gate;
    uint64_t offset = batch->command.lba * gate->block_size;
    enum attempt attempt;

    if (batch->command.fua)
        return CANNOT;
    attempt = shortcut_write(&gate->shortcut, batch->user, offset, place->data, place->length);
    if (attempt == ASK && !batch->user->threaded)
        attempt = ask_store(gate->store, "try_write", offset, place->view, 0, place->length);
    return attempt;
}

static void put_answer(struct batch *batch)
{
    uint8_t *bhs = batch->out + batch->tail;

    count_served(batch);
    put_response(bhs, batch->command.itt, &batch->numbers);
    batch->numbers.statsn++;
    count_written(batch, batch->gate, batch->command.edtl);
    if (batch->path->header_digest)
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
}

/* When the first three events of a write happened: for tracers in C, or as objects. */
struct times {
    uint64_t numbers[3];
    PyObject *objects[3];
};

static int times_read(struct times *times, const struct watch *watch)
{
    int result = 0;

    for (int i = 0; i < 3 && result == 0; i++)
        result = watch->tracers != NULL ? trace_now(watch, &times->numbers[i]) : watch_now(watch, &times->objects[i]);
    return result;
}

static void times_forget(struct times *times)
{
    for (int i = 0; i < 3; i++)
        Py_XDECREF(times->objects[i]);
}

static int fire_write(const struct watch *watch, const struct served *served, const struct times *times)
{
    if (watch->tracers == NULL)
        return fire_all_of_write(watch, served, times->objects);
    trace_write(watch, served, times->numbers);
    return 0;
}

/* A command whose data is all there. -1 with an exception. */
static int answer(struct batch *batch, const struct place *place)
{
    const struct watch *watch = &batch->watch;
    struct times times = {0};
    enum attempt attempt = CANNOT;
    int result = NOT_HERE;

    if (watch->mask && !watch_takes_times(watch))
        return NOT_HERE;
    if (watch->mask)
        result = times_read(&times, watch);
    if (result == 0 && (attempt = write_data(batch, place)) == DONE) {
        struct served served = {batch->path, &batch->command, batch->gate->number, place->bhs, place->header, 0,
                                place->address, batch->out + batch->tail, batch->tail, 0};
        put_answer(batch);
        result = watch->mask && fire_write(watch, &served, &times) < 0 ? -1 : ANSWERED;
        batch->tail += batch->head;
    } else if (result == 0 && attempt == CANNOT && take_off(batch, place->bhs, place->data)) {
        result = ANSWERED;
    }
    times_forget(&times);
    return result;
}

/* More data is to come, and will lie in the same buffer. */
static int begin(struct batch *batch, const struct place *place)
{
    PyObject *buffer = place->view == NULL ? NULL : PyObject_GetAttrString(place->view, "obj");
    struct arrival arrival = {place->bhs, place->data, place->length, buffer, place->own};
    int result = NOT_HERE;

    if (buffer == NULL && place->view != NULL)
        return -1;
    if (begin_transfer(batch, &arrival) == SERVED)
        result = BEGUN;
    Py_XDECREF(buffer);
    return result;
}

int serve_write_at(struct batch *batch, const struct place *place)
{
    if (!has_room(batch) || !is_next(batch, place->bhs) || !batch->command.writes
        || batch->command.segment != place->length)
        return NOT_HERE;
    if (lengths_fit(batch->path, &batch->command, batch->gate))
        return answer(batch, place);
    return may_begin(batch) && answers_fit(batch) ? begin(batch, place) : NOT_HERE;
}

int serve_data_at(struct batch *batch, const struct place *place)
{
    struct arrival arrival = {place->bhs, place->data, place->length, NULL, NULL};

    if (!answers_fit(batch) || be32(place->bhs + 4) != place->length)
        return NOT_HERE;
    return take_data_out(batch, &arrival) == SERVED ? ANSWERED : NOT_HERE;
}

/* -- for Python */

/* The arguments: a header, its data, and the data's address. */
struct arguments {
    struct place place;
    Py_buffer bhs, data;
};

static int open_arguments(struct arguments *opened, PyObject *const *args)
{
    struct place *place = &opened->place;

    *place = (struct place){.header = args[0], .view = args[1]};
    place->address = PyLong_AsUnsignedLongLongMask(args[2]);
    if (place->address == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    if (PyObject_GetBuffer(args[0], &opened->bhs, PyBUF_SIMPLE) < 0)
        return -1;
    if (opened->bhs.len < BHS_LENGTH) {
        PyErr_SetString(PyExc_ValueError, "a basic header segment has 48 bytes");
    } else if (PyObject_GetBuffer(args[1], &opened->data, PyBUF_SIMPLE) == 0) {
        place->bhs = opened->bhs.buf;
        place->data = opened->data.buf;
        place->length = (size_t)opened->data.len;
        return 0;
    }
    PyBuffer_Release(&opened->bhs);
    return -1;
}

/* Serve one PDU by itself: a batch of it alone. */
static PyObject *alone(struct path *path, PyObject *const *args, int (*serve)(struct batch *, const struct place *))
{
    struct arguments opened;
    struct buffers buffers;
    struct batch batch;
    int result = -1;

    if (path_check_open(path) < 0 || open_arguments(&opened, args) < 0)
        return NULL;
    buffers = own_buffers(path);
    batch = batch_of(path, &buffers, 0, 0, (size_t)path->chunk.len);
    path->busy = true;
    if (watch_begin(&batch.watch, path->probes, path->info) == 0)
        result = serve(&batch, &opened.place);
    path->busy = false;
    watch_end(&batch.watch);
    PyBuffer_Release(&opened.data);
    PyBuffer_Release(&opened.bhs);
    if (result > 0)
        batch_commit(&batch);
    memory_settle(&path->memory);
    flights_take_off(path);
    return result < 0 ? NULL : PyLong_FromLong(result);
}

/* write_in_place(bhs, data, address): a command. 1: it has been answered. 2: it has begun, and keeps the buffer. 0. */
PyObject *path_write_in_place(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "takes 3 arguments, not %zd", count);
    return alone((struct path *)self, args, serve_write_at);
}

/* data_in_place(bhs, data, address): a Data-Out, in what place_for returned. 1: it has been taken. 0. */
PyObject *path_data_in_place(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "takes 3 arguments, not %zd", count);
    return alone((struct path *)self, args, serve_data_at);
}
