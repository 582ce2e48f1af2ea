/*
 * READs and WRITEs that a backstore takes and answers in C: an optional extension of the asynchronous contract, for
 * plugins (docs/writing-a-backstore.md). A plugin carries a copy of this file. What a version promises does not change;
 * the version is the end of the capsule's name.
 */
#ifndef ISCSITOOLS_CARRIER_H
#define ISCSITOOLS_CARRIER_H

#include <stdint.h>

#define ISCSITOOLS_CARRIER "iscsitools.carrier.1"

enum { ISCSITOOLS_READ, ISCSITOOLS_WRITE };

/* One call. Offset and length are bytes, multiples of the block size, within the disk. */
struct iscsitools_call {
    uint32_t operation, durable; /* durable: on stable storage when it has ended */
    uint64_t offset, length;
    void *memory; /* what is to be filled, or written; lent until it has ended */
    /*
     * Said once when it has ended: with "length", or with a negative errno, and then the plugin's "ended" in Python is
     * asked what that means. From any thread, with the interpreter's lock or without; it returns at once. The memory is
     * not the plugin's any more.
     */
    void (*ended)(struct iscsitools_call *call, int64_t result);
};

/* What the capsule of that name points to. */
struct iscsitools_carrier {
    void *store;
    /*
     * Begin a call, and return at once: 0; or a negative errno, and then nothing has been done, and the backstore's
     * "submit" in Python is asked. On the event loop's thread, which holds the interpreter's lock.
     */
    int (*submit)(void *store, struct iscsitools_call *call);
};

#endif
