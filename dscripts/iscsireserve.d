#!/usr/sbin/dtrace -s
/*
 * iscsireserve.d - print SCSI reservations as they are asked for, and count reads and writes that were turned away.
 *
 * USAGE: iscsireserve.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	TIME(s)		seconds since tracing began
 *	CLIENT		the initiator's address
 *	LUN		unit number
 *	COMMAND		PERSISTENT RESERVE OUT by its service action; RESERVE and RELEASE
 *	TYPE		of a persistent reservation: 1 Write Exclusive, 3 Exclusive Access, 5 and 6 the same for registrants
 *			only, 7 and 8 for all registrants; - where the command has none
 *	INITIATOR	the initiator's name
 *
 *	REMOTE IP	the initiator's address
 *	EVENT		read or write, by the command's flags
 *	REFUSED		those that ended without sense data and before any of their data moved
 *
 * The probes do not carry the SCSI status. REFUSED is what they show of RESERVATION CONFLICT; BUSY and TASK SET FULL
 * look the same. A command without data, and PERSISTENT RESERVE OUT itself, end alike with a conflict and without:
 * iscsitools cmds has the statuses.
 */

#pragma D option quiet
#pragma D option switchrate=10hz
#pragma D option strsize=128

dtrace:::BEGIN
{
	actions[0] = "REGISTER";
	actions[1] = "RESERVE";
	actions[2] = "RELEASE";
	actions[3] = "CLEAR";
	actions[4] = "PREEMPT";
	actions[5] = "PREEMPT AND ABORT";
	actions[6] = "REGISTER AND IGNORE";
	actions[7] = "REGISTER AND MOVE";
	printf("Tracing... Hit Ctrl-C to end.\n");
	printf("%13s %-15s %3s %-20s %4s %s\n", "TIME(s)", "CLIENT", "LUN", "COMMAND", "TYPE", "INITIATOR");
	started = timestamp;
}

iscsi*:::scsi-command, iscsi*:::xfer-start, iscsi*:::scsi-response
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_itt;
	/* ci_remote is address:port, or [address]:port */
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
}

iscsi*:::scsi-command
{
	flags[this->local, this->remote, this->itt] = args[1]->ii_flags;
	this->elapsed = timestamp - started;
	this->op = args[2]->ic_cdb[0];
	this->action = args[2]->ic_cdb[1] & 0x1f;
	this->type = args[2]->ic_cdb[2] & 0x0f;
	this->typed = this->action == 1 || this->action == 2 || this->action == 4 || this->action == 5;
}

iscsi*:::scsi-command
/this->op == 0x5f && this->typed/
{
	printf("%6d.%06d %-15s %3d %-20s %4d %s\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, args[1]->ii_lun, actions[this->action], this->type, args[1]->ii_initiator);
}

iscsi*:::scsi-command
/this->op == 0x5f && !this->typed/
{
	printf("%6d.%06d %-15s %3d %-20s %4s %s\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, args[1]->ii_lun, actions[this->action], "-", args[1]->ii_initiator);
}

iscsi*:::scsi-command
/this->op == 0x16 || this->op == 0x17 || this->op == 0x56 || this->op == 0x57/
{
	printf("%6d.%06d %-15s %3d %-20s %4s %s\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, args[1]->ii_lun,
	    this->op == 0x16 ? "RESERVE(6)" : this->op == 0x17 ? "RELEASE(6)" :
	    this->op == 0x56 ? "RESERVE(10)" : "RELEASE(10)",
	    "-", args[1]->ii_initiator);
}

/* Its data moves, so it was not turned away. */
iscsi*:::xfer-start
{
	flags[this->local, this->remote, this->itt] = 0;
}

iscsi*:::scsi-response
{
	this->flags = flags[this->local, this->remote, this->itt];
	flags[this->local, this->remote, this->itt] = 0;
	this->refused = !args[1]->ii_datalen && args[1]->ii_flags & ISCSI_FLAG_CMD_UNDERFLOW;
}

iscsi*:::scsi-response
/this->refused && this->flags & (ISCSI_FLAG_CMD_READ | ISCSI_FLAG_CMD_WRITE)/
{
	@refused[this->client, args[1]->ii_lun, this->flags & ISCSI_FLAG_CMD_WRITE ? "write" : "read"] = count();
}

dtrace:::END
{
	printf("\n   %-26s %3s %8s %8s\n", "REMOTE IP", "LUN", "EVENT", "REFUSED");
	printa("   %-26s %3d %8s %@8d\n", @refused);
}
