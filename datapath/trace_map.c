#include "trace_map.h"

#include <stdlib.h>

enum { FEWEST = 8 };

static size_t home(const struct map *map, uint64_t key)
{
    return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (map->size - 1);
}

/* Where the key is, or the empty slot where it would be. There are slots. */
static size_t find(const struct map *map, uint64_t key)
{
    size_t at = home(map, key);

    while (map->slots[at].value != 0 && map->slots[at].key != key)
        at = (at + 1) & (map->size - 1);
    return at;
}

uint64_t map_get(const struct map *map, uint64_t key)
{
    return map->count == 0 ? 0 : map->slots[find(map, key)].value;
}

static int grow(struct map *map)
{
    struct map more = {NULL, map->size ? map->size * 2 : FEWEST, map->count};

    more.slots = calloc(more.size, sizeof *more.slots);
    if (more.slots == NULL)
        return -1;
    for (size_t i = 0; i < map->size; i++)
        if (map->slots[i].value != 0)
            more.slots[find(&more, map->slots[i].key)] = map->slots[i];
    free(map->slots);
    *map = more;
    return 0;
}

/* The slot of a key, taken if it was empty; NULL without memory. Its value has to be set. */
static struct map_slot *slot_of(struct map *map, uint64_t key)
{
    struct map_slot *slot;

    if (map->count * 2 >= map->size && grow(map) < 0)
        return NULL;
    slot = &map->slots[find(map, key)];
    map->count += slot->value == 0;
    slot->key = key;
    return slot;
}

int map_put(struct map *map, uint64_t key, uint64_t value)
{
    struct map_slot *slot = slot_of(map, key);

    if (slot == NULL)
        return -1;
    slot->value = value;
    return 0;
}

int map_add(struct map *map, uint64_t key, uint64_t value)
{
    struct map_slot *slot = slot_of(map, key);

    if (slot == NULL)
        return -1;
    slot->value += value;
    return 0;
}

/* Empty a slot, and move those behind it that would not be found any more. */
static void empty(struct map *map, size_t hole)
{
    struct map_slot *slots = map->slots;
    size_t mask = map->size - 1;

    for (size_t at = (hole + 1) & mask; slots[at].value != 0; at = (at + 1) & mask) {
        size_t from_home = (at - home(map, slots[at].key)) & mask;
        if (from_home >= ((at - hole) & mask)) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole].value = 0;
    map->count--;
}

uint64_t map_take(struct map *map, uint64_t key)
{
    uint64_t value;
    size_t at;

    if (map->count == 0)
        return 0;
    at = find(map, key);
    value = map->slots[at].value;
    if (value != 0)
        empty(map, at);
    return value;
}

void map_clear(struct map *map)
{
    free(map->slots);
    *map = (struct map){NULL, 0, 0};
}

PyObject *map_to_dict(const struct map *map)
{
    PyObject *dict = PyDict_New();

    for (size_t i = 0; dict != NULL && i < map->size; i++) {
        if (map->slots[i].value == 0)
            continue;
        PyObject *key = PyLong_FromUnsignedLongLong(map->slots[i].key);
        PyObject *value = PyLong_FromUnsignedLongLong(map->slots[i].value);
        if (key == NULL || value == NULL || PyDict_SetItem(dict, key, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}
