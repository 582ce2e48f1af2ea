#!/usr/sbin/dtrace -s
/*
 * iscsilogin.d - print iSCSI logins: who, how they ended, where they failed and how long they took.
 *
 * USAGE: iscsilogin.d		# hit Ctrl-C for the report
 *
 * FIELDS:
 *	TIME(s)		seconds since tracing began, when the login ended
 *	CLIENT		the initiator's address
 *	MS		milliseconds from the connection's first Login Request to the Login Response that ended it
 *	RESULT		ok; or where it failed: security (names, authentication) or operational (the other keys)
 *	ISID		with the initiator's name and the target's, the key of the session
 *	INITIATOR, TARGET	their names, 127 bytes at most; -: no target, as in a discovery session, or one not found
 *
 *	REMOTE IP	the initiator's address
 *	LOGINS		begun, ok or failed; one that was begun and is neither lost its connection, or goes on
 *	COUNT		how many
 *
 * The probes do not carry the status of a Login Response. One that asks for nothing and answers nothing, to a request
 * that was not to be continued, ends the login as failed; the target's log has the reason.
 */

#pragma D option quiet
#pragma D option switchrate=10hz
#pragma D option strsize=128

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	printf("%13s %-15s %8s %-11s %-12s %s\n", "TIME(s)", "CLIENT", "MS", "RESULT", "ISID", "INITIATOR, TARGET");
	started = timestamp;
}

iscsi*:::login-command, iscsi*:::login-response
{
	this->local = args[0]->ci_local;
	this->remote = args[0]->ci_remote;
	/* ci_remote is address:port, or [address]:port */
	this->ipv6 = args[0]->ci_protocol == "ipv6";
	this->client = substr(this->remote, this->ipv6, rindex(this->remote, ":") - 2 * this->ipv6);
}

iscsi*:::login-command
{
	more[this->local, this->remote] = args[1]->ii_flags & ISCSI_FLAG_LOGIN_CONTINUE;
	/* Nobody has named the initiator before the first request. */
	this->initiator = args[1]->ii_initiator;
	this->first = this->initiator == "";
}

iscsi*:::login-command
/this->first/
{
	start[this->local, this->remote] = timestamp;
	@logins[this->client, "begun"] = count();
}

iscsi*:::login-response
{
	this->flags = args[1]->ii_flags;
	/* Transit to the full feature phase: T, and NSG 3 (RFC 7143 11.13). */
	this->good = (this->flags & 0x83) == 0x83;
	this->bad = !(this->flags & (ISCSI_FLAG_LOGIN_TRANSIT | ISCSI_FLAG_LOGIN_CONTINUE)) && !args[1]->ii_datalen &&
	    !more[this->local, this->remote];
	this->start = this->good || this->bad ? start[this->local, this->remote] : 0;
}

iscsi*:::login-response
/this->start/
{
	start[this->local, this->remote] = 0;
	more[this->local, this->remote] = 0;
	@logins[this->client, this->good ? "ok" : "failed"] = count();
	this->took = timestamp - this->start;
	this->elapsed = timestamp - started;
	/* CSG: the stage that it was in. */
	this->stage = this->flags >> 2 & 3;
	printf("%6d.%06d %-15s %4d.%03d %-11s ", this->elapsed / 1000000000, this->elapsed / 1000 % 1000000, this->client,
	    this->took / 1000000, this->took / 1000 % 1000, this->good ? "ok" : this->stage ? "operational" : "security");
	printf("%-12s ", args[1]->ii_isid);
	printf("%s ", args[1]->ii_initiator);
	this->target = args[1]->ii_target;
	printf("%s\n", this->target == "" ? "-" : this->target);
}

dtrace:::END
{
	printf("\n   %-26s %8s %8s\n", "REMOTE IP", "LOGINS", "COUNT");
	printa("   %-26s %8s %@8d\n", @logins);
}
