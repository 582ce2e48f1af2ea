#!/usr/sbin/dtrace -s
/*
 * iscsislower.d - print the SCSI commands that took longer than so many milliseconds.
 *
 * USAGE: iscsislower.d [ms]	# default: 10; 0 prints every command
 *
 * FIELDS:
 *	TIME(s)		seconds since tracing began, when the command ended
 *	CLIENT		the initiator's address
 *	LUN		unit number
 *	ITT		Initiator Task Tag, hexadecimal
 *	OP		operation code, hexadecimal
 *	MS		milliseconds from the SCSI Command to its status, in the target and in the socket's queue
 *
 * The same from the target itself, without DTrace, with all events of each command: iscsitools snoop --slower.
 */

#pragma D option quiet
#pragma D option defaultargs
#pragma D option switchrate=10hz
#pragma D option strsize=128

dtrace:::BEGIN
{
	least = ($$1 == "" ? 10 : $1) * 1000000;
	printf("Tracing... Hit Ctrl-C to end.\n");
	printf("%13s %-15s %3s %8s %3s %12s\n", "TIME(s)", "CLIENT", "LUN", "ITT", "OP", "MS");
	started = timestamp;
}

iscsi*:::scsi-command, iscsi*:::data-send, iscsi*:::scsi-response
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	this->itt = args[1]->ii_itt;
}

iscsi*:::scsi-command
{
	start[this->local, this->remote, this->itt] = timestamp;
	opcode[this->local, this->remote, this->itt] = args[2]->ic_cdb[0];
}

iscsi*:::data-send
{
	this->ends = args[1]->ii_flags & ISCSI_FLAG_DATA_STATUS;
}

iscsi*:::scsi-response
{
	this->ends = 1;
}

iscsi*:::data-send, iscsi*:::scsi-response
{
	this->start = this->ends ? start[this->local, this->remote, this->itt] : 0;
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start/
{
	this->opcode = opcode[this->local, this->remote, this->itt];
	start[this->local, this->remote, this->itt] = 0;
	opcode[this->local, this->remote, this->itt] = 0;
	this->took = timestamp - this->start;
	this->elapsed = timestamp - started;
	/* ci_remote is address:port, or [address]:port */
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
}

iscsi*:::data-send, iscsi*:::scsi-response
/this->start && this->took >= least/
{
	printf("%6d.%06d %-15s %3d %8x %3x %8d.%03d\n", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000,
	    this->client, args[1]->ii_lun, this->itt, this->opcode, this->took / 1000000, this->took / 1000 % 1000);
}
