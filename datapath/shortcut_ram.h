/* READs and WRITEs of the "ram" backstore: copies from and to its chunks. */
#ifndef SHORTCUT_RAM_H
#define SHORTCUT_RAM_H

#include "shortcut.h"

/* The words of "ram", as in shortcut.py. */
enum { SIZE, ALONE, RAM_WORDS };

enum attempt ram_read(const struct shortcut *shortcut, const struct user *user, uint64_t offset, const struct pieces *pieces);
enum attempt ram_write(const struct shortcut *shortcut, const struct user *user, uint64_t offset, const struct pieces *pieces);

#endif
