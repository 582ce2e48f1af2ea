/* From an event of the target to the native arguments of its probe. */
#ifndef EVENT_H
#define EVENT_H

#include "uiscsi.h"

#define BHS_SIZE 48

/* One event's arguments; valid until the next one is built. */
struct event {
    uiscsiproto_t proto;
    uiscsicmd_t command;
    uiscsixfer_t xfer;
    void *third;        /* &command, &xfer, or NULL */
    uint64_t cdb_start; /* CDB bytes 0 to 7 as a big-endian number */
};

/* Fill in everything but the connection's strings. cdb is kept by reference. */
void event_from_bhs(struct event *event, int probe, uint64_t lun, const uint8_t *bhs, const uint8_t *cdb, size_t length);

/* As above for xfer-start and xfer-done; the members of *xfer are the caller's. */
void event_from_xfer(struct event *event, uint64_t lun, uint32_t itt, uint32_t ttt, const uiscsixfer_t *xfer);

#endif
