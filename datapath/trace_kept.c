/* What sums keep in histograms: of a command when it comes, and of how its time divides. */
#include "trace_sums.h"

#include "words.h"

enum { READ_6 = 0x08, WRITE_6 = 0x0a };

struct arrival {
    bool moves, ranges, seeks;
    uint64_t size, lba, depth;
    double distance;
};

static uint64_t number_at(const uint8_t *bytes, unsigned length)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < length; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Whether the CDB names one range of blocks, and which; see extent_of in iscsitools/wire/operations.py. */
static bool range_of(const struct sums *sums, const uint8_t *cdb, size_t length, uint64_t *lba, uint64_t *blocks)
{
    const struct operation *operation;

    if ((cdb[0] == READ_6 || cdb[0] == WRITE_6) && length >= 6) {
        *lba = number_at(cdb + 1, 3) & 0x1fffff;
        *blocks = cdb[4] ? cdb[4] : 256;
        return true;
    }
    operation = &sums->operations[cdb[0]];
    if (cdb[0] == VARIABLE_LENGTH && length >= 10 && number_at(cdb + 8, 2) - 0x09 < 6)
        operation = &sums->variable_length;
    if (operation->lba_length == 0 || length < (size_t)operation->blocks_at + operation->blocks_length)
        return false;
    *lba = number_at(cdb + operation->lba_at, operation->lba_length);
    *blocks = number_at(cdb + operation->blocks_at, operation->blocks_length);
    return *blocks != 0;
}

static void seek(struct arrival *arrival, struct unit *unit, uint64_t blocks)
{
    arrival->seeks = unit->has_end;
    arrival->distance = arrival->lba >= unit->end ? (double)(arrival->lba - unit->end) : -(double)(unit->end - arrival->lba);
    unit->has_end = true;
    unit->end = arrival->lba + blocks;
}

static struct arrival arrival_of(const struct sums *sums, const struct counted *counted, struct unit *unit,
                                 const struct event *event)
{
    struct arrival arrival = {.moves = event->bhs[1] & (FLAG_READS | FLAG_WRITES)};
    uint32_t unseen = counted->has_statsn ? counted->statsn - be32(event->bhs + 28) : 0;
    uint64_t blocks;

    /* What an initiator acknowledges before it was sent, or never, is no depth. */
    arrival.depth = counted->starts.count + (unseen < MAX_STARTS ? unseen : 0) + 1;
    if (!arrival.moves)
        return arrival;
    arrival.size = be32(event->bhs + 20);
    arrival.ranges = event->cdb_length > 0 && range_of(sums, event->cdb, event->cdb_length, &arrival.lba, &blocks);
    if (arrival.ranges)
        seek(&arrival, unit, blocks);
    return arrival;
}

static int count(struct histogram *histogram, enum scale scale, double value, uint64_t whole)
{
    return scale == SCALE_WIDTHS ? count_width(histogram, whole) : count_octave(&histogram->counts, value);
}

static int keep(const struct sums *sums, struct cell *cell, const struct arrival *arrival)
{
    for (size_t i = 0; i < sums->kept_count; i++) {
        struct histogram *histogram = &cell->kept[i];
        enum scale scale = sums->kept[i].scale;
        int result = 0;
        switch (sums->kept[i].value) {
        case VALUE_SIZE:
            result = arrival->moves ? count(histogram, scale, (double)arrival->size, arrival->size) : 0;
            break;
        case VALUE_PLACE:
            result = arrival->ranges ? count(histogram, scale, (double)arrival->lba, arrival->lba) : 0;
            break;
        case VALUE_DISTANCE:
            result = arrival->seeks ? count_octave(&histogram->counts, arrival->distance) : 0;
            break;
        case VALUE_DEPTH:
            result = count(histogram, scale, (double)arrival->depth, arrival->depth);
            break;
        case VALUE_BACKSTORE:
        case VALUE_WAITING:
        case VALUE_SENDING:
        case VALUES:
            break;
        }
        if (result < 0)
            return -1;
    }
    return 0;
}

int sums_keep_arrival(const struct sums *sums, const struct counted *counted, struct cell *cell,
                      const struct event *event)
{
    struct arrival arrival = arrival_of(sums, counted, cell->unit, event);

    return keep(sums, cell, &arrival);
}

int sums_keep_phases(const struct sums *sums, struct cell *cell, uint64_t total, const struct start *start)
{
    uint64_t moving = start->sending + start->waiting;

    for (size_t i = 0; i < sums->kept_count; i++) {
        enum value value = sums->kept[i].value;
        uint64_t time = value == VALUE_WAITING ? start->waiting : start->sending;
        if (value == VALUE_BACKSTORE)
            time = total > moving ? total - moving : 0;
        else if (!(value == VALUE_WAITING && cell->key & KEY_WRITES) && !(value == VALUE_SENDING && cell->key & KEY_READS))
            continue;
        if (count(&cell->kept[i], sums->kept[i].scale, (double)time, time) < 0)
            return -1;
    }
    return 0;
}
