#!/usr/sbin/dtrace -s
/*
 * iscsisnoop.d - print one line per iSCSI event, as it happens.
 *
 * USAGE: iscsisnoop.d		# hit Ctrl-C to end
 *
 * FIELDS:
 *	TIME(s)		seconds since tracing began
 *	CLIENT		the initiator's address
 *	EVENT		the probe: what was received or sent
 *	LUN		unit number; 0 where the PDU has none
 *	ITT		Initiator Task Tag, hexadecimal
 *	BYTES		bytes in the PDU's data segment; of a transfer, its length
 *	DETAIL		of a SCSI command its operation code; of a transfer read or write
 *
 * Lines of events that fired on several processors may be out of order: sort by TIME(s).
 *
 * The same from the target itself, without DTrace: iscsitools snoop.
 */

#pragma D option quiet
#pragma D option switchrate=10hz

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	printf("%13s %-15s %-15s %3s %8s %8s %s\n", "TIME(s)", "CLIENT", "EVENT", "LUN", "ITT", "BYTES", "DETAIL");
	started = timestamp;
}

iscsi*:::login-command, iscsi*:::login-response, iscsi*:::logout-command, iscsi*:::logout-response,
iscsi*:::text-command, iscsi*:::text-response, iscsi*:::scsi-command, iscsi*:::scsi-response,
iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::data-request, iscsi*:::task-command, iscsi*:::task-response,
iscsi*:::nop-receive, iscsi*:::nop-send, iscsi*:::async-send, iscsi*:::xfer-start, iscsi*:::xfer-done
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->elapsed = timestamp - started;
}

iscsi*:::login-command, iscsi*:::login-response, iscsi*:::logout-command, iscsi*:::logout-response,
iscsi*:::text-command, iscsi*:::text-response, iscsi*:::scsi-response,
iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::data-request, iscsi*:::task-command, iscsi*:::task-response,
iscsi*:::nop-receive, iscsi*:::nop-send, iscsi*:::async-send
{
	printf("%6d.%06d %-15s %-15s %3d %8x %8d\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, probename, args[1]->ii_lun, args[1]->ii_itt, args[1]->ii_datalen);
}

iscsi*:::scsi-command
{
	printf("%6d.%06d %-15s %-15s %3d %8x %8d %02xh\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, probename, args[1]->ii_lun, args[1]->ii_itt, args[1]->ii_datalen, args[2]->ic_cdb[0]);
}

iscsi*:::xfer-start, iscsi*:::xfer-done
{
	printf("%6d.%06d %-15s %-15s %3d %8x %8d %s\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, probename, args[1]->ii_lun, args[1]->ii_itt, args[2]->xfer_len,
	    args[2]->xfer_type ? "write" : "read");
}
