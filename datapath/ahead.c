/*
 * What a data thread claims before it serves: the bytes of the next commands to the same disk together. Only of a disk in
 * memory, where all of them take less than a look at what other threads have told; of a file nobody waits for more than
 * one call of the system.
 */
#include "batch.h"

/* One range more: of a command whose bytes are inside of the unit. */
static void add(struct claim *claim, const struct command *command, uint64_t block_size)
{
    claim->ranges[claim->count].begin = command->lba * block_size;
    claim->ranges[claim->count].end = (command->lba + command->count) * block_size;
    claim->changes = claim->changes || command->writes;
    claim->count++;
}

/* Bytes of its PDU: lengths of data segments are multiples of a block's, so that there is no padding. */
static size_t length_of(const struct batch *batch, const struct command *command)
{
    size_t digest = batch->path->data_digest && command->segment != 0 ? DIGEST_LENGTH : 0;

    return batch->head + command->segment + digest;
}

/* Whether the PDU at "pos" is all there, and will most likely be served as the one before it. */
static bool follows(const struct batch *batch, size_t pos, struct command *next)
{
    const struct gate *gate = batch->gate;

    return batch->end - pos >= batch->head && command_read(next, batch->in + pos) && next->lun == batch->command.lun
           && lengths_fit(batch->path, next, gate) && batch->end - pos >= length_of(batch, next);
}

void claim_ahead(struct batch *batch)
{
    const struct gate *gate = batch->gate;
    const struct command *command = &batch->command;
    const void *store = gate->shortcut.words.buf;
    struct claim *claim = &batch->user->claim;
    size_t pos = batch->pos + length_of(batch, command);
    uint64_t begin = command->lba * gate->block_size;
    struct command next;

    if (gate->shortcut.kind != SHORTCUT_RAM || user_has(batch->user, store, begin, begin + command->edtl, command->writes)
        || !user_is_beside_others(batch->user, store, command->writes))
        return;
    *claim = (struct claim){.store = store};
    add(claim, command, gate->block_size);
    for (; claim->count < MOST_RANGES && pos <= batch->end && follows(batch, pos, &next); pos += length_of(batch, &next))
        add(claim, &next, gate->block_size);
    user_claim_all(batch->user);
}
