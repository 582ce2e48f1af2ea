#!/usr/sbin/dtrace -s
/*
 * iscsilat.d - show the latency of iSCSI commands by operation and size, as a table of percent.
 *
 * USAGE: iscsilat.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	EVENT		read or write, by the command's flags; other: a command without data
 *	BYTES		size of the data: from so many bytes up to twice as many
 *	COUNT		commands that ended
 *	<64us ...	percent of them that took less than that, from the SCSI Command to its status, cut to whole numbers
 *
 * A percentile stands where its number is reached: with 99 under <16ms, 99 of 100 commands took less than 16 ms.
 *
 * Commands that failed do not count: those whose response has sense data or says that data is missing.
 *
 * The same from the target itself, without DTrace, by client: iscsitools rwlat --percentiles.
 */

#pragma D option quiet
#pragma D option aggsortkey
#pragma D option strsize=128

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::scsi-command, iscsi*:::xfer-start, iscsi*:::data-send, iscsi*:::scsi-response
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_itt;
}

iscsi*:::scsi-command
{
	start[this->local, this->remote, this->itt] = timestamp;
	flags[this->local, this->remote, this->itt] = args[1]->ii_flags;
	bytes[this->local, this->remote, this->itt] = 0;
}

/* All transfers of a command begin before its status: a read's before its first Data-In, a write's before its data. */
iscsi*:::xfer-start
{
	bytes[this->local, this->remote, this->itt] += args[2]->xfer_len;
}

/* Data-In carries a good status only (RFC 7143 11.7.3). */
iscsi*:::data-send
{
	this->ends = args[1]->ii_flags & ISCSI_FLAG_DATA_STATUS;
	this->failed = 0;
}

iscsi*:::scsi-response
{
	this->ends = 1;
	this->failed = args[1]->ii_datalen || args[1]->ii_flags & ISCSI_FLAG_CMD_UNDERFLOW;
}

iscsi*:::data-send, iscsi*:::scsi-response
{
	this->start = this->ends ? start[this->local, this->remote, this->itt] : 0;
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start/
{
	this->took = timestamp - this->start;
	this->flags = flags[this->local, this->remote, this->itt];
	this->bytes = bytes[this->local, this->remote, this->itt];
	start[this->local, this->remote, this->itt] = 0;
	flags[this->local, this->remote, this->itt] = 0;
	bytes[this->local, this->remote, this->itt] = 0;
	this->event = this->flags & ISCSI_FLAG_CMD_WRITE ? "write" : this->flags & ISCSI_FLAG_CMD_READ ? "read" : "other";
	/* The highest bit: each line leaves the upper half of what is left. */
	this->size = this->bytes & 0xffff0000 ? this->bytes & 0xffff0000 : this->bytes;
	this->size = this->size & 0xff00ff00 ? this->size & 0xff00ff00 : this->size;
	this->size = this->size & 0xf0f0f0f0 ? this->size & 0xf0f0f0f0 : this->size;
	this->size = this->size & 0xcccccccc ? this->size & 0xcccccccc : this->size;
	this->size = this->size & 0xaaaaaaaa ? this->size & 0xaaaaaaaa : this->size;
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start && !this->failed/
{
	@count[this->event, this->size] = count();
	@us64[this->event, this->size] = avg(this->took < 64000 ? 100 : 0);
	@us256[this->event, this->size] = avg(this->took < 256000 ? 100 : 0);
	@ms1[this->event, this->size] = avg(this->took < 1000000 ? 100 : 0);
	@ms4[this->event, this->size] = avg(this->took < 4000000 ? 100 : 0);
	@ms16[this->event, this->size] = avg(this->took < 16000000 ? 100 : 0);
	@ms64[this->event, this->size] = avg(this->took < 64000000 ? 100 : 0);
	@ms256[this->event, this->size] = avg(this->took < 256000000 ? 100 : 0);
	@s1[this->event, this->size] = avg(this->took < 1000000000 ? 100 : 0);
}

/* ABORT TASK names the task that ends without an answer; other functions name none, and their tasks stay unended. */
iscsi*:::task-command
{
	start[args[0]->ci_local, args[0]->ci_remote, args[1]->ii_ttt] = 0;
	flags[args[0]->ci_local, args[0]->ci_remote, args[1]->ii_ttt] = 0;
	bytes[args[0]->ci_local, args[0]->ci_remote, args[1]->ii_ttt] = 0;
}

dtrace:::END
{
	printf("   %-5s %9s %8s %5s %6s %5s %5s %5s %5s %6s %5s\n", "EVENT", "BYTES", "COUNT", "<64us", "<256us", "<1ms",
	    "<4ms", "<16ms", "<64ms", "<256ms", "<1s");
	printa("   %-5s %9d %@8d %@5d %@6d %@5d %@5d %@5d %@5d %@6d %@5d\n", @count, @us64, @us256, @ms1, @ms4, @ms16,
	    @ms64, @ms256, @s1);
}
