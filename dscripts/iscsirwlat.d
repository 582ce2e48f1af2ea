#!/usr/sbin/dtrace -s
/*
 * iscsirwlat.d - show the latency of iSCSI reads and writes by client, as distributions.
 *
 * USAGE: iscsirwlat.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	value		nanoseconds, as powers of two: the row 65536 counts from 65536 up to 131071
 *	count		reads or writes in that range
 *
 * A read is a command with the R flag, a write one with the W flag. Its latency is from the SCSI Command to its
 * SCSI Response, or to the Data-In that carries its status: the time in the target and in the socket's queue, without
 * the network. Commands that failed are counted below: those whose response has sense data or says that data is
 * missing, which is what the probes show of a status. Those that were aborted never end, and do not count.
 *
 * The same from the target itself, without DTrace: iscsitools rwlat.
 */

#pragma D option quiet
#pragma D option strsize=128

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::scsi-command, iscsi*:::data-send, iscsi*:::scsi-response, iscsi*:::task-command
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_itt;
}

/*
 * Sessions of one initiator reuse task tags, so the key is the connection and the tag. Where an end was not seen, the
 * next command with the key takes its place.
 */
iscsi*:::scsi-command
/args[1]->ii_flags & (ISCSI_FLAG_CMD_READ | ISCSI_FLAG_CMD_WRITE)/
{
	start[this->local, this->remote, this->itt] = timestamp;
	writes[this->local, this->remote, this->itt] = args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE;
}

/* Data-In carries a good status only (RFC 7143 11.7.3). */
iscsi*:::data-send
{
	this->ends = args[1]->ii_flags & ISCSI_FLAG_DATA_STATUS;
	this->failed = 0;
}

iscsi*:::scsi-response
{
	this->ends = 1;
	this->failed = args[1]->ii_datalen || args[1]->ii_flags & ISCSI_FLAG_CMD_UNDERFLOW;
}

iscsi*:::data-send, iscsi*:::scsi-response
{
	this->start = this->ends ? start[this->local, this->remote, this->itt] : 0;
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start/
{
	this->latency = timestamp - this->start;
	this->write = writes[this->local, this->remote, this->itt];
	start[this->local, this->remote, this->itt] = 0;
	writes[this->local, this->remote, this->itt] = 0;
	/* ci_remote is address:port, or [address]:port */
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start && !this->failed && !this->write/
{
	@reads[this->client] = quantize(this->latency);
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start && !this->failed && this->write/
{
	@writes[this->client] = quantize(this->latency);
}

iscsi*:::scsi-response
/this->start && this->failed/
{
	@failures[this->client, this->write ? "write" : "read"] = count();
}

/* ABORT TASK names the task that ends without an answer; other functions name none, and their tasks stay unended. */
iscsi*:::task-command
{
	start[this->local, this->remote, args[1]->ii_ttt] = 0;
	writes[this->local, this->remote, args[1]->ii_ttt] = 0;
}

dtrace:::END
{
	printf("Read Latency (ns),\n");
	printa(@reads);
	printf("Write Latency (ns),\n");
	printa(@writes);
	printa("   %s: %@d failed: %s\n", @failures);
}
