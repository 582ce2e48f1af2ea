/*
 * In the manner of scripts for a kernel target's iscsi provider: typed commands, the task tag as an array key, the time
 * from a command to its response. Knows nothing of this project.
 */
#pragma D option quiet

iscsicmd_t *unused;

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::scsi-command
/args[1]->ii_flags & ISCSI_FLAG_FINAL && args[2]->ic_cdb[0] == 0x8a/
{
	begun[args[1]->ii_itt] = timestamp;
	@length[args[2]->ic_len] = count();
}

iscsi*:::scsi-response
/begun[args[1]->ii_itt]/
{
	@writes = count();
	@time["write time (ns)"] = quantize(timestamp - begun[args[1]->ii_itt]);
	begun[args[1]->ii_itt] = 0;
}

iscsi*:::xfer-done
/args[2]->xfer_type == 1 && args[2]->xfer_loffset == 0/
{
	@first[args[1]->ii_target] = sum(args[2]->xfer_len);
}

dtrace:::END
{
	printa("length %d %@d\n", @length);
	printa("writes %@d\n", @writes);
	printa("first %s %@d\n", @first);
	printa(@time);
}
