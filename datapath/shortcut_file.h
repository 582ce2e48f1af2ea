/* READs and WRITEs of the "file" backstore: one system call each on the page cache (for 1024 pieces), or nothing. */
#ifndef SHORTCUT_FILE_H
#define SHORTCUT_FILE_H

#include "shortcut.h"

enum attempt file_read(const struct shortcut *shortcut, const struct user *user, uint64_t offset,
                       const struct pieces *pieces);
enum attempt file_write(const struct shortcut *shortcut, struct user *user, uint64_t offset, const struct pieces *pieces);

#endif
