#!/usr/sbin/dtrace -s
/*
 * iscsiwho.d - count iSCSI events by client.
 *
 * USAGE: iscsiwho.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	iSCSI EVENT	the probe: what was received or sent
 *	COUNT		how often it fired
 *
 * The same from the target itself, without DTrace: iscsitools who.
 */

#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::login-command, iscsi*:::login-response, iscsi*:::logout-command, iscsi*:::logout-response,
iscsi*:::text-command, iscsi*:::text-response, iscsi*:::scsi-command, iscsi*:::scsi-response,
iscsi*:::data-send, iscsi*:::data-receive, iscsi*:::data-request, iscsi*:::task-command, iscsi*:::task-response,
iscsi*:::nop-receive, iscsi*:::nop-send, iscsi*:::async-send, iscsi*:::xfer-start, iscsi*:::xfer-done
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	@events[substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6), probename] = count();
}

dtrace:::END
{
	printf("   %-26s %14s %8s\n", "REMOTE IP", "iSCSI EVENT", "COUNT");
	printa("   %-26s %14s %@8d\n", @events);
}
