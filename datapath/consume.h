/* Parts that consume and write_in_place share. */
#ifndef CONSUME_H
#define CONSUME_H

#include "path.h"

#include "command.h"
#include "fire.h"

/* Why consume stopped: the members of Stop by number, and two of our own, which nobody outside sees. */
enum stop { INCOMPLETE, OTHER, OUTPUT_FULL, BUDGET, CLOSED, STOPS, SERVED, RAISED };

/* Whether a command means no more than its blocks: no FUA that would have to flush, and nothing the watchers do not know. */
bool is_plain(const struct command *command, const struct gate *gate, bool watched, const struct user *user);

/* Whether so many blocks from "lba" on are inside the unit. */
bool lba_fits(uint64_t lba, uint64_t count, const struct gate *gate);

/* Whether a command's lengths agree with each other, with what was agreed on, and with the unit's size. */
bool lengths_fit(const struct path *path, const struct command *command, const struct gate *gate);

/* Whether a tag may be given to another command. */
bool tag_is_free(const struct path *path, uint32_t itt);

/* What the backstore's own method, try_read_into or try_write, makes of a part of a view. */
enum attempt ask_store(PyObject *store, const char *method, uint64_t offset, PyObject *view, size_t from, size_t to);

/* Whether the backstore says that something is not durable, or nothing at all. */
bool store_unflushed(PyObject *store);

/* The member of Stop, borrowed. */
PyObject *stop_object(enum stop stop);

/* Find the types of Python that this needs; 0, or -1 with an exception. */
int python_init(void);

#endif
