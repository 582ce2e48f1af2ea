#!/usr/sbin/dtrace -qs
/* The option that makes it quiet is in the first line only; both xfer probes by one name that is left open. */

BEGIN { printf("Tracing...\n"); }

iscsi:::xfer-start
{
	@bytes[args[0]->ci_remote, args[2]->xfer_type] = sum(args[2]->xfer_len);
}

iscsi:::xfer-*
/args[1]->ii_transport == "sockets"/
{
	@both[probename] = count();
}

END
{
	printa("bytes %s %d %@d\n", @bytes);
	printa("both %s %@d\n", @both);
}
