/* iscsitools.scsi.core.gate.Gate: what the data path has to know of one I_T_L nexus. */
#ifndef GATE_H
#define GATE_H

#include "shortcut.h"
#include "python.h"

/* Words of a unit, as in gate.py. */
enum {
    UNIT_TASKS,
    UNIT_DEPTH,
    UNIT_TRANSFERS,
    UNIT_READS,
    UNIT_READ_BYTES,
    UNIT_WRITES,
    UNIT_WRITTEN_BYTES,
    UNIT_FLIGHTS,
    UNIT_WORDS
};

struct gate {
    PyObject_HEAD
    PyObject *store;
    struct shortcut shortcut;
    /* What a data thread writes stands in the middle: another one's gate may lie right before or behind this. */
    uint64_t transfers; /* how many of its WRITEs wait for data in data paths */
    uint64_t apart[UNIT_FLIGHTS - UNIT_READS]; /* what a data thread has counted, and is not in the words yet */
    Py_buffer words; /* the unit's, see UNIT_TASKS */
    uint64_t number, block_size, blocks;
    uint64_t read_open, write_open;
    uint64_t lent;      /* how many paths that data threads have lead through it */
};

/* A word of a gate as it is now: who closes it waits for those who are inside (users.h). */
static inline uint64_t gate_word(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* The type, after gate_init. */
extern PyTypeObject *gate_type;

/* Whether the unit has tasks, or commands that will be. */
bool gate_is_busy(const struct gate *gate);

/* Whether another task finds a place without a look at whose tasks there are. */
bool gate_has_room(const struct gate *gate);

/* Count a transfer, or one less. */
void gate_count_transfer(struct gate *gate, int more);

/* Count a READ or a WRITE, by its first word, that has moved its data. A data thread counts apart. */
static inline void gate_count_moved(struct gate *gate, bool threaded, int word, uint64_t bytes)
{
    int64_t *words = gate->words.buf;

    if (threaded) {
        __atomic_fetch_add(&gate->apart[word - UNIT_READS], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&gate->apart[word - UNIT_READS + 1], bytes, __ATOMIC_RELAXED);
        return;
    }
    words[word]++;
    words[word + 1] += (int64_t)bytes;
}

/* Add what was counted apart to the unit's words. */
void gate_add_up(struct gate *gate);
/* The same of a command that waits for the disk, which counts as a transfer too. */
void gate_count_flight(struct gate *gate, int more);

/* Make the type; 0, or -1 with an exception. */
int gate_init(void);

#endif
