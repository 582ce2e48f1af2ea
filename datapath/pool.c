#include "pool.h"

#include <stdlib.h>

enum { ALIGNMENT = 4096, SHORTEST = 32 << 10 /* what is not longer is malloc's own */, MOST_SPARE = 16 << 20 };

struct spare {
    struct spare *next;
};

/* Which class; POOL_CLASSES: none. */
static unsigned class_of(size_t length)
{
    unsigned class = 0;

    if (length <= SHORTEST)
        return POOL_CLASSES;
    while (class < POOL_CLASSES && length > (size_t)2 * SHORTEST << class)
        class++;
    return class;
}

size_t pool_size(size_t length)
{
    unsigned class = class_of(length);

    return class == POOL_CLASSES ? length : (size_t)2 * SHORTEST << class;
}

uint8_t *pool_make(size_t length)
{
    void *buffer = NULL;

    if (class_of(length) == POOL_CLASSES)
        return malloc(length);
    return posix_memalign(&buffer, ALIGNMENT, pool_size(length)) == 0 ? buffer : NULL;
}

uint8_t *pool_take(struct pool *pool, size_t length)
{
    unsigned class = class_of(length);
    struct spare *spare = class == POOL_CLASSES ? NULL : pool->spare[class];

    if (spare == NULL)
        return pool_make(length);
    pool->spare[class] = spare->next;
    pool->bytes -= pool_size(length);
    return (uint8_t *)spare;
}

void pool_give(struct pool *pool, uint8_t *buffer, size_t length)
{
    unsigned class = class_of(length);
    struct spare *spare = (struct spare *)(void *)buffer;

    if (buffer == NULL || class == POOL_CLASSES || pool->bytes + pool_size(length) > MOST_SPARE) {
        free(buffer);
        return;
    }
    spare->next = pool->spare[class];
    pool->spare[class] = spare;
    pool->bytes += pool_size(length);
}

void pool_end(struct pool *pool)
{
    for (unsigned class = 0; class < POOL_CLASSES; class++) {
        while (pool->spare[class] != NULL) {
            struct spare *next = pool->spare[class]->next;
            free(pool->spare[class]);
            pool->spare[class] = next;
        }
    }
    pool->bytes = 0;
}
