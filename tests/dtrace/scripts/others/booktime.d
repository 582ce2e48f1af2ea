#!/usr/sbin/dtrace -s
/* Reads the buffer's address and the direction as the kernel's provider has them: here that is an error. */
#pragma D option quiet

iscsi:::xfer-start
{
	begun[arg1] = timestamp;
}

iscsi:::xfer-done
/begun[arg1] != 0/
{
	@time[arg8 ? "read" : "write"] = quantize(timestamp - begun[arg1]);
	begun[arg1] = 0;
}
