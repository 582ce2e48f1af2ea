#ifdef __linux__ /* as data threads */
#include "segment.h"

#include "crc32c.h"
#include "data_out.h"
#include "in_place.h"

#include <stdlib.h>

/* Memory for a command's data, of which its PDU brings the beginning, or all. */
static bool take_memory(struct segment *segment, const struct batch *batch, const uint8_t *bhs, size_t most)
{
    struct command command;

    if (!command_read(&command, bhs) || !command.writes || command.segment > batch->path->largest_write
        || command.segment > command.edtl || command.edtl > LARGEST_TRANSFER || command.edtl > most)
        return false;
    segment->data = pool_take(batch->memory->pool, command.edtl);
    segment->size = command.edtl;
    return segment->data != NULL;
}

bool segment_begin(struct segment *segment, struct batch *batch, size_t most)
{
    const uint8_t *bhs = batch->in + batch->pos;
    size_t there = batch->end - batch->pos, have = there - batch->head;
    uint32_t length;

    if (there < batch->head || !header_intact(batch))
        return false;
    length = be32(bhs + 4); /* with TotalAHSLength: what has additional header segments is too long */
    if (length < SHORTEST_IN_PLACE || length & 3 || length + 2 * BHS_LENGTH > RECEIVE_SIZE || have >= length)
        return false;
    segment->size = 0;
    if (bhs[0] == DATA_OUT)
        segment->data = data_out_place(batch, bhs, length);
    else if (!take_memory(segment, batch, bhs, most))
        segment->data = NULL;
    if (segment->data == NULL)
        return false;
    segment->length = length;
    segment->have = have;
    memcpy(segment->header, bhs, batch->head);
    memcpy(segment->data, bhs + batch->head, have);
    batch->pos = batch->end;
    return true;
}

static void forget(struct segment *segment, struct pool *pool)
{
    if (segment->size != 0)
        pool_give(pool, segment->data, segment->size);
    segment->data = NULL;
    segment->size = 0;
}

static bool is_intact(const struct segment *segment, const struct batch *batch)
{
    uint8_t digest[DIGEST_LENGTH];

    if (!batch->path->data_digest)
        return true;
    put_digest(digest, crc32c(0, segment->data, segment->length));
    return memcmp(digest, batch->in + batch->pos, DIGEST_LENGTH) == 0;
}

enum stop segment_serve(struct segment *segment, struct batch *batch)
{
    size_t trailer = batch->path->data_digest ? DIGEST_LENGTH : 0;
    struct place place = {.bhs = segment->header, .data = segment->data, .length = segment->length};
    int done;

    if (segment->data == NULL)
        return SERVED;
    if (segment_missing(segment) != 0 || batch->end - batch->pos < trailer)
        return INCOMPLETE;
    if (!is_intact(segment, batch))
        return OTHER;
    place.address = (uint64_t)(uintptr_t)segment->data;
    place.own = segment->size != 0 ? segment->data : NULL;
    done = segment->header[0] == DATA_OUT ? serve_data_at(batch, &place) : serve_write_at(batch, &place);
    if (done < 0)
        return RAISED;
    if (done == NOT_HERE)
        return OTHER;
    if (done == BEGUN)
        segment->size = 0; /* the command has the memory */
    forget(segment, batch->memory->pool);
    batch->pos += trailer;
    return SERVED;
}

uint8_t *segment_return(struct segment *segment, const struct path *path, struct pool *pool, const uint8_t *behind,
                        size_t count, size_t *length)
{
    size_t head = BHS_LENGTH + (path->header_digest ? DIGEST_LENGTH : 0);
    uint8_t *whole = malloc(head + segment->have + count);

    if (whole != NULL) {
        memcpy(whole, segment->header, head);
        memcpy(whole + head, segment->data, segment->have);
        if (count != 0)
            memcpy(whole + head + segment->have, behind, count);
    }
    *length = whole == NULL ? 0 : head + segment->have + count;
    forget(segment, pool);
    return whole;
}

#endif
