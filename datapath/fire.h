/* The probes' call sites: what is called, with which arguments, when somebody looks. */
#ifndef FIRE_H
#define FIRE_H

#include "path.h"

#include "command.h"

/* Bits of a mask, and what has fired of a PDU: as in iscsitools/probes/firing.py. */
enum {
    FIRE_SCSI_COMMAND = 1 << 6,
    FIRE_SCSI_RESPONSE = 1 << 7,
    FIRE_DATA_SEND = 1 << 8,
    FIRE_XFER_START = 1 << 16,
    FIRE_XFER_DONE = 1 << 17,
};
enum { FIRED_NOTHING, FIRED_COMMAND, FIRED_TRANSFER };

/* Who looks, read once for a batch. With a mask of 0 the rest is not set. */
struct watch {
    unsigned long mask;
    struct tracers *tracers;        /* NULL: somebody looks who has to be called in Python */
    struct source source;           /* with tracers: the connection */
    PyObject *clock, *read, *write; /* without: read and write are NULL where each event fires by itself */
    PyObject *native;               /* what keeps the tracers */
};

/* A command, where its header is, and where its data and its answer are, in bytes of the two buffers. */
struct served {
    struct path *path;
    const struct command *command;
    uint64_t lun;
    const uint8_t *header;
    PyObject *request; /* the object with the header, "at" bytes from its beginning */
    size_t at;
    uint64_t address; /* of the data in memory */
    const uint8_t *answer;
    size_t tail, done;
};

/* All functions return 0, or -1 with an exception; in a data thread for want of memory. */
int watch_begin(struct watch *watch, PyObject *probes, PyObject *info);
void watch_end(struct watch *watch);

/* Whether the events of a write may be told when all of them have happened. */
bool watch_takes_times(const struct watch *watch);
int watch_now(const struct watch *watch, PyObject **time);

int fire_command(const struct watch *watch, const struct served *served);
int fire_transfer(const struct watch *watch, const struct served *served);
int fire_response(const struct watch *watch, const struct served *served);
int fire_read_one_by_one(const struct watch *watch, const struct served *served);
int fire_all_of_read(const struct watch *watch, const struct served *served, PyObject *began);
int fire_all_of_write(const struct watch *watch, const struct served *served, PyObject *const *times);

int fire_init(void);

#endif
