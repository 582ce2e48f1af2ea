/*
 * The native arguments of the iscsi provider's probes: what a tracer reads out of this process.
 *
 * D scripts reach them through translators (conninfo_t, iscsiinfo_t, scsicmd_t, xferinfo_t), programs for bpftrace,
 * perf and SystemTap by offset, so the layouts never change. 64-bit processes only: a pointer is 8 bytes.
 */
#ifndef UISCSI_H
#define UISCSI_H

#include <stddef.h>
#include <stdint.h>

/* Begins as the structure of the first iscsi provider (OpenSolaris iscsitgtd, 2007); from uip_isid on it is ours. */
typedef struct uiscsiproto {
    uint64_t uip_target_addr;    /* struct sockaddr_storage *, laid out as this system does */
    uint64_t uip_initiator_addr; /* struct sockaddr_storage * */
    uint64_t uip_target;         /* char *, IQN */
    uint64_t uip_initiator;      /* char *, IQN */
    uint64_t uip_lun;            /* unit number */
    uint32_t uip_itt;
    uint32_t uip_ttt;
    uint32_t uip_cmdsn;
    uint32_t uip_statsn;
    uint32_t uip_datasn;
    uint32_t uip_datalen; /* DataSegmentLength, bytes */
    uint32_t uip_flags;   /* byte 1 of the PDU */
    uint32_t uip_pad;
    uint64_t uip_isid;      /* char *, 12 lower-case hex digits */
    uint64_t uip_tsih;      /* char *, "0x%04x" */
    uint64_t uip_transport; /* char *, "sockets" */
    uint64_t uip_local;     /* char *, address:port */
    uint64_t uip_remote;    /* char *, address:port */
    uint64_t uip_protocol;  /* char *, "ipv4" or "ipv6" */
} uiscsiproto_t;

typedef struct uiscsicmd {
    uint64_t uic_len; /* bytes of the CDB */
    uint64_t uic_cdb; /* uint8_t * */
} uiscsicmd_t;

typedef struct uiscsixfer {
    uint64_t xfer_laddr;   /* address of the transfer's first byte */
    uint32_t xfer_loffset; /* the task's Buffer Offset */
    uint32_t xfer_lkey;    /* 0, as the other remote DMA members below */
    uint64_t xfer_raddr;
    uint32_t xfer_roffset;
    uint32_t xfer_rkey;
    uint32_t xfer_len;  /* bytes */
    uint32_t xfer_type; /* 0: read, target to initiator; 1: write */
} uiscsixfer_t;

_Static_assert(sizeof(uiscsiproto_t) == 120 && offsetof(uiscsiproto_t, uip_lun) == 32
                   && offsetof(uiscsiproto_t, uip_flags) == 64 && offsetof(uiscsiproto_t, uip_isid) == 72,
               "uiscsiproto_t is frozen");
_Static_assert(sizeof(uiscsicmd_t) == 16 && sizeof(uiscsixfer_t) == 40 && offsetof(uiscsixfer_t, xfer_raddr) == 16,
               "uiscsicmd_t and uiscsixfer_t are frozen");

#endif
