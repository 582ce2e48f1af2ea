#!/usr/sbin/dtrace -s
/*
 * iscsiseek.d - show how far apart a client's reads and writes are: how random its load is.
 *
 * USAGE: iscsiseek.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	LUN		unit number
 *	COUNT		reads and writes that had one before them
 *	SEQ%		percent of them that began where the one before ended
 *	value		distance in logical blocks, as powers of two: from the end of one to the beginning of the next,
 *			in either direction; 0 is sequential
 *	count		how many were that far apart
 *
 * In the order in which the commands arrive, of all sessions of the client with a unit of a target. READ and WRITE of
 * 6, 10, 12 and 16 bytes count, WRITE AND VERIFY too. Above each distribution: client, LUN.
 */

#pragma D option quiet
#pragma D option aggsortkey
#pragma D option strsize=128

/* By client, target and LUN: whether there was a command, and the block behind the last one's. */
int seen[string, string, uint64_t];
uint64_t next[string, string, uint64_t];

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::scsi-command
{
	this->op = args[2]->ic_cdb[0];
	/* The group says how long the CDB is; the rest of the operation code, what it does. */
	this->group = this->op >> 5;
	this->does = this->op & 0x1f;
	this->moves = this->does == 0x08 || this->does == 0x0a || this->does == 0x0e && this->group;
	/* Group 2 has other commands, groups 3, 6 and 7 none of these. */
	this->six = this->moves && this->group == 0;
	this->ten = this->moves && this->group == 1;
	this->sixteen = this->moves && this->group == 4;
	this->twelve = this->moves && this->group == 5;
	this->lba = (uint64_t)0;
	this->blocks = (uint64_t)0;
}

iscsi*:::scsi-command
/this->six/
{
	this->lba = (args[2]->ic_cdb[1] & 0x1f) << 16 | args[2]->ic_cdb[2] << 8 | args[2]->ic_cdb[3];
	/* A length of 0 means 256 (SBC-2 5.5). */
	this->blocks = args[2]->ic_cdb[4] ? args[2]->ic_cdb[4] : 256;
}

iscsi*:::scsi-command
/this->ten || this->twelve/
{
	this->lba = (uint64_t)args[2]->ic_cdb[2] << 24 | args[2]->ic_cdb[3] << 16 | args[2]->ic_cdb[4] << 8 |
	    args[2]->ic_cdb[5];
}

iscsi*:::scsi-command
/this->ten/
{
	this->blocks = args[2]->ic_cdb[7] << 8 | args[2]->ic_cdb[8];
}

iscsi*:::scsi-command
/this->twelve/
{
	this->blocks = (uint64_t)args[2]->ic_cdb[6] << 24 | args[2]->ic_cdb[7] << 16 | args[2]->ic_cdb[8] << 8 |
	    args[2]->ic_cdb[9];
}

iscsi*:::scsi-command
/this->sixteen/
{
	this->lba = (uint64_t)args[2]->ic_cdb[2] << 56 | (uint64_t)args[2]->ic_cdb[3] << 48 |
	    (uint64_t)args[2]->ic_cdb[4] << 40 | (uint64_t)args[2]->ic_cdb[5] << 32;
	this->lba |= (uint64_t)args[2]->ic_cdb[6] << 24 | args[2]->ic_cdb[7] << 16 | args[2]->ic_cdb[8] << 8 |
	    args[2]->ic_cdb[9];
	this->blocks = (uint64_t)args[2]->ic_cdb[10] << 24 | args[2]->ic_cdb[11] << 16 | args[2]->ic_cdb[12] << 8 |
	    args[2]->ic_cdb[13];
}

iscsi*:::scsi-command
/this->six || this->ten || this->twelve || this->sixteen/
{
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
	this->target = args[1]->ii_target;
	this->lun = args[1]->ii_lun;
	this->seen = seen[this->client, this->target, this->lun];
	this->last = next[this->client, this->target, this->lun];
	seen[this->client, this->target, this->lun] = 1;
	next[this->client, this->target, this->lun] = this->lba + this->blocks;
	this->distance = this->lba < this->last ? this->last - this->lba : this->lba - this->last;
}

iscsi*:::scsi-command
/(this->six || this->ten || this->twelve || this->sixteen) && this->seen/
{
	@count[this->client, this->lun] = count();
	@sequential[this->client, this->lun] = avg(this->distance ? 0 : 100);
	@distance[this->client, this->lun] = quantize(this->distance);
}

dtrace:::END
{
	printf("   %-26s %3s %8s %5s\n", "REMOTE IP", "LUN", "COUNT", "SEQ%");
	printa("   %-26s %3d %@8d %@5d\n", @count, @sequential);
	printf("Distance (blocks),\n");
	printa(@distance);
}
