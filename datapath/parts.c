/* READs that are answered by several Data-Ins (RFC 7143 11.7). */
#include "batch.h"

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
enum stop serve_read_in_parts(struct batch *batch)
{
    const struct path *path = batch->path;
    size_t length = batch->command.edtl;
    size_t data = batch->tail + BHS_LENGTH * (length / path->max_send + length / path->max_burst + 2);

    if (batch->watch.mask)
        return OTHER;
    if (data + length > batch->room - BHS_LENGTH)
        return OUTPUT_FULL;
    if (read_data(batch, data, data + length) != DONE)
        return OTHER;
    count_served(batch);
    cut_into_parts(batch, batch->out + data);
    batch->numbers.statsn++;
    batch->pos += batch->head;
    count_read(batch, length);
    return batch->tail <= batch->full ? SERVED : BUDGET;
}
