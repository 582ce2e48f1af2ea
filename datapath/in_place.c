/* DataPath.write_in_place: answer a WRITE whose immediate data was received where it belongs. */
#include "consume.h"
#include "crc32c.h"
#include "trace_fire.h"

/* The arguments: a header, its data, and the data's address for the xfer probes. */
struct place {
    Py_buffer bhs, data;
    PyObject *header, *view;
    uint64_t address;
};

static bool may_write(const struct path *path, const struct place *place, bool watched, struct command *command,
                      struct gate **gate)
{
    if (!command_read(command, place->bhs.buf) || !command->writes)
        return false;
    *gate = gates_find(&path->gates, command->lun);
    if (*gate == NULL || !(*gate)->write_open || !is_plain(command, *gate, watched) || !lengths_fit(path, command, *gate))
        return false;
    if (!path->in_order || command->cmdsn != path->exp_cmdsn || path->exp_cmdsn == SERIAL_MASK)
        return false;
    if (command->itt == RESERVED_TAG || tags_contain(path->tags, command->itt))
        return false;
    return path->tail <= (uint64_t)path->chunk.len - BHS_LENGTH - DIGEST_LENGTH
           && command->edtl == (uint64_t)place->data.len;
}

static enum attempt write_data(const struct place *place, const struct command *command, struct gate *gate)
{
    uint64_t offset = command->lba * gate->block_size;
    size_t length = (size_t)place->data.len;
    enum attempt attempt = shortcut_write(&gate->shortcut, offset, place->data.buf, length);

    return attempt == ASK ? ask_store(gate->store, "try_write", offset, place->view, 0, length) : attempt;
}

static void put_answer(struct path *path, const struct command *command)
{
    uint8_t *bhs = (uint8_t *)path->chunk.buf + path->tail;
    struct numbers numbers = {(uint32_t)path->statsn, (uint32_t)++path->exp_cmdsn, 0};

    numbers.max_cmdsn = max_cmdsn_of(path);
    path->statsn = (uint32_t)(path->statsn + 1);
    path->commands++;
    path->written_bytes += command->edtl;
    put_response(bhs, command->itt, &numbers);
    if (path->header_digest)
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

/* 1: it has been answered. 0: it cannot be. -1 with an exception. */
static int serve(struct path *path, const struct place *place, const struct watch *watch)
{
    struct times times = {0};
    struct command command;
    struct gate *gate;
    int result = 0;

    if (!may_write(path, place, watch->mask != 0 && watch->tracers == NULL, &command, &gate)
        || (watch->mask && !watch_takes_times(watch)))
        return 0;
    if (watch->mask)
        result = times_read(&times, watch);
    if (result == 0 && write_data(place, &command, gate) == DONE) {
        struct served served = {path, &command, gate->number, place->bhs.buf, place->header, 0, place->address, path->tail, 0};
        put_answer(path, &command);
        result = watch->mask && fire_write(watch, &served, &times) < 0 ? -1 : 1;
        path->tail += path->header_digest ? BHS_LENGTH + DIGEST_LENGTH : (uint64_t)BHS_LENGTH;
    }
    times_forget(&times);
    return result;
}

static int open_place(struct place *place, PyObject *const *args)
{
    *place = (struct place){.header = args[0], .view = args[1]};
    place->address = PyLong_AsUnsignedLongLongMask(args[2]);
    if (place->address == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    if (PyObject_GetBuffer(args[0], &place->bhs, PyBUF_SIMPLE) < 0)
        return -1;
    if (place->bhs.len < BHS_LENGTH) {
        PyErr_SetString(PyExc_ValueError, "a basic header segment has 48 bytes");
    } else if (PyObject_GetBuffer(args[1], &place->data, PyBUF_SIMPLE) == 0) {
        return 0;
    }
    PyBuffer_Release(&place->bhs);
    return -1;
}

PyObject *path_write_in_place(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct path *path = (struct path *)self;
    struct place place;
    struct watch watch;
    int result = -1;

    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "takes 3 arguments, not %zd", count);
    if (path_check_open(path) < 0 || open_place(&place, args) < 0)
        return NULL;
    path->busy = true;
    if (watch_begin(&watch, path->probes, path->info) == 0)
        result = serve(path, &place, &watch);
    path->busy = false;
    watch_end(&watch);
    PyBuffer_Release(&place.data);
    PyBuffer_Release(&place.bhs);
    return result < 0 ? NULL : PyBool_FromLong(result);
}
