#!/usr/sbin/dtrace -s
/*
 * iscsiphases.d - show where the time of iSCSI reads and writes goes: backstore, waiting for data, sending.
 *
 * USAGE: iscsiphases.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	LUN		unit number
 *	EVENT		read or write, by the command's flags
 *	COUNT		commands that ended
 *	BACKSTORE	microseconds on average in which no transfer was open: in the backstore and in the target
 *	WAITING		microseconds on average in which a write waited for the initiator's data
 *	SENDING		microseconds on average in which a read's data was on its way into the socket
 *	TOTAL		from the SCSI Command to its status or the end of its last transfer, whichever is later
 *
 * Commands that failed do not count: those whose response has sense data or says that data is missing.
 *
 * The same from the target itself, without DTrace: iscsitools rwlat --phases.
 */

#pragma D option quiet
#pragma D option strsize=128

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::scsi-command, iscsi*:::xfer-start, iscsi*:::data-send, iscsi*:::scsi-response, iscsi*:::xfer-done
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_itt;
	this->ends = 0;
	this->failed = 0;
	this->over = 0;
}

/* One command: when it began, its flags, open transfers and since when, time in transfers, when it ended. */
iscsi*:::scsi-command
/args[1]->ii_flags & (ISCSI_FLAG_CMD_READ | ISCSI_FLAG_CMD_WRITE)/
{
	start[this->local, this->remote, this->itt] = timestamp;
	writes[this->local, this->remote, this->itt] = args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE;
	transfers[this->local, this->remote, this->itt] = 0;
	moving[this->local, this->remote, this->itt] = 0;
	ended[this->local, this->remote, this->itt] = 0;
}

iscsi*:::xfer-start, iscsi*:::data-send, iscsi*:::scsi-response, iscsi*:::xfer-done
{
	this->start = start[this->local, this->remote, this->itt];
}

iscsi*:::xfer-start
/this->start && !transfers[this->local, this->remote, this->itt]/
{
	opened[this->local, this->remote, this->itt] = timestamp;
}

iscsi*:::xfer-start
/this->start/
{
	transfers[this->local, this->remote, this->itt]++;
}

iscsi*:::data-send
{
	this->ends = args[1]->ii_flags & ISCSI_FLAG_DATA_STATUS;
}

iscsi*:::scsi-response
{
	this->ends = 1;
	this->failed = args[1]->ii_datalen || args[1]->ii_flags & ISCSI_FLAG_CMD_UNDERFLOW;
}

iscsi*:::xfer-done
/this->start && transfers[this->local, this->remote, this->itt]/
{
	transfers[this->local, this->remote, this->itt]--;
	moving[this->local, this->remote, this->itt] += transfers[this->local, this->remote, this->itt] ? 0 :
	    timestamp - opened[this->local, this->remote, this->itt];
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->ends && this->start/
{
	ended[this->local, this->remote, this->itt] = 1;
	this->over = this->failed;
}

/* The end: there is a status, and no transfer is open. */
iscsi*:::data-send, iscsi*:::scsi-response, iscsi*:::xfer-done
/this->start && !this->failed && ended[this->local, this->remote, this->itt] &&
    !transfers[this->local, this->remote, this->itt]/
{
	this->write = writes[this->local, this->remote, this->itt];
	this->moving = moving[this->local, this->remote, this->itt];
	this->total = timestamp - this->start;
	this->over = 1;
	/* ci_remote is address:port, or [address]:port */
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->event = this->write ? "write" : "read";
	@counts[this->client, args[1]->ii_lun, this->event] = count();
	@backstore[this->client, args[1]->ii_lun, this->event] = avg(this->total - this->moving);
	@waiting[this->client, args[1]->ii_lun, this->event] = avg(this->write ? this->moving : 0);
	@sending[this->client, args[1]->ii_lun, this->event] = avg(this->write ? 0 : this->moving);
	@total[this->client, args[1]->ii_lun, this->event] = avg(this->total);
}

iscsi*:::task-command
{
	/* ABORT TASK names the task that ends without an answer. */
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_ttt;
	this->over = 1;
}

/* 0 is what gives a variable's memory back: there is little of it, and task tags may never come again. */
iscsi*:::data-send, iscsi*:::scsi-response, iscsi*:::xfer-done, iscsi*:::task-command
/this->over/
{
	start[this->local, this->remote, this->itt] = 0;
	writes[this->local, this->remote, this->itt] = 0;
	transfers[this->local, this->remote, this->itt] = 0;
	moving[this->local, this->remote, this->itt] = 0;
	opened[this->local, this->remote, this->itt] = 0;
	ended[this->local, this->remote, this->itt] = 0;
}

dtrace:::END
{
	normalize(@backstore, 1000);
	normalize(@waiting, 1000);
	normalize(@sending, 1000);
	normalize(@total, 1000);
	printf("   %-26s %3s %6s %8s %9s %9s %9s %9s\n", "REMOTE IP", "LUN", "EVENT", "COUNT", "BACKSTORE", "WAITING",
	    "SENDING", "TOTAL");
	printa("   %-26s %3d %6s %@8d %@9d %@9d %@9d %@9d\n", @counts, @backstore, @waiting, @sending, @total);
}
