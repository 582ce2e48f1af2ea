#!/usr/sbin/dtrace -s
/*
 * iscsixfer.d - count iSCSI data transfers by client and size.
 *
 * USAGE: iscsixfer.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	EVENT		read: to the initiator; write: from it
 *	BYTES		bytes that were moved: fewer than meant where the transfer was given up
 *	COUNT		transfers of that size
 *
 * A read is one transfer. A write is one for its unsolicited data, and one for each R2T.
 */

#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::xfer-done
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	@transfers[substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6),
	    args[2]->xfer_type ? "write" : "read", args[2]->xfer_len] = count();
}

dtrace:::END
{
	printf("   %-26s %8s %10s %8s\n", "REMOTE IP", "EVENT", "BYTES", "COUNT");
	printa("   %-26s %8s %10d %@8d\n", @transfers);
}
