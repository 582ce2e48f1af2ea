/*
 * Prints every member of every argument of each event, with the D library's types and translators, so that a program
 * can compare them with what the target itself recorded.
 *
 * Each clause's output is a record of its own, and where the process moves to another processor, DTrace may print the
 * records of other events between two of one event. So every record begins with the name and the time of its event.
 */
#pragma D option quiet
#pragma D option strsize=128
#pragma D option bufsize=16m

dtrace:::BEGIN
{
	printf("Tracing...\n");
}

iscsi*:::login-command, iscsi*:::login-response, iscsi*:::logout-command, iscsi*:::logout-response,
iscsi*:::text-command, iscsi*:::text-response, iscsi*:::scsi-command, iscsi*:::scsi-response,
iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::data-request, iscsi*:::task-command, iscsi*:::task-response,
iscsi*:::nop-receive, iscsi*:::nop-send, iscsi*:::async-send, iscsi*:::xfer-start, iscsi*:::xfer-done
{
	this->event = timestamp;
	printf("\nevent %s %d", probename, this->event);
	printf("\nci_local %s", args[0]->ci_local);
	printf("\nci_remote %s", args[0]->ci_remote);
	printf("\nci_protocol %s", args[0]->ci_protocol);
	printf("\nii_target %s", args[1]->ii_target);
	printf("\nii_initiator %s", args[1]->ii_initiator);
	printf("\nii_isid %s", args[1]->ii_isid);
	printf("\nii_tsih %s", args[1]->ii_tsih);
	printf("\nii_transport %s", args[1]->ii_transport);
	printf("\nii_lun %d\nii_itt %u\nii_ttt %u", args[1]->ii_lun, args[1]->ii_itt, args[1]->ii_ttt);
	printf("\nii_cmdsn %u\nii_statsn %u\nii_datasn %u", args[1]->ii_cmdsn, args[1]->ii_statsn, args[1]->ii_datasn);
	printf("\nii_datalen %u\nii_flags %u", args[1]->ii_datalen, args[1]->ii_flags);
}

iscsi*:::scsi-command
{
	printf("\nmore %s %d", probename, this->event);
	printf("\nic_len %u\nic_cdb_0 %02x%02x%02x%02x", args[2]->ic_len, args[2]->ic_cdb[0], args[2]->ic_cdb[1],
	    args[2]->ic_cdb[2], args[2]->ic_cdb[3]);
	printf("%02x%02x", args[2]->ic_cdb[4], args[2]->ic_cdb[5]);
}

iscsi*:::scsi-command
/args[2]->ic_len >= 10/
{
	printf("\nmore %s %d", probename, this->event);
	printf("\nic_cdb_1 %02x%02x%02x%02x", args[2]->ic_cdb[6], args[2]->ic_cdb[7], args[2]->ic_cdb[8], args[2]->ic_cdb[9]);
}

iscsi*:::scsi-command
/args[2]->ic_len == 16/
{
	printf("\nmore %s %d", probename, this->event);
	printf("\nic_cdb_2 %02x%02x%02x", args[2]->ic_cdb[10], args[2]->ic_cdb[11], args[2]->ic_cdb[12]);
	printf("%02x%02x%02x", args[2]->ic_cdb[13], args[2]->ic_cdb[14], args[2]->ic_cdb[15]);
}

iscsi*:::xfer-start, iscsi*:::xfer-done
{
	printf("\nmore %s %d", probename, this->event);
	printf("\nxfer_laddr %u\nxfer_loffset %u\nxfer_lkey %u", (uint64_t)args[2]->xfer_laddr, args[2]->xfer_loffset,
	    args[2]->xfer_lkey);
	printf("\nxfer_raddr %u\nxfer_roffset %u\nxfer_rkey %u", (uint64_t)args[2]->xfer_raddr, args[2]->xfer_roffset,
	    args[2]->xfer_rkey);
	printf("\nxfer_len %u\nxfer_type %u", args[2]->xfer_len, args[2]->xfer_type);
}
