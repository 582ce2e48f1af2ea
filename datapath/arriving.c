#include "arriving.h"

#include "data_out.h"
#include "in_place.h"

#include <sys/uio.h>

/* As in framing.py. */
enum { SLOWEST_SEGMENT = 8 << 10 };
#define SECOND UINT64_C(1000000000)
#define GRACE (30 * SECOND)

/* Where the data of a WRITE goes that is next, and could be served: in a buffer for all that it will write. */
static bool place_command(struct batch *batch, struct arriving *arriving)
{
    struct path *path = batch->path;
    const struct command *command = &batch->command;
    PyObject *buffer;

    if (!is_next(batch, arriving->bhs) || !command->writes || command->segment != arriving->length)
        return false;
    if (!lengths_fit(path, command, batch->gate) && !may_begin(batch))
        return false;
    if (!memory_reserve(&path->memory, command->edtl))
        return false;
    buffer = memory_take(&path->memory, command->edtl);
    if (buffer == NULL) {
        memory_release(&path->memory, command->edtl);
        return false;
    }
    arriving->reserved = command->edtl;
    arriving->buffer = buffer;
    arriving->data = (uint8_t *)PyByteArray_AsString(buffer);
    return true;
}

/* Where the data of a Data-Out goes: in its command's buffer. */
static bool place_data_out(struct batch *batch, struct arriving *arriving)
{
    const struct transfer *transfer;

    arriving->reserved = 0;
    arriving->data = data_out_place(batch, arriving->bhs, (uint32_t)arriving->length);
    if (arriving->data == NULL)
        return false;
    transfer = transfers_find(&batch->path->transfers, be32(arriving->bhs + 16));
    arriving->buffer = Py_NewRef(transfer->buffer);
    return true;
}

bool arriving_begin(struct path *path, size_t pos, size_t end)
{
    const struct buffers buffers = own_buffers(path);
    struct batch batch = batch_of(path, &buffers, pos, end, 0);
    struct arriving *arriving = &path->arriving;
    uint32_t lengths;

    if (end - pos < BHS_LENGTH || path->header_digest || path->data_digest || path->fired != FIRED_NOTHING)
        return false;
    lengths = be32(batch.in + pos + 4);
    if (lengths < SHORTEST_IN_PLACE || lengths > RECEIVE_SIZE - BHS_LENGTH || lengths & 3) /* or it has an AHS */
        return false;
    memcpy(arriving->bhs, batch.in + pos, BHS_LENGTH);
    arriving->length = lengths;
    if (!(arriving->bhs[0] == DATA_OUT ? place_data_out(&batch, arriving) : place_command(&batch, arriving)))
        return false;
    arriving->have = end - pos - BHS_LENGTH;
    memcpy(arriving->data, batch.in + pos + BHS_LENGTH, arriving->have);
    arriving->by = path->now + GRACE + lengths * SECOND / SLOWEST_SEGMENT;
    return true;
}

struct iovec arriving_rest(const struct arriving *arriving)
{
    return (struct iovec){arriving->data + arriving->have, arriving->length - arriving->have};
}

size_t arriving_took(struct arriving *arriving, size_t count)
{
    size_t missing = arriving->length - arriving->have;
    size_t taken = count < missing ? count : missing;

    arriving->have += taken;
    return count - taken;
}

/* A view of it, as far as it has come or will. */
static PyObject *view_of(const struct arriving *arriving)
{
    Py_ssize_t begin = arriving->data - (uint8_t *)PyByteArray_AsString(arriving->buffer);
    PyObject *whole = PyMemoryView_FromObject(arriving->buffer);
    PyObject *view = whole == NULL ? NULL : PySequence_GetSlice(whole, begin, begin + (Py_ssize_t)arriving->length);

    Py_XDECREF(whole);
    return view;
}

/* What write_in_place or data_in_place makes of it; -1 with an exception. */
static long serve_by(struct path *path, PyObject *bhs, PyObject *view, PyObject *address)
{
    PyObject *args[] = {bhs, view, address};
    bool begins = path->arriving.bhs[0] != DATA_OUT;
    PyObject *answer = (begins ? path_write_in_place : path_data_in_place)((PyObject *)path, args, 3);
    long result = answer == NULL ? -1 : PyLong_AsLong(answer);

    Py_XDECREF(answer);
    return result;
}

int arriving_serve(struct path *path)
{
    struct arriving *arriving = &path->arriving;
    PyObject *bhs = PyBytes_FromStringAndSize((const char *)arriving->bhs, BHS_LENGTH);
    PyObject *view = view_of(arriving), *address = PyLong_FromVoidPtr(arriving->data);
    uint32_t reserved = arriving->reserved;
    long result = -1;

    if (reserved != 0) /* a command that begins reserves for itself */
        memory_release(&path->memory, reserved);
    arriving->reserved = 0;
    if (bhs != NULL && view != NULL && address != NULL)
        result = serve_by(path, bhs, view, address);
    Py_XDECREF(address);
    Py_XDECREF(view);
    Py_XDECREF(bhs);
    if (result > 0) {
        if (arriving->bhs[0] != DATA_OUT && result == ANSWERED)
            memory_give(&path->memory, arriving->buffer);
        Py_CLEAR(arriving->buffer);
    }
    return result > 0 ? 1 : (int)result;
}

PyObject *path_take_segment(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct arriving *arriving = &((struct path *)self)->arriving;
    PyObject *view, *found;

    if (arriving->buffer == NULL)
        Py_RETURN_NONE;
    ((struct path *)self)->alone = 0;
    view = view_of(arriving);
    found = view == NULL ? NULL
                         : Py_BuildValue("(y#NnIK)", arriving->bhs, (Py_ssize_t)BHS_LENGTH, view,
                                         (Py_ssize_t)arriving->have, arriving->reserved, (unsigned long long)arriving->by);
    if (found != NULL) {
        memory_pass_on(&((struct path *)self)->memory, arriving->reserved);
        Py_CLEAR(arriving->buffer);
    }
    return found;
}
