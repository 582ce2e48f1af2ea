#!/usr/sbin/dtrace -s
/*
 * iscsitop.d - report each second who loads the iSCSI target.
 *
 * USAGE: iscsitop.d		# hit Ctrl-C to end
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	COMMANDS	SCSI commands in the last second
 *	READS		data PDUs sent
 *	READ KB		their data, in units of 1024 bytes
 *	WRITES		data PDUs received: Data-Out, and SCSI Commands that carry immediate data
 *	WRITE KB	their data
 *
 * The clients with the most commands come last; one that was seen stays in the report.
 *
 * The same from the target itself, without DTrace: iscsitools top.
 */

#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::scsi-command
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->bytes = args[1]->ii_datalen;
}

iscsi*:::scsi-command
{
	@commands[this->client] = count();
	this->immediate = args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE && this->bytes;
	@writes[this->client] = sum(this->immediate);
	@write_bytes[this->client] = sum(this->immediate ? this->bytes : 0);
}

iscsi*:::data-send
{
	@reads[this->client] = count();
	@read_bytes[this->client] = sum(this->bytes);
}

iscsi*:::data-receive
{
	@writes[this->client] = sum(1);
	@write_bytes[this->client] = sum(this->bytes);
}

profile:::tick-1s
{
	printf("\n%Y\n", walltimestamp);
	printf("   %-26s %9s %9s %10s %9s %10s\n", "REMOTE IP", "COMMANDS", "READS", "READ KB", "WRITES", "WRITE KB");
	normalize(@read_bytes, 1024);
	normalize(@write_bytes, 1024);
	printa("   %-26s %@9d %@9d %@10d %@9d %@10d\n", @commands, @reads, @read_bytes, @writes, @write_bytes);
	clear(@commands);
	clear(@reads);
	clear(@read_bytes);
	clear(@writes);
	clear(@write_bytes);
}
