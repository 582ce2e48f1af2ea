#!/usr/sbin/dtrace -s
/*
 * iscsicmds.d - count SCSI commands by name.
 *
 * USAGE: iscsicmds.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	REMOTE IP	the initiator's address
 *	COMMAND		what SPC-4 or SBC-3 calls the command; empty when they do not know it
 *	OP		its operation code, hexadecimal
 *	SA		its service action, hexadecimal, of the commands that have one; else 0
 *	COUNT		how many came
 *
 * The same from the target itself, without DTrace, with latencies and failures: iscsitools cmds.
 */

#pragma D option quiet
#pragma D option strsize=64

dtrace:::BEGIN
{
	names[0x00, -1] = "TEST UNIT READY";
	names[0x01, -1] = "REZERO UNIT";
	names[0x03, -1] = "REQUEST SENSE";
	names[0x04, -1] = "FORMAT UNIT";
	names[0x07, -1] = "REASSIGN BLOCKS";
	names[0x08, -1] = "READ(6)";
	names[0x0a, -1] = "WRITE(6)";
	names[0x12, -1] = "INQUIRY";
	names[0x15, -1] = "MODE SELECT(6)";
	names[0x16, -1] = "RESERVE(6)";
	names[0x17, -1] = "RELEASE(6)";
	names[0x1a, -1] = "MODE SENSE(6)";
	names[0x1b, -1] = "START STOP UNIT";
	names[0x1c, -1] = "RECEIVE DIAGNOSTIC RESULTS";
	names[0x1d, -1] = "SEND DIAGNOSTIC";
	names[0x1e, -1] = "PREVENT ALLOW MEDIUM REMOVAL";
	names[0x25, -1] = "READ CAPACITY(10)";
	names[0x28, -1] = "READ(10)";
	names[0x2a, -1] = "WRITE(10)";
	names[0x2e, -1] = "WRITE AND VERIFY(10)";
	names[0x2f, -1] = "VERIFY(10)";
	names[0x34, -1] = "PRE-FETCH(10)";
	names[0x35, -1] = "SYNCHRONIZE CACHE(10)";
	names[0x37, -1] = "READ DEFECT DATA(10)";
	names[0x3b, -1] = "WRITE BUFFER";
	names[0x3c, -1] = "READ BUFFER";
	names[0x3e, -1] = "READ LONG(10)";
	names[0x3f, -1] = "WRITE LONG(10)";
	names[0x41, -1] = "WRITE SAME(10)";
	names[0x42, -1] = "UNMAP";
	names[0x48, -1] = "SANITIZE";
	names[0x4c, -1] = "LOG SELECT";
	names[0x4d, -1] = "LOG SENSE";
	names[0x53, -1] = "XDWRITEREAD(10)";
	names[0x55, -1] = "MODE SELECT(10)";
	names[0x56, -1] = "RESERVE(10)";
	names[0x57, -1] = "RELEASE(10)";
	names[0x5a, -1] = "MODE SENSE(10)";
	names[0x5e, -1] = "PERSISTENT RESERVE IN";
	names[0x5f, -1] = "PERSISTENT RESERVE OUT";
	names[0x7f, -1] = "VARIABLE LENGTH CDB";
	names[0x83, -1] = "THIRD-PARTY COPY OUT";
	names[0x84, -1] = "THIRD-PARTY COPY IN";
	names[0x85, -1] = "ATA PASS-THROUGH(16)";
	names[0x88, -1] = "READ(16)";
	names[0x89, -1] = "COMPARE AND WRITE";
	names[0x8a, -1] = "WRITE(16)";
	names[0x8b, -1] = "ORWRITE(16)";
	names[0x8e, -1] = "WRITE AND VERIFY(16)";
	names[0x8f, -1] = "VERIFY(16)";
	names[0x90, -1] = "PRE-FETCH(16)";
	names[0x91, -1] = "SYNCHRONIZE CACHE(16)";
	names[0x93, -1] = "WRITE SAME(16)";
	names[0x9c, -1] = "WRITE ATOMIC(16)";
	names[0x9d, -1] = "SERVICE ACTION BIDIRECTIONAL";
	names[0x9e, -1] = "SERVICE ACTION IN(16)";
	names[0x9f, -1] = "SERVICE ACTION OUT(16)";
	names[0xa0, -1] = "REPORT LUNS";
	names[0xa1, -1] = "ATA PASS-THROUGH(12)";
	names[0xa2, -1] = "SECURITY PROTOCOL IN";
	names[0xa3, -1] = "MAINTENANCE IN";
	names[0xa4, -1] = "MAINTENANCE OUT";
	names[0xa8, -1] = "READ(12)";
	names[0xa9, -1] = "SERVICE ACTION OUT(12)";
	names[0xaa, -1] = "WRITE(12)";
	names[0xab, -1] = "SERVICE ACTION IN(12)";
	names[0xae, -1] = "WRITE AND VERIFY(12)";
	names[0xaf, -1] = "VERIFY(12)";
	names[0xb5, -1] = "SECURITY PROTOCOL OUT";
	names[0xb7, -1] = "READ DEFECT DATA(12)";
}

/* Commands whose operation code stands for several: the service action says which. */
dtrace:::BEGIN
{
	names[0x5e, 0x00] = "PR IN READ KEYS";
	names[0x5e, 0x01] = "PR IN READ RESERVATION";
	names[0x5e, 0x02] = "PR IN REPORT CAPABILITIES";
	names[0x5e, 0x03] = "PR IN READ FULL STATUS";
	names[0x5f, 0x00] = "PR OUT REGISTER";
	names[0x5f, 0x01] = "PR OUT RESERVE";
	names[0x5f, 0x02] = "PR OUT RELEASE";
	names[0x5f, 0x03] = "PR OUT CLEAR";
	names[0x5f, 0x04] = "PR OUT PREEMPT";
	names[0x5f, 0x05] = "PR OUT PREEMPT AND ABORT";
	names[0x5f, 0x06] = "PR OUT REGISTER AND IGNORE";
	names[0x5f, 0x07] = "PR OUT REGISTER AND MOVE";
	names[0x7f, 0x09] = "READ(32)";
	names[0x7f, 0x0a] = "VERIFY(32)";
	names[0x7f, 0x0b] = "WRITE(32)";
	names[0x7f, 0x0c] = "WRITE AND VERIFY(32)";
	names[0x7f, 0x0d] = "WRITE SAME(32)";
	names[0x7f, 0x0e] = "ORWRITE(32)";
	names[0x83, 0x00] = "EXTENDED COPY(LID1)";
	names[0x83, 0x01] = "EXTENDED COPY(LID4)";
	names[0x83, 0x10] = "POPULATE TOKEN";
	names[0x83, 0x11] = "WRITE USING TOKEN";
	names[0x83, 0x1c] = "COPY OPERATION ABORT";
	names[0x84, 0x00] = "RECEIVE COPY STATUS(LID1)";
	names[0x84, 0x03] = "RECEIVE COPY OPERATING PARAMETERS";
	names[0x84, 0x04] = "RECEIVE COPY FAILURE DETAILS(LID1)";
	names[0x84, 0x05] = "RECEIVE COPY STATUS(LID4)";
	names[0x84, 0x07] = "RECEIVE ROD TOKEN INFORMATION";
	names[0x9e, 0x10] = "READ CAPACITY(16)";
	names[0x9e, 0x11] = "READ LONG(16)";
	names[0x9e, 0x12] = "GET LBA STATUS";
	names[0xa3, 0x05] = "REPORT IDENTIFYING INFORMATION";
	names[0xa3, 0x0a] = "REPORT TARGET PORT GROUPS";
	names[0xa3, 0x0b] = "REPORT ALIASES";
	names[0xa3, 0x0c] = "REPORT SUPPORTED OPERATION CODES";
	names[0xa3, 0x0d] = "REPORT SUPPORTED TMFS";
	names[0xa3, 0x0f] = "REPORT TIMESTAMP";
	names[0xa4, 0x06] = "SET IDENTIFYING INFORMATION";
	names[0xa4, 0x0a] = "SET TARGET PORT GROUPS";
	names[0xa4, 0x0f] = "SET TIMESTAMP";
}

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
}

iscsi*:::scsi-command
{
	this->op = args[2]->ic_cdb[0];
	this->named = this->op == 0x5e || this->op == 0x5f || this->op == 0x83 || this->op == 0x84 ||
	    this->op >= 0x9d && this->op <= 0x9f || this->op == 0xa3 || this->op == 0xa4 || this->op == 0xa9 ||
	    this->op == 0xab;
	this->action = this->op == 0x7f ? args[2]->ic_cdb[8] << 8 | args[2]->ic_cdb[9] :
	    this->named ? args[2]->ic_cdb[1] & 0x1f : -1;
	/* A service action that has no name of its own goes by its command's. */
	this->known = names[this->op, this->action] != NULL ? this->action : -1;
	/* ci_remote is address:port, or [address]:port */
	this->remote = args[0]->ci_remote;
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	@commands[substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6),
	    names[this->op, this->known], this->op, this->action < 0 ? 0 : this->action] = count();
}

dtrace:::END
{
	printf("   %-26s %-34s %3s %3s %8s\n", "REMOTE IP", "COMMAND", "OP", "SA", "COUNT");
	printa("   %-26s %-34s %02xh %02xh %@8d\n", @commands);
}
