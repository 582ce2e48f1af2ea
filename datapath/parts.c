/* READs that are answered by several Data-Ins (RFC 7143 11.7). */
#include "batch.h"

/* How many parts there are at most: their headers have room in a chunk beside the longest READ. */
enum { MOST_PARTS = (SMALLEST_CHUNK - LARGEST_READ) / BHS_LENGTH };

/*
 * Put each part's header, and say in "pieces" where its data goes: returns where the last one ends. With "data", which
 * lies behind room for all headers, that is moved there, each part once the one before has left that place.
 */
static size_t cut_into_parts(const struct batch *batch, const uint8_t *data, struct pieces *pieces)
{
    const struct path *path = batch->path;
    uint32_t length = batch->command.edtl, most = (uint32_t)path->max_send, burst = (uint32_t)path->max_burst;
    struct numbers numbers = batch->numbers;
    struct part part = {0};
    uint8_t *bhs = batch->out + batch->tail;

    numbers.exp_cmdsn++; /* as they are when it has been served */
    numbers.max_cmdsn++;
    while (!part.last) {
        uint32_t of_burst = burst - part.offset % burst;
        part.length = length - part.offset < most ? length - part.offset : most;
        part.length = part.length < of_burst ? part.length : of_burst;
        part.last = part.offset + part.length == length;
        part.final = part.last || part.length == of_burst;
        put_part(bhs, &part, batch->command.itt, &numbers);
        if (data != NULL)
            memmove(bhs + BHS_LENGTH, data + part.offset, part.length);
        else
            pieces->first[pieces->count++] = (struct iovec){bhs + BHS_LENGTH, part.length};
        bhs += BHS_LENGTH + part.length;
        part.offset += part.length;
        part.number++;
    }
    return (size_t)(bhs - batch->out);
}

/* The data goes where it belongs between the headers; a store that is asked in Python gives it in one piece. */
static bool read_parts(struct batch *batch, size_t data, size_t *end)
{
    struct gate *gate = batch->gate;
    struct iovec places[MOST_PARTS];
    struct pieces pieces = {places, 0, batch->command.edtl};
    enum attempt attempt;

    *end = cut_into_parts(batch, NULL, &pieces);
    attempt = shortcut_read_pieces(&gate->shortcut, batch->user, batch->command.lba * gate->block_size, &pieces);
    if (attempt == ASK && (attempt = read_data(batch, data, data + batch->command.edtl)) == DONE)
        *end = cut_into_parts(batch, batch->out + data, NULL);
    return attempt == DONE;
}

/* There are no digests, and nobody looks. */
enum stop serve_read_in_parts(struct batch *batch)
{
    const struct path *path = batch->path;
    size_t length = batch->command.edtl, parts = length / path->max_send + length / path->max_burst + 2;
    size_t data = batch->tail + BHS_LENGTH * parts, end;

    if (batch->watch.mask || parts > MOST_PARTS)
        return OTHER;
    if (data + length > batch->room - BHS_LENGTH)
        return OUTPUT_FULL;
    if (!read_parts(batch, data, &end))
        return OTHER;
    count_served(batch);
    batch->tail = end;
    batch->numbers.statsn++;
    batch->pos += batch->head;
    count_read(batch, length);
    return batch->tail <= batch->full ? SERVED : BUDGET;
}
