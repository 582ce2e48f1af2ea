/* The raw arguments in D, as iscsi(4) has them: arg0 and arg1 are the PDU, arg2 is the command or the transfer. */
#pragma D option quiet

dtrace:::BEGIN
{
	printf("Tracing...\n");
}

iscsi*:::scsi-command
{
	@pointers[arg0 == arg1 && arg0 != arg2 ? "same" : "other"] = count();
	@flags[*(uint32_t *)copyin(arg0 + 64, 4)] = count();
	@lengths[*(uint64_t *)copyin(arg2, 8)] = count();
}

iscsi*:::xfer-done
{
	@pointers[arg0 == arg1 && arg0 != arg2 ? "same" : "other"] = count();
	@types[*(uint32_t *)copyin(arg2 + 36, 4)] = sum(*(uint32_t *)copyin(arg2 + 32, 4));
}

iscsi*:::data-send
{
	@pointers[arg0 == arg1 ? "same" : "other"] = count();
	@sent = sum(*(uint32_t *)copyin(arg1 + 60, 4));
}

dtrace:::END
{
	printa("pointers %s %@d\n", @pointers);
	printa("flags %d %@d\n", @flags);
	printa("lengths %d %@d\n", @lengths);
	printa("types %d %@d\n", @types);
	printa("sent %@d\n", @sent);
}
