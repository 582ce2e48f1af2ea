/* READs that are answered by several Data-Ins (RFC 7143 11.7). */
#include "batch.h"

/* How many parts there are at most: their headers have room in a chunk beside the longest READ. */
enum { MOST_PARTS = (SMALLEST_CHUNK - LARGEST_READ) / BHS_LENGTH };

/*
 * Put each part's header, and say in "pieces" where its data goes: returns where the last one ends. With "data", which
 * lies behind room for all headers, that is moved there, each part once the one before has left that place.
 */
static uint8_t *cut_into_parts(const struct path *path, const struct answer *answer, const uint8_t *data,
                               struct pieces *pieces, uint8_t *bhs)
{
    uint32_t length = answer->length, most = (uint32_t)path->max_send, burst = (uint32_t)path->max_burst;
    struct part part = {0};

    while (!part.last) {
        uint32_t of_burst = burst - part.offset % burst;
        part.length = length - part.offset < most ? length - part.offset : most;
        part.length = part.length < of_burst ? part.length : of_burst;
        part.last = part.offset + part.length == length;
        part.final = part.last || part.length == of_burst;
        put_part(bhs, &part, answer->itt, &answer->numbers);
        if (data != NULL)
            memmove(bhs + BHS_LENGTH, data + part.offset, part.length);
        else
            pieces->first[pieces->count++] = (struct iovec){bhs + BHS_LENGTH, part.length};
        bhs += BHS_LENGTH + part.length;
        part.offset += part.length;
        part.number++;
    }
    return bhs;
}

size_t parts_of(const struct path *path, size_t length)
{
    return length / path->max_send + length / path->max_burst + 2;
}

size_t put_in_parts(const struct path *path, const struct answer *answer, const uint8_t *data, uint8_t *bhs)
{
    return (size_t)(cut_into_parts(path, answer, data, NULL, bhs) - bhs);
}

/* The data goes where it belongs between the headers; a store that is asked in Python gives it in one piece. */
static enum attempt read_parts(struct batch *batch, size_t data, size_t *end)
{
    struct gate *gate = batch->gate;
    struct iovec places[MOST_PARTS];
    struct pieces pieces = {places, 0, batch->command.edtl};
    struct answer answer = {batch->command.itt, batch->command.edtl, batch->numbers};
    uint8_t *bhs = batch->out + batch->tail;
    enum attempt attempt;

    answer.numbers.exp_cmdsn++; /* as they are when it has been served */
    answer.numbers.max_cmdsn++;
    *end = (size_t)(cut_into_parts(batch->path, &answer, NULL, &pieces, bhs) - batch->out);
    attempt = shortcut_read_pieces(&gate->shortcut, batch->user, batch->command.lba * gate->block_size, &pieces);
    if (attempt == ASK && (attempt = read_data(batch, data, data + batch->command.edtl)) == DONE)
        *end = (size_t)(cut_into_parts(batch->path, &answer, batch->out + data, NULL, bhs) - batch->out);
    return attempt;
}

/* There are no digests, and nobody looks. */
enum stop serve_read_in_parts(struct batch *batch)
{
    size_t length = batch->command.edtl, parts = parts_of(batch->path, length);
    size_t data = batch->tail + BHS_LENGTH * parts, end;
    enum attempt attempt;

    if (batch->watch.mask || parts > MOST_PARTS)
        return OTHER;
    if (data + length > batch->room - BHS_LENGTH)
        return OUTPUT_FULL;
    attempt = read_parts(batch, data, &end);
    if (attempt == CANNOT && take_off(batch, batch->in + batch->pos, NULL)) {
        batch->pos += batch->head;
        return SERVED;
    }
    if (attempt != DONE)
        return OTHER;
    count_served(batch);
    batch->tail = end;
    batch->numbers.statsn++;
    batch->pos += batch->head;
    count_read(batch, length);
    return batch->tail <= batch->full ? SERVED : BUDGET;
}
