/*
 * Prints every member of every argument of each event, one per line, so that a program can compare them with what was
 * fired. Has its own types and translators: it tests the provider, not the D library.
 */
#pragma D option quiet
#pragma D option strsize=128

int fired;

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

typedef struct iscsiinfo {
	string ii_target;
	string ii_initiator;
	string ii_isid;
	string ii_tsih;
	string ii_transport;
	uint64_t ii_lun;
	uint32_t ii_itt;
	uint32_t ii_ttt;
	uint32_t ii_cmdsn;
	uint32_t ii_statsn;
	uint32_t ii_datasn;
	uint32_t ii_datalen;
	uint32_t ii_flags;
} iscsiinfo_t;

typedef struct scsicmd {
	uint64_t ic_len;
	uint8_t *ic_cdb;
} scsicmd_t;

typedef struct xferinfo {
	uintptr_t xfer_laddr;
	uint32_t xfer_loffset;
	uint32_t xfer_lkey;
	uintptr_t xfer_raddr;
	uint32_t xfer_roffset;
	uint32_t xfer_rkey;
	uint32_t xfer_len;
	uint32_t xfer_type;
} xferinfo_t;

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
	ic_cdb = (uint8_t *)*(uint64_t *)copyin((uintptr_t)&P->uic_cdb, 8);
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

iscsi*:::login-command, iscsi*:::login-response, iscsi*:::logout-command, iscsi*:::logout-response,
iscsi*:::text-command, iscsi*:::text-response, iscsi*:::scsi-command, iscsi*:::scsi-response,
iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::data-request, iscsi*:::task-command, iscsi*:::task-response,
iscsi*:::nop-receive, iscsi*:::nop-send, iscsi*:::async-send, iscsi*:::xfer-start, iscsi*:::xfer-done
{
	printf("\nevent %s", probename);
	printf("\nci_local %s", args[0]->ci_local);
	printf("\nci_remote %s", args[0]->ci_remote);
	printf("\nci_protocol %s", args[0]->ci_protocol);
	printf("\nii_target %s", args[1]->ii_target);
	printf("\nii_initiator %s", args[1]->ii_initiator);
	printf("\nii_isid %s", args[1]->ii_isid);
	printf("\nii_tsih %s", args[1]->ii_tsih);
	printf("\nii_transport %s", args[1]->ii_transport);
	printf("\nnumbers %u %u %u %u %u", args[1]->ii_lun, args[1]->ii_itt, args[1]->ii_ttt, args[1]->ii_cmdsn,
	    args[1]->ii_statsn);
	printf(" %u %u %u", args[1]->ii_datasn, args[1]->ii_datalen, args[1]->ii_flags);
}

iscsi*:::scsi-command
{
	printf("\ncommand %u %u %u %u", args[2]->ic_len, args[2]->ic_cdb[0], args[2]->ic_cdb[9], *args[2]->ic_cdb);
}

iscsi*:::xfer-start, iscsi*:::xfer-done
{
	printf("\nxfer %u %u %u %u", (uint64_t)args[2]->xfer_laddr, args[2]->xfer_loffset, args[2]->xfer_lkey,
	    (uint64_t)args[2]->xfer_raddr);
	printf(" %u %u %u %u", args[2]->xfer_roffset, args[2]->xfer_rkey, args[2]->xfer_len, args[2]->xfer_type);
}

/* The last of the events that tests/dtrace/fire.py fires. */
tick-1s
/fired == 18/
{
	exit(0);
}

iscsi*:::xfer-done
{
	fired++;
}
