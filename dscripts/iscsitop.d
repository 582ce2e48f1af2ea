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
 * The clients with the most commands come last; one that was seen stays in the report. The second that Ctrl-C cuts
 * short is not reported.
 *
 * Two sets of sums take turns, so that none is printed and cleared while it counts: what comes between the two would be
 * lost. A set rests for a fifth of a second before it is printed, and has the rest of that second to be cleared in.
 *
 * The same from the target itself, without DTrace: iscsitools top.
 */

#pragma D option quiet
#pragma D option aggrate=10hz
#pragma D option switchrate=10hz

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	odd = 0;
	fifths = 1;
}

iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::scsi-command
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->bytes = args[1]->ii_datalen;
	/* 0 is added to the set that rests, so that both know all clients. */
	this->odd = odd;
	this->even = !this->odd;
}

iscsi*:::scsi-command
{
	this->immediate = args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE && this->bytes;
	this->bytes = this->immediate ? this->bytes : 0;
	@even_commands[this->client] = sum(this->even);
	@even_writes[this->client] = sum(this->even * this->immediate);
	@even_write_bytes[this->client] = sum(this->even * this->bytes);
	@odd_commands[this->client] = sum(this->odd);
	@odd_writes[this->client] = sum(this->odd * this->immediate);
	@odd_write_bytes[this->client] = sum(this->odd * this->bytes);
}

iscsi*:::data-send
{
	@even_reads[this->client] = sum(this->even);
	@even_read_bytes[this->client] = sum(this->even * this->bytes);
	@odd_reads[this->client] = sum(this->odd);
	@odd_read_bytes[this->client] = sum(this->odd * this->bytes);
}

iscsi*:::data-receive
{
	@even_writes[this->client] = sum(this->even);
	@even_write_bytes[this->client] = sum(this->even * this->bytes);
	@odd_writes[this->client] = sum(this->odd);
	@odd_write_bytes[this->client] = sum(this->odd * this->bytes);
}

profile:::tick-200ms
{
	fifths = fifths == 4 ? 0 : fifths + 1;
	odd = fifths ? odd : !odd;
}

profile:::tick-200ms
/fifths == 1/
{
	printf("\n%Y\n", walltimestamp);
	printf("   %-26s %9s %9s %10s %9s %10s\n", "REMOTE IP", "COMMANDS", "READS", "READ KB", "WRITES", "WRITE KB");
}

profile:::tick-200ms
/fifths == 1 && odd/
{
	normalize(@even_read_bytes, 1024);
	normalize(@even_write_bytes, 1024);
	printa("   %-26s %@9d %@9d %@10d %@9d %@10d\n", @even_commands, @even_reads, @even_read_bytes, @even_writes,
	    @even_write_bytes);
	clear(@even_commands);
	clear(@even_reads);
	clear(@even_read_bytes);
	clear(@even_writes);
	clear(@even_write_bytes);
}

profile:::tick-200ms
/fifths == 1 && !odd/
{
	normalize(@odd_read_bytes, 1024);
	normalize(@odd_write_bytes, 1024);
	printa("   %-26s %@9d %@9d %@10d %@9d %@10d\n", @odd_commands, @odd_reads, @odd_read_bytes, @odd_writes,
	    @odd_write_bytes);
	clear(@odd_commands);
	clear(@odd_reads);
	clear(@odd_read_bytes);
	clear(@odd_writes);
	clear(@odd_write_bytes);
}
