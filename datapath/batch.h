/* One call of consume, and what its parts share. */
#ifndef BATCH_H
#define BATCH_H

#include "consume.h"

/* Of a receive buffer, as in memory.py: room for a whole PDU of the longest data segment that is taken (RFC 7143 13.12). */
enum { RECEIVE_SIZE = (256 << 10) + 4096 };
enum { BEHIND = BHS_LENGTH + 2 * DIGEST_LENGTH /* room that is left at the end of a chunk */ };

/* Where a batch reads its PDUs, and where it puts its answers, from "tail" on. */
struct buffers {
    const uint8_t *in;
    uint8_t *out;
    size_t room, tail;
};

/*
 * One call of consume, or a batch of a data thread, which has no interpreter's lock (user->threaded). "memory": for what
 * commands keep.
 */
struct batch {
    struct path *path;
    struct user *user;
    struct memory *memory;
    struct watch watch;
    struct numbers numbers;
    bool numbers_fit, in_step;
    const uint8_t *in;
    uint8_t *out;
    size_t pos, end, head; /* head: a header and its digest */
    size_t tail, first, full, room; /* first: where the batch began to put its answers */
    uint64_t read, written;
    int fired; /* of the PDU at "pos": what a data thread has told of the first one before it gave it back */
    struct command command;
    struct gate *gate;
};

/* Why there is no room for an answer that would end at "done" of the chunk. */
enum stop no_room(const struct batch *batch, size_t done);

/* Whether an answer may end at "done": within the budget, or it is the first one, however long. */
static inline bool has_place(const struct batch *batch, size_t done)
{
    return done <= batch->full || (batch->tail == batch->first && done <= batch->room - BEHIND);
}

/* Whether the header at "pos", or the data from "data" to "done" of the receive buffer, has its digest behind it. */
bool header_matches(const struct batch *batch);
bool data_matches(const struct batch *batch, size_t data, size_t done);

/* Whether they are what their digests say, where there are any: mostly there are none, and no call. */
static inline bool header_intact(const struct batch *batch)
{
    return !batch->path->header_digest || header_matches(batch);
}

static inline bool data_intact(const struct batch *batch, size_t data, size_t done)
{
    return !batch->path->data_digest || data_matches(batch, data, done);
}

/* The path's own, for the loop's thread. */
struct buffers own_buffers(const struct path *path);

/*
 * A batch of the loop's thread that begins at "pos"; serve its PDUs until one is none of ours; and what it has done becomes
 * the path's.
 */
struct batch batch_of(struct path *path, const struct buffers *buffers, size_t pos, size_t end, size_t budget);
enum stop batch_serve(struct batch *batch);
void batch_commit(const struct batch *batch);

/* All of that for the loop's thread, with the path's own buffers; RAISED with an exception. */
enum stop path_serve(struct path *path, size_t *pos, size_t end, size_t budget);

/* Whether a header is a command that is next, whose gate is open, and which means no more than its blocks. */
bool is_next(struct batch *batch, const uint8_t *bhs);

/* One more command has had its turn. */
static inline void count_served(struct batch *batch)
{
    batch->numbers.exp_cmdsn++;
    batch->numbers.max_cmdsn++;
}

/* And a READ or a WRITE has moved its data. */
static inline void count_read(struct batch *batch, uint64_t bytes)
{
    batch->read += bytes;
    gate_count_moved(batch->gate, batch->user->threaded, UNIT_READS, bytes);
}

static inline void count_written(struct batch *batch, struct gate *gate, uint64_t bytes)
{
    batch->written += bytes;
    gate_count_moved(gate, batch->user->threaded, UNIT_WRITES, bytes);
}

/* Have the disk read, or write "data" of batch->command, whose header that is; the answer comes later. False: not this one. */
bool take_off(struct batch *batch, const uint8_t *bhs, const uint8_t *data);

/* Claim the bytes of a data thread's command, which fits, and of those behind it; whoever ends the batch releases them. */
void claim_ahead(struct batch *batch);

/* What the probes' calls are told of the command at "pos". */
struct served served_at(const struct batch *batch, const void *data, size_t done);

/*
 * A READ's answer in several Data-Ins, without digests: how many there are at most of so many bytes; and put them, and
 * return how long they are.
 */
struct answer {
    uint32_t itt, length;
    struct numbers numbers;
};
size_t parts_of(const struct path *path, size_t length);
size_t put_in_parts(const struct path *path, const struct answer *answer, const uint8_t *data, uint8_t *bhs);

/* Serve the READ or WRITE at "pos"; see reads.c, parts.c and writes.c. */
enum stop serve_read(struct batch *batch);
enum stop serve_read_in_parts(struct batch *batch);
enum stop serve_write(struct batch *batch);
enum attempt read_data(struct batch *batch, size_t data, size_t done);

#endif
