#!/usr/sbin/dtrace -s
/* In the form of scripts for the kernel's provider: its name without a star, every probe in one clause. */
#pragma D option quiet

BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi:::
{
	@events[args[0]->ci_remote, probename] = count();
}

END
{
	printf("   %-40s %-16s %8s\n", "REMOTE IP", "EVENT", "COUNT");
	printa("   %-40s %-16s %@8d\n", @events);
}
