/* For tests: what illumos' own scsi.d defines, under the same condition; its source type is left out. */
#pragma D depends_on module stmf

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
