/* READs and WRITEs of the "file" backstore: one system call each on the page cache (for 1024 pieces), or nothing. */
#ifndef SHORTCUT_FILE_H
#define SHORTCUT_FILE_H

#include "shortcut.h"

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

enum attempt file_read(const struct shortcut *shortcut, const struct user *user, uint64_t offset,
                       const struct pieces *pieces);
enum attempt file_write(const struct shortcut *shortcut, struct user *user, uint64_t offset, const struct pieces *pieces);

#endif
