#!/usr/sbin/dtrace -s
/*
 * iscsitop.d - report each second who loads the iSCSI target.
 *
 * USAGE: iscsitop.d [seconds]	# default: 1; hit Ctrl-C to end
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	COMMANDS	SCSI commands since the last report
 *	READS		data PDUs sent
 *	READ KB		their data, in units of 1024 bytes
 *	WRITES		data PDUs received: Data-Out, and SCSI Commands that carry immediate data
 *	WRITE KB	their data
 *
 * The clients with the most commands come last; one that was seen stays in the report. Ctrl-C reports what was counted
 * since the last one.
 *
 * Two sets of sums take turns, so that none is printed and cleared while it counts: what comes between the two would be
 * lost. A set rests for a fifth of a second before it is printed, and has the rest of that interval to be cleared in.
 * Where dtrace itself gets a processor later than that, give it longer intervals.
 *
 * The same from the target itself, without DTrace: iscsitools top.
 */

#pragma D option quiet
#pragma D option defaultargs
#pragma D option aggrate=10hz
#pragma D option switchrate=10hz

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	fifths = 5 * ($1 > 0 ? $1 : 1);
	fifth = 1;
	odd = 0;
	even = 1;
}

iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::scsi-command
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->bytes = args[1]->ii_datalen;
	this->writes = 1;
	/* 0 is added to the set that rests, so that both know all clients. */
	this->odd = odd;
	this->even = !this->odd;
}

iscsi*:::scsi-command
{
	@even_commands[this->client] = sum(this->even);
	@odd_commands[this->client] = sum(this->odd);
	this->writes = args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE && this->bytes;
	this->bytes = this->writes ? this->bytes : 0;
}

iscsi*:::data-send
{
	@even_reads[this->client] = sum(this->even);
	@even_read_bytes[this->client] = sum(this->even * this->bytes);
	@odd_reads[this->client] = sum(this->odd);
	@odd_read_bytes[this->client] = sum(this->odd * this->bytes);
}

iscsi*:::scsi-command, iscsi*:::data-receive
{
	@even_writes[this->client] = sum(this->even * this->writes);
	@even_write_bytes[this->client] = sum(this->even * this->bytes);
	@odd_writes[this->client] = sum(this->odd * this->writes);
	@odd_write_bytes[this->client] = sum(this->odd * this->bytes);
}

profile:::tick-200ms
{
	fifth = fifth == fifths - 1 ? 0 : fifth + 1;
	odd = fifth ? odd : !odd;
	even = !odd;
	/* The set that rests. */
	show_even = fifth == 1 && odd;
	show_odd = fifth == 1 && even;
}

dtrace:::END
{
	/* The set that counts, and the other one if it has not been printed. */
	show_even = even || !fifth;
	show_odd = odd || !fifth;
}

profile:::tick-200ms, dtrace:::END
/show_even || show_odd/
{
	printf("\n%Y\n", walltimestamp);
	printf("   %-26s %9s %9s %10s %9s %10s\n", "REMOTE IP", "COMMANDS", "READS", "READ KB", "WRITES", "WRITE KB");
}

profile:::tick-200ms, dtrace:::END
/show_even/
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

profile:::tick-200ms, dtrace:::END
/show_odd/
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
