/*
 * Where flights are (flights.h): each ring tells which bytes of which file its calls are at, for the users of other rings,
 * who look before they move a byte. Who begins a flight has its bytes claimed (users.h) from the look at the others until
 * it has told of them, and who moves bytes at once has them claimed while he looks and moves: so of two that overlap one
 * sees the other. Nobody waits here: a data thread tries again a little later (data_thread_turn.c), and at last leaves
 * it to the loop's thread, which makes tasks of both.
 */
#ifndef AIRSPACE_H
#define AIRSPACE_H

#include <stdbool.h>
#include <stdint.h>

enum { AIRSPACE_PLACES = 128 };

/* What one ring tells. */
struct airspace;

/*
 * One that nobody has, under the interpreter's lock; NULL: there are too many. And let go of it, or of NULL, when it is
 * empty.
 */
struct airspace *airspace_take(void);
void airspace_give(struct airspace *space);

/* Tell of the flight in a place, and that it has landed. Only for the thread of the ring. */
void airspace_tell(struct airspace *space, unsigned place, const void *store, uint64_t begin, uint64_t end, bool writes);
void airspace_forget(struct airspace *space, unsigned place);

/* Whether a flight of another ring than this one is in the way of who reads, or writes, these bytes, which he has claimed. */
bool airspace_is_taken(const struct airspace *own, const void *store, uint64_t begin, uint64_t end, bool writes);

#endif
