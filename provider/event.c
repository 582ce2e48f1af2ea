/* Reads the numbers of iscsiinfo_t from a basic header segment (RFC 7143 chapter 11), as the probe table says. */
#include "event.h"
#include "table.h"

static uint32_t be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t at(const uint8_t *bhs, int place)
{
    if (place >= 0)
        return be32(bhs + place);
    return place == PLACE_ZERO ? 0 : RESERVED_TAG;
}

static uint64_t cdb_start(const uint8_t *cdb, size_t length)
{
    uint64_t number = 0;

    for (size_t i = 0; i < 8; i++)
        number = number << 8 | (i < length ? cdb[i] : 0);
    return number;
}

void event_from_bhs(struct event *event, int probe, uint64_t lun, const uint8_t *bhs, const uint8_t *cdb, size_t length)
{
    const struct fields *f = &FIELDS[probe];
    uiscsiproto_t *proto = &event->proto;
    uint8_t flags = bhs[1];

    proto->uip_lun = lun;
    proto->uip_itt = at(bhs, f->itt);
    proto->uip_ttt = at(bhs, f->ttt);
    proto->uip_cmdsn = at(bhs, f->cmdsn);
    /* Data-In has a StatSN only together with status (RFC 7143 11.7.4). */
    proto->uip_statsn = probe == PROBE_DATA_SEND && !(flags & DATA_STATUS) ? 0 : at(bhs, f->statsn);
    proto->uip_datasn = at(bhs, f->datasn);
    proto->uip_datalen = f->datalen ? be32(bhs + 4) & 0xffffff : 0;
    proto->uip_flags = f->flags ? flags : 0;
    event->third = NULL;
    event->cdb_start = 0;
    if (probe == PROBE_SCSI_COMMAND) {
        event->command.uic_len = length;
        event->command.uic_cdb = (uintptr_t)cdb;
        event->third = &event->command;
        event->cdb_start = cdb_start(cdb, length);
    }
}

void event_from_xfer(struct event *event, uint64_t lun, uint32_t itt, uint32_t ttt, const uiscsixfer_t *xfer)
{
    uiscsiproto_t *proto = &event->proto;

    proto->uip_lun = lun;
    proto->uip_itt = itt;
    proto->uip_ttt = ttt;
    proto->uip_cmdsn = proto->uip_statsn = proto->uip_datasn = 0;
    proto->uip_datalen = proto->uip_flags = 0;
    event->xfer = *xfer;
    event->third = &event->xfer;
    event->cdb_start = 0;
}
