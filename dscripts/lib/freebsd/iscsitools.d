/*
 * iscsitools.d - types, translators and flags of the iscsi provider: FreeBSD.
 *
 * dtrace reads it from its own library directory (iscsitools dtrace install), or from the directory that -L names
 * (iscsitools dtrace run does that). Made from iscsitools.d.in; do not edit.
 */

/*
 * conninfo_t: the connection. Addresses are with their ports, as 192.0.2.7:3260 or [2001:db8::7]:3260.
 */
typedef struct conninfo {
	string ci_local;	/* the target's address and port */
	string ci_remote;	/* the initiator's */
	string ci_protocol;	/* "ipv4" or "ipv6" */
} conninfo_t;

/*
 * iscsiinfo_t: the session, and the numbers of the PDU, in host byte order.
 */
typedef struct iscsiinfo {
	string ii_target;	/* the target's name */
	string ii_initiator;	/* the initiator's name */
	string ii_isid;		/* 12 hexadecimal digits */
	string ii_tsih;		/* as 0x0001 */
	string ii_transport;	/* "sockets" */

	uint64_t ii_lun;	/* unit number */

	uint32_t ii_itt;	/* Initiator Task Tag */
	uint32_t ii_ttt;	/* Target Transfer Tag, Referenced Task Tag */

	uint32_t ii_cmdsn;	/* CmdSN, ExpCmdSN */
	uint32_t ii_statsn;	/* StatSN, ExpStatSN */
	uint32_t ii_datasn;	/* DataSN, R2TSN, ExpDataSN */

	uint32_t ii_datalen;	/* bytes in the data segment */
	uint32_t ii_flags;	/* byte 1 of the PDU */
} iscsiinfo_t;

/*
 * scsicmd_t: the SCSI command (args[2] of scsi-command).
 */
typedef struct scsicmd {
	uint64_t ic_len;	/* bytes of the CDB */
	uint8_t *ic_cdb;	/* the CDB, as args[2]->ic_cdb[0] */
} scsicmd_t;

/*
 * xferinfo_t: a transfer (args[2] of xfer-start and xfer-done).
 */
typedef struct xferinfo {
	uintptr_t xfer_laddr;	/* where its first byte is in the target's memory */
	uint32_t xfer_loffset;	/* offset of that byte in the command's data */
	uint32_t xfer_lkey;	/* 0, as raddr, roffset and rkey: remote DMA only */
	uintptr_t xfer_raddr;
	uint32_t xfer_roffset;
	uint32_t xfer_rkey;
	uint32_t xfer_len;	/* bytes: meant at xfer-start, moved at xfer-done */
	uint32_t xfer_type;	/* 0: read, target to initiator; 1: write */
} xferinfo_t;

/* The third type's name in the first iscsi provider. */
typedef scsicmd_t iscsicmd_t;

/*
 * What the target passes, in its own memory: pointers are 64 bits. The target's uiscsi.h says the same.
 */
typedef struct uiscsiproto {
	uint64_t uip_target_addr;
	uint64_t uip_initiator_addr;
	uint64_t uip_target;
	uint64_t uip_initiator;
	uint64_t uip_lun;
	uint32_t uip_itt;
	uint32_t uip_ttt;
	uint32_t uip_cmdsn;
	uint32_t uip_statsn;
	uint32_t uip_datasn;
	uint32_t uip_datalen;
	uint32_t uip_flags;
	uint32_t uip_pad;
	uint64_t uip_isid;
	uint64_t uip_tsih;
	uint64_t uip_transport;
	uint64_t uip_local;
	uint64_t uip_remote;
	uint64_t uip_protocol;
} uiscsiproto_t;

typedef struct uiscsicmd {
	uint64_t uic_len;
	uint64_t uic_cdb;
} uiscsicmd_t;

typedef struct uiscsixfer {
	uint64_t xfer_laddr;
	uint32_t xfer_loffset;
	uint32_t xfer_lkey;
	uint64_t xfer_raddr;
	uint32_t xfer_roffset;
	uint32_t xfer_rkey;
	uint32_t xfer_len;
	uint32_t xfer_type;
} uiscsixfer_t;

translator conninfo_t < uiscsiproto_t *P > {
	ci_local = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_local, 8), 256);
	ci_remote = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_remote, 8), 256);
	ci_protocol = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_protocol, 8), 256);
};

translator iscsiinfo_t < uiscsiproto_t *P > {
	ii_target = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_target, 8), 256);
	ii_initiator = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_initiator, 8), 256);
	ii_isid = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_isid, 8), 256);
	ii_tsih = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_tsih, 8), 256);
	ii_transport = copyinstr(*(uint64_t *)copyin((uintptr_t)&P->uip_transport, 8), 256);
	ii_lun = *(uint64_t *)copyin((uintptr_t)&P->uip_lun, 8);
	ii_itt = *(uint32_t *)copyin((uintptr_t)&P->uip_itt, 4);
	ii_ttt = *(uint32_t *)copyin((uintptr_t)&P->uip_ttt, 4);
	ii_cmdsn = *(uint32_t *)copyin((uintptr_t)&P->uip_cmdsn, 4);
	ii_statsn = *(uint32_t *)copyin((uintptr_t)&P->uip_statsn, 4);
	ii_datasn = *(uint32_t *)copyin((uintptr_t)&P->uip_datasn, 4);
	ii_datalen = *(uint32_t *)copyin((uintptr_t)&P->uip_datalen, 4);
	ii_flags = *(uint32_t *)copyin((uintptr_t)&P->uip_flags, 4);
};

translator scsicmd_t < uiscsicmd_t *P > {
	ic_len = *(uint64_t *)copyin((uintptr_t)&P->uic_len, 8);
	ic_cdb = (uint8_t *)copyin(*(uint64_t *)copyin((uintptr_t)&P->uic_cdb, 8),
	    *(uint64_t *)copyin((uintptr_t)&P->uic_len, 8));
};

translator xferinfo_t < uiscsixfer_t *P > {
	xfer_laddr = *(uint64_t *)copyin((uintptr_t)&P->xfer_laddr, 8);
	xfer_loffset = *(uint32_t *)copyin((uintptr_t)&P->xfer_loffset, 4);
	xfer_lkey = *(uint32_t *)copyin((uintptr_t)&P->xfer_lkey, 4);
	xfer_raddr = *(uint64_t *)copyin((uintptr_t)&P->xfer_raddr, 8);
	xfer_roffset = *(uint32_t *)copyin((uintptr_t)&P->xfer_roffset, 4);
	xfer_rkey = *(uint32_t *)copyin((uintptr_t)&P->xfer_rkey, 4);
	xfer_len = *(uint32_t *)copyin((uintptr_t)&P->xfer_len, 4);
	xfer_type = *(uint32_t *)copyin((uintptr_t)&P->xfer_type, 4);
};

/*
 * Bits of ii_flags. The same bit means different things in different PDUs: RFC 7143 11.3 to 11.13.
 */
inline int ISCSI_FLAG_FINAL = 0x80;

/* SCSI Command and SCSI Response */
inline int ISCSI_FLAG_CMD_READ = 0x40;
inline int ISCSI_FLAG_CMD_WRITE = 0x20;
inline int ISCSI_FLAG_CMD_BIDI_OVERFLOW = 0x10;
inline int ISCSI_FLAG_CMD_BIDI_UNDERFLOW = 0x08;
inline int ISCSI_FLAG_CMD_OVERFLOW = 0x04;
inline int ISCSI_FLAG_CMD_UNDERFLOW = 0x02;

/* Data-In */
inline int ISCSI_FLAG_DATA_ACK = 0x40;
inline int ISCSI_FLAG_DATA_OVERFLOW = 0x04;
inline int ISCSI_FLAG_DATA_UNDERFLOW = 0x02;
inline int ISCSI_FLAG_DATA_STATUS = 0x01;

/* Text and Login */
inline int ISCSI_FLAG_TEXT_CONTINUE = 0x40;
inline int ISCSI_FLAG_LOGIN_TRANSIT = 0x80;
inline int ISCSI_FLAG_LOGIN_CONTINUE = 0x40;
