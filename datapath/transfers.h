/* WRITEs whose data-out is on its way: by ITT, at most MOST_TRANSFERS of a connection. */
#ifndef TRANSFERS_H
#define TRANSFERS_H

#include "gate.h"

#include "pool.h"
#include "wire.h"

enum { MOST_TRANSFERS = 128, MOST_SEQUENCES = 8, TRANSFER_SLOTS = 2 * MOST_TRANSFERS };
enum { LARGEST_TRANSFER = 4 << 20 /* bytes of a command that waits for data here */ };

/* One Data-Out sequence, as iscsitools.iscsi.requests.data_out.Sequence: unsolicited, or what one R2T asked for. */
struct sequence {
    uint32_t ttt, offset, length, received, datasn;
};

/*
 * A command that has begun. "data": where its data is kept; NULL while no byte had to be. It is inside of "buffer", a
 * bytearray; or of a pool, while a data thread has the connection. "since": when it came, or its last sequence ended, in
 * monotonic nanoseconds.
 */
struct transfer {
    uint8_t bhs[BHS_LENGTH];
    struct gate *gate;
    PyObject *buffer;
    uint8_t *data;
    uint64_t since, lba, number; /* number: of all that have begun, in order */
    uint32_t itt, wanted, received, asked, r2tsn, sequence_count;
    struct sequence sequences[MOST_SEQUENCES];
};

/* "awaited": bytes that they want, all together. */
struct transfers {
    struct transfer *slots[TRANSFER_SLOTS];
    uint64_t count, begun, awaited;
};

/*
 * The memory of the connection, as four functions of Python; or that of its data thread, a pool. The account is Python's,
 * and to ask it for each command costs as much as all else that a short one takes here. So within a turn more is held
 * than is used, which grows with what the turn has asked for, and what is not used at its end is given back: between two
 * turns the account says what is used. "asked": bytes, in this turn.
 */
struct memory {
    PyObject *reserve, *release, *take, *give;
    struct pool *pool;
    uint64_t held, used, asked;
};

/* The transfer of a tag, or NULL. */
struct transfer *transfers_find(const struct transfers *transfers, uint32_t itt);

/* A new transfer of "wanted" bytes; NULL when there is no memory, or no place, for it. Its gate is held by the path, and
 * by Python's count too where nobody is a data thread. */
struct transfer *transfers_add(struct transfers *transfers, uint32_t itt, struct gate *gate, uint32_t wanted,
                               bool threaded);

/* Take a transfer out and free it, under the interpreter's lock. Its buffer goes with it, unless that was taken over
 * before. */
void transfers_remove(struct transfers *transfers, struct transfer *transfer);

/* When the oldest of them came, or last got all that it had asked for; 0: there are none. */
uint64_t transfers_since(const struct transfers *transfers);

/* A data thread gets them, with memory of its own for what has come. False: there is none, and nothing has changed. */
bool transfers_leave(struct transfers *transfers, const struct memory *memory);

/* They come back. False: there is no memory for what has come of one, which can not be written any more. */
bool transfers_return(struct transfers *transfers, const struct memory *memory);

/* The sequence of a Target Transfer Tag, or NULL. */
struct sequence *transfer_sequence(struct transfer *transfer, uint32_t ttt);

/* A sequence has come whole. */
void transfer_end_sequence(struct transfer *transfer, struct sequence *sequence);

/* See that there is a buffer, of "place" if that is a bytearray of enough bytes; false: there is none. */
bool transfer_open_buffer(struct transfer *transfer, const struct memory *memory, PyObject *place);

/* The command has ended: give back what was reserved and lent for it, and forget it. */
void transfer_end(struct transfers *transfers, struct transfer *transfer, struct memory *memory);

/* Use so many bytes more; false: they do not fit. */
bool memory_reserve(struct memory *memory, uint32_t length);

/* Use so many bytes less. */
void memory_release(struct memory *memory, uint32_t length);

/* The end of a turn: hold what is used. An exception that is set stays. */
void memory_settle(struct memory *memory);

/* Another holds so many of the bytes that are used here from now on. */
void memory_pass_on(struct memory *memory, uint64_t length);

/* A bytearray of at least so many bytes, or NULL, with no exception; and give one back to its stock. */
PyObject *memory_take(const struct memory *memory, uint32_t length);
void memory_give(const struct memory *memory, PyObject *buffer);

int transfers_visit(const struct transfers *transfers, visitproc visit, void *arg);
void transfers_clear(struct transfers *transfers);

#endif
