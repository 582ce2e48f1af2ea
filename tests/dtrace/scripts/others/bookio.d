#!/usr/sbin/dtrace -s
/*
 * Reads and writes as they happen, a table by operation code, and thread-local times: what the first thread that passes a
 * probe leaves, the next probe of that thread finds.
 */
#pragma D option quiet
#pragma D option switchrate=10hz

inline int READ_16 = 0x88;
inline int WRITE_16 = 0x8a;

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	operation[READ_16] = "read(16)";
	operation[WRITE_16] = "write(16)";
}

iscsi:::scsi-command
/operation[args[2]->ic_cdb[0]] != NULL/
{
	@commands[operation[args[2]->ic_cdb[0]]] = count();
}

iscsi:::data-send,
iscsi:::data-receive
{
	printf("io %s %s %d\n", args[0]->ci_remote, probename == "data-send" ? "R" : "W", args[1]->ii_datalen);
}

iscsi:::xfer-start
{
	self->begun = timestamp;
}

iscsi:::xfer-done
/self->begun/
{
	@time["microseconds"] = quantize((timestamp - self->begun) / 1000);
	@timed = count();
	self->begun = 0;
}

dtrace:::END
{
	printa("command %s %@d\n", @commands);
	printa("timed %@d\n", @timed);
	printa(@time);
}
