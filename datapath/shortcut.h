/* Backstores whose bytes are reached without a call of Python: iscsitools/backstores/shortcut.py says what they offer. */
#ifndef SHORTCUT_H
#define SHORTCUT_H

#include "users.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct air;

enum shortcut_kind { SHORTCUT_NONE, SHORTCUT_FILE, SHORTCUT_RAM, SHORTCUT_NULL, SHORTCUT_CARRIER };

/* The plain words of a backstore; the array is shared with it. */
struct shortcut {
    enum shortcut_kind kind;
    Py_buffer words;
    Py_buffer places; /* of ram: the address of each chunk's first byte, or 0; no buf: not all have a place in it */
    PyObject *chunks; /* of ram: by number, a bytearray each */
    PyObject *ring;    /* of file: by which it may wait for the disk; of carrier: that; or NULL */
    struct air *air;   /* of it; or NULL */
    PyObject *ended;   /* called with a request, and how it ended there */
    PyObject *slow;   /* of file: called with begin and end of a write that was slow */
};

/* The words of "file", as in shortcut.py; of them "carrier" has the last two. */
enum {
    FD, READ_FLAGS, NO_WRITE_BEFORE, UNFLUSHED, WRITERS, HOLDS, DIRECT, DURABLE_FLAGS, FLIGHTS, WRITE_FLIGHTS, FILE_WORDS,
    OWN_FDS = FILE_WORDS, THREAD_FILES = 8
};
#define NO_WRITES (INT64_C(1) << 62)

/* Other threads set words: after they have set one, they wait for who is inside (users.h). */
static inline int64_t shortcut_word(const struct shortcut *shortcut, int number)
{
    return __atomic_load_n((const int64_t *)shortcut->words.buf + number, __ATOMIC_SEQ_CST);
}

/* Mostly it is that already, and a store would take the line from the other threads. */
static inline void shortcut_set_word(const struct shortcut *shortcut, int number, int64_t value)
{
    if (shortcut_word(shortcut, number) != value)
        __atomic_store_n((int64_t *)shortcut->words.buf + number, value, __ATOMIC_RELAXED);
}

/* What became of an attempt. */
enum attempt {
    DONE,
    CANNOT,  /* not without waiting, and asking the backstore would bring nothing else */
    ASK,     /* only its own methods know */
};

/* Take over what "store" offers; 0, or -1 with an exception. */
int shortcut_open(struct shortcut *shortcut, PyObject *store);

/* Whether something that was written may not be durable; -1: its "unflushed" says so. */
int shortcut_unflushed(const struct shortcut *shortcut);

/* Bytes that belong side by side in a store and lie in several pieces here; "length": of all of them. */
struct pieces {
    struct iovec *first;
    size_t count, length;
};

/* Move bytes for a user, who is inside if he is a data thread. To a data thread that is told to ask, nothing else is left. */
enum attempt shortcut_read(const struct shortcut *shortcut, struct user *user, uint64_t offset, uint8_t *to, size_t length);
enum attempt shortcut_write(const struct shortcut *shortcut, struct user *user, uint64_t offset, const uint8_t *from,
                            size_t length);
enum attempt shortcut_read_pieces(const struct shortcut *shortcut, struct user *user, uint64_t offset,
                                  const struct pieces *pieces);
enum attempt shortcut_write_pieces(const struct shortcut *shortcut, struct user *user, uint64_t offset,
                                   const struct pieces *pieces);

/* Have bytes claimed for the time of a call, unless nobody else is there, or they were claimed ahead: then false. */
bool shortcut_claim(const struct shortcut *shortcut, struct user *user, uint64_t offset, size_t length, bool changes);

/* Count a call that waits for the disk, or one less. */
void shortcut_count_flight(const struct shortcut *shortcut, bool writes, int more);

/* Tell the store of a write that was slow. */
void shortcut_was_slow(const struct shortcut *shortcut, const int64_t *times);

int shortcut_visit(const struct shortcut *shortcut, visitproc visit, void *arg);
void shortcut_close(struct shortcut *shortcut);

#endif
