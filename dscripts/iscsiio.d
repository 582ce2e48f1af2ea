#!/usr/sbin/dtrace -s
/*
 * iscsiio.d - report iSCSI reads and writes by client.
 *
 * USAGE: iscsiio.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	EVENT		read: data sent to it; write: data received from it
 *	COUNT		data PDUs: Data-In; Data-Out, and SCSI Commands that carry immediate data
 *	Kbytes		data, in units of 1024 bytes
 *	KB/sec		average rate while tracing
 *
 * The same from the target itself, without DTrace: iscsitools io.
 */

#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	started = timestamp;
}

iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::scsi-command
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->bytes = args[1]->ii_datalen;
}

iscsi*:::data-send
{
	@counts[this->client, "read"] = count();
	@kbytes[this->client, "read"] = sum(this->bytes);
	@rates[this->client, "read"] = sum(this->bytes);
}

iscsi*:::data-receive
{
	@counts[this->client, "write"] = count();
	@kbytes[this->client, "write"] = sum(this->bytes);
	@rates[this->client, "write"] = sum(this->bytes);
}

iscsi*:::scsi-command
/args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE && this->bytes/
{
	@counts[this->client, "write"] = count();
	@kbytes[this->client, "write"] = sum(this->bytes);
	@rates[this->client, "write"] = sum(this->bytes);
}

dtrace:::END
{
	/* bytes * 10^9 / (1024 * ns): dividing in milliseconds keeps both in 64 bits */
	this->elapsed = (timestamp - started) / 1000000;
	normalize(@kbytes, 1024);
	normalize(@rates, this->elapsed > 0 ? 1024 * this->elapsed / 1000 : 1024);
	printf("   %-26s %8s %8s %10s %10s\n", "REMOTE IP", "EVENT", "COUNT", "Kbytes", "KB/sec");
	printa("   %-26s %8s %@8d %@10d %@10d\n", @counts, @kbytes, @rates);
}
