#!/usr/sbin/dtrace -s
/*
 * iscsirwtime.d - show how long iSCSI data transfers take, by client and target, as distributions.
 *
 * USAGE: iscsirwtime.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	value		nanoseconds, as powers of two
 *	count		transfers in that range
 *
 * A transfer is from xfer-start to xfer-done. Of a read: from when its data was there to when the socket took the last
 * byte. Of a write: from when the target could take data to when the last byte of it came, once for unsolicited data
 * and once for each R2T; that includes the network and the initiator. Above each distribution: client, target.
 */

#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::xfer-start, iscsi*:::xfer-done
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_itt;
	this->laddr = args[2]->xfer_laddr;
}

/* Task tag and local address name one transfer of a connection. */
iscsi*:::xfer-start
{
	start[this->local, this->remote, this->itt, this->laddr] = timestamp;
}

iscsi*:::xfer-done
{
	this->start = start[this->local, this->remote, this->itt, this->laddr];
	start[this->local, this->remote, this->itt, this->laddr] = 0;
	this->took = timestamp - this->start;
	this->target = args[1]->ii_target;
	/* ci_remote is address:port, or [address]:port */
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
}

iscsi*:::xfer-done
/this->start && !args[2]->xfer_type/
{
	@reads[this->client, this->target] = quantize(this->took);
}

iscsi*:::xfer-done
/this->start && args[2]->xfer_type/
{
	@writes[this->client, this->target] = quantize(this->took);
}

dtrace:::END
{
	printf("Read Transfer Time (ns),\n");
	printa(@reads);
	printf("Write Transfer Time (ns),\n");
	printa(@writes);
}
