/*
 * The rules stand at the top of iscsitools/iscsi/requests/data_out.py. Here is only what goes as it should: a PDU that
 * breaks one of them, comes while somebody looks, or ends a command that cannot be written at once, is left. Then the
 * requests' side takes the transfer over (path_transfers.c) as it was before that PDU, and goes on with a task.
 */
#include "data_out.h"

#include "crc32c.h"

enum { FINAL = 0x80 };

/* Where all R2Ts that one PDU may bring about would end, or a response. */
static size_t answers_end(const struct batch *batch)
{
    return batch->tail + batch->head * batch->path->outstanding;
}

bool answers_fit(const struct batch *batch)
{
    return answers_end(batch) <= batch->full + batch->head;
}

bool may_begin(const struct batch *batch)
{
    const struct path *path = batch->path;
    const struct command *command = &batch->command;
    uint64_t unasked = path->first_burst < command->edtl ? path->first_burst : command->edtl;

    if (!command->writes || command->attribute > ATTRIBUTE_SIMPLE || command->fua || batch->watch.mask)
        return false;
    if (command->edtl != command->count * batch->gate->block_size || command->edtl > LARGEST_TRANSFER)
        return false;
    if (!lba_fits(command->lba, command->count, batch->gate))
        return false;
    if (command->segment > path->largest_write || command->segment >= command->edtl || command->segment & 3)
        return false;
    if (!command->final && (path->initial_r2t || command->segment >= unasked))
        return false;
    return gate_has_room(batch->gate) && path->outstanding != 0 && path->outstanding <= MOST_SEQUENCES;
}

static void put_r2t(struct batch *batch, struct transfer *transfer, const struct sequence *sequence)
{
    uint8_t *bhs = batch->out + batch->tail;

    put_request(bhs, transfer->bhs + 8, transfer->itt, sequence->ttt, &batch->numbers);
    put_be32(bhs + 36, transfer->r2tsn++);
    put_be32(bhs + 40, sequence->offset);
    put_be32(bhs + 44, sequence->length);
    if (batch->path->header_digest)
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
    batch->tail += batch->head;
}

static uint32_t next_ttt(struct path *path)
{
    path->ttt = (path->ttt + 1) % RESERVED_TAG;
    return (uint32_t)path->ttt;
}

/* Ask for data, as much at a time as was agreed on. */
static void ask_for_more(struct batch *batch, struct transfer *transfer)
{
    struct path *path = batch->path;

    while (transfer->asked < transfer->wanted && transfer->sequence_count < path->outstanding) {
        struct sequence *sequence = &transfer->sequences[transfer->sequence_count++];
        uint32_t missing = transfer->wanted - transfer->asked;
        uint32_t length = missing < path->max_burst ? missing : (uint32_t)path->max_burst;
        *sequence = (struct sequence){next_ttt(path), transfer->asked, length, 0, 0};
        transfer->asked += length;
        put_r2t(batch, transfer, sequence);
    }
}

static void expect_unasked(struct batch *batch, struct transfer *transfer)
{
    const struct path *path = batch->path;
    uint32_t limit = transfer->wanted < path->first_burst ? transfer->wanted : (uint32_t)path->first_burst;

    transfer->sequences[transfer->sequence_count++] = (struct sequence){RESERVED_TAG, 0, limit, transfer->received, 0};
}

static bool keep(struct batch *batch, struct transfer *transfer, size_t offset, const struct arrival *arrival)
{
    if (arrival->length == 0)
        return true;
    if (transfer->data == NULL && arrival->own != NULL)
        transfer->data = arrival->own;
    else if (!transfer_open_buffer(transfer, batch->memory, arrival->place))
        return false;
    if (arrival->data != transfer->data + offset) /* it was received there */
        memcpy(transfer->data + offset, arrival->data, arrival->length);
    return true;
}

enum stop begin_transfer(struct batch *batch, const struct arrival *arrival)
{
    struct path *path = batch->path;
    const struct command *command = &batch->command;
    struct memory *memory = batch->memory;
    struct transfer *transfer;

    if (!memory_reserve(memory, command->edtl))
        return OTHER;
    transfer = transfers_add(&path->transfers, command->itt, batch->gate, command->edtl, batch->user->threaded);
    if (transfer == NULL) {
        memory_release(memory, command->edtl);
        return OTHER;
    }
    if (!keep(batch, transfer, 0, arrival)) {
        transfer_end(&path->transfers, transfer, memory);
        return OTHER;
    }
    memcpy(transfer->bhs, arrival->bhs, BHS_LENGTH);
    transfer->lba = command->lba;
    transfer->since = path->now;
    transfer->received = transfer->asked = (uint32_t)arrival->length;
    count_served(batch);
    if (!command->final)
        expect_unasked(batch, transfer);
    else
        ask_for_more(batch, transfer);
    return SERVED;
}

/* Whether "arrival" is the end of the data and lies elsewhere, and what is before it has been kept. */
static bool is_apart(const struct transfer *transfer, size_t offset, const struct arrival *arrival)
{
    if (offset + arrival->length != transfer->wanted)
        return false;
    return offset == 0 || (transfer->data != NULL && arrival->data != transfer->data + offset);
}

/* Say where all of the data lies, of which "arrival" is the last; false: there is no memory for what has to be kept of it. */
static bool gather(struct batch *batch, struct transfer *transfer, size_t offset, const struct arrival *arrival,
                   struct pieces *pieces)
{
    struct iovec *places = pieces->first;

    if (is_apart(transfer, offset, arrival)) {
        if (offset != 0)
            places[pieces->count++] = (struct iovec){transfer->data, offset};
        places[pieces->count++] = (struct iovec){(void *)(uintptr_t)arrival->data, arrival->length};
        return true;
    }
    if (!keep(batch, transfer, offset, arrival))
        return false;
    places[pieces->count++] = (struct iovec){transfer->data, transfer->wanted};
    return true;
}

/* The store takes a view of an object. */
static enum attempt ask_to_write(struct batch *batch, struct transfer *transfer, size_t offset,
                                 const struct arrival *arrival)
{
    struct gate *gate = transfer->gate;
    enum attempt attempt = ASK;
    PyObject *view;

    if (!keep(batch, transfer, offset, arrival))
        return ASK;
    view = PyMemoryView_FromObject(transfer->buffer);
    if (view == NULL)
        PyErr_Clear();
    else
        attempt = ask_store(gate->store, "try_write", transfer->lba * gate->block_size, view, 0, transfer->wanted);
    Py_XDECREF(view);
    return attempt;
}

static void put_written(struct batch *batch, const struct transfer *transfer)
{
    uint8_t *bhs = batch->out + batch->tail;

    put_response(bhs, transfer->itt, &batch->numbers);
    put_be32(bhs + 36, transfer->r2tsn); /* ExpDataSN: how many R2Ts there were (RFC 7143 11.4.8) */
    batch->numbers.statsn++;
    if (batch->path->header_digest)
        put_digest(bhs + BHS_LENGTH, crc32c(0, bhs, BHS_LENGTH));
    batch->tail += batch->head;
    count_written(batch, transfer->gate, transfer->wanted);
}

/* Have the disk write all of it: the answer comes later. */
static bool fly(struct batch *batch, const struct transfer *transfer, const struct pieces *pieces)
{
    struct gate *gate = transfer->gate;
    struct flight *flight = flight_begin(batch->path, batch->user, gate, transfer->bhs, transfer->itt,
                                         transfer->lba * gate->block_size, transfer->wanted, pieces, false);

    if (flight != NULL)
        flight->r2ts = transfer->r2tsn;
    return flight != NULL;
}

/* Write all of the data, of which "arrival" is the last, from where it came to; false: not here, not now. */
static bool write_all(struct batch *batch, struct transfer *transfer, size_t offset, const struct arrival *arrival)
{
    struct gate *gate = transfer->gate;
    struct iovec places[2];
    struct pieces pieces = {places, 0, transfer->wanted};
    enum attempt attempt;

    if (!gate_word(&gate->write_open) || !lba_fits(transfer->lba, transfer->wanted / gate->block_size, gate)
        || !gather(batch, transfer, offset, arrival, &pieces))
        return false;
    attempt = shortcut_write_pieces(&gate->shortcut, batch->user, transfer->lba * gate->block_size, &pieces);
    if (attempt == ASK && !batch->user->threaded)
        attempt = ask_to_write(batch, transfer, offset, arrival);
    if (attempt == DONE)
        put_written(batch, transfer);
    return attempt == DONE || (attempt == CANNOT && fly(batch, transfer, &pieces));
}

/* The transfer and the sequence that a Data-Out goes on with as it should; else NULL. */
static struct transfer *goes_on(struct batch *batch, const struct arrival *arrival, struct sequence **sequence)
{
    const uint8_t *bhs = arrival->bhs;
    struct transfer *transfer = transfers_find(&batch->path->transfers, be32(bhs + 16));
    struct sequence *found = transfer == NULL ? NULL : transfer_sequence(transfer, be32(bhs + 20));
    size_t after;

    if (found == NULL || batch->watch.mask || !batch->numbers_fit || bhs[0] != DATA_OUT || bhs[1] & 0x7f || bhs[4])
        return NULL;
    after = found->received + arrival->length;
    if (arrival->length == 0 || arrival->length & 3 || be32(bhs + 36) != found->datasn
        || be32(bhs + 40) != found->offset + found->received || after > found->length)
        return NULL;
    if (bhs[1] & FINAL && found->ttt != RESERVED_TAG && after < found->length)
        return NULL;
    *sequence = found;
    return transfer;
}

uint8_t *data_out_place(struct batch *batch, const uint8_t *bhs, uint32_t length)
{
    struct arrival arrival = {.bhs = bhs, .length = length};
    struct sequence *sequence;
    struct transfer *transfer = goes_on(batch, &arrival, &sequence);

    if (transfer == NULL || !transfer_open_buffer(transfer, batch->memory, NULL))
        return NULL;
    return transfer->data + sequence->offset + sequence->received;
}

enum stop take_data_out(struct batch *batch, const struct arrival *arrival)
{
    struct path *path = batch->path;
    struct sequence *sequence;
    struct transfer *transfer = goes_on(batch, arrival, &sequence);
    uint32_t length = (uint32_t)arrival->length, received;
    size_t offset;
    bool ends;

    if (transfer == NULL)
        return OTHER;
    offset = sequence->offset + sequence->received;
    ends = arrival->bhs[1] & FINAL || (sequence->ttt != RESERVED_TAG && sequence->received + length == sequence->length);
    received = transfer->received + length;
    if (ends && received >= transfer->wanted && transfer->sequence_count == 1) {
        if (!write_all(batch, transfer, offset, arrival))
            return OTHER;
        transfer_end(&path->transfers, transfer, batch->memory);
        return SERVED;
    }
    if (!keep(batch, transfer, offset, arrival))
        return OTHER;
    transfer->received = received;
    sequence->received += length;
    sequence->datasn++;
    if (ends) {
        bool unasked = sequence->ttt == RESERVED_TAG;
        transfer_end_sequence(transfer, sequence);
        transfer->since = path->now;
        if (unasked && transfer->asked < received)
            transfer->asked = received;
        ask_for_more(batch, transfer);
    }
    return SERVED;
}

/* -- PDUs of the receive buffer */

/* Whether the PDU at "pos" with so much data is there, whole and intact, and its answers have room; else why not. */
static enum stop look(const struct batch *batch, size_t length, struct arrival *arrival, size_t *after)
{
    size_t data = batch->pos + batch->head;
    size_t done = data + length;

    *after = done + (batch->path->data_digest && length ? DIGEST_LENGTH : 0);
    if (*after > batch->end)
        return INCOMPLETE;
    if (!answers_fit(batch))
        return no_room(batch, answers_end(batch));
    if (!header_intact(batch))
        return CLOSED;
    if (length && !data_intact(batch, data, done))
        return OTHER;
    *arrival = (struct arrival){batch->in + batch->pos, batch->in + data, length, NULL, NULL};
    return SERVED;
}

enum stop serve_begin(struct batch *batch)
{
    struct arrival arrival;
    size_t after;
    enum stop stop = look(batch, batch->command.segment, &arrival, &after);

    if (stop == SERVED)
        stop = begin_transfer(batch, &arrival);
    if (stop == SERVED)
        batch->pos = after;
    return stop;
}

enum stop serve_data_out(struct batch *batch)
{
    uint32_t lengths = be32(batch->in + batch->pos + 4);
    struct arrival arrival;
    size_t after;
    enum stop stop;

    if (transfers_find(&batch->path->transfers, be32(batch->in + batch->pos + 16)) == NULL || lengths >> 24 || lengths & 3)
        return OTHER;
    stop = look(batch, lengths, &arrival, &after);
    if (stop == SERVED)
        stop = take_data_out(batch, &arrival);
    if (stop == SERVED)
        batch->pos = after;
    return stop;
}
