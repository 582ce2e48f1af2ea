/*
 * Long buffers of a data thread. A fresh 256 KiB of malloc's costs the kernel more than the copy into it, and what is
 * freed goes back to the kernel: so buffers stay here for the next command, up to a bound. They are malloc's memory
 * wherever they come from, so the loop's thread makes and frees those that a connection brings along.
 */
#ifndef POOL_H
#define POOL_H

#include <stddef.h>
#include <stdint.h>

enum { POOL_CLASSES = 7 }; /* powers of two: 64 KiB to 4 MiB */

struct spare;

struct pool {
    struct spare *spare[POOL_CLASSES];
    size_t bytes; /* of all of them */
};

/* How many bytes a buffer for "length" of them has, wherever it is made. */
size_t pool_size(size_t length);

/* A fresh one, which lies as O_DIRECT wants it where it is long; NULL: there is no memory. */
uint8_t *pool_make(size_t length);

/* A buffer of undefined content for so many bytes; NULL: there is no memory. */
uint8_t *pool_take(struct pool *pool, size_t length);

/* Keep a buffer for so many bytes, or NULL, for the next one who wants it. */
void pool_give(struct pool *pool, uint8_t *buffer, size_t length);

/* Free all that is spare. */
void pool_end(struct pool *pool);

#endif
