/*
 * In the manner of scripts for the first iscsi provider, of a target in user land: a table by operation code, the CDB
 * as *args[2]->ic_cdb, the client as an aggregation key. Knows nothing of this project.
 */
#pragma D option quiet

inline int READ_10 = 0x28;
inline int READ_16 = 0x88;
inline int WRITE_16 = 0x8a;

dtrace:::BEGIN
{
	printf("Tracing... Hit Ctrl-C to end.\n");
	name[0x00] = "test-unit-ready";
	name[READ_10] = "read10";
	name[READ_16] = "read16";
	name[WRITE_16] = "write16";
	name[0x9e] = "service-action-in";
}

iscsi*:::scsi-command
{
	this->code = *args[2]->ic_cdb;
	@commands[name[this->code], this->code] = count();
	@clients[args[0]->ci_remote] = count();
	@initiators[args[1]->ii_initiator] = count();
}

iscsi*:::data-send
/args[1]->ii_flags & ISCSI_FLAG_FINAL/
{
	@finals = count();
}

iscsi*:::login-command
{
	printf("login from %s\n", args[0]->ci_remote);
}

dtrace:::END
{
	printa("command %s %x %@d\n", @commands);
	printa("client %s %@d\n", @clients);
	printa("initiator %s %@d\n", @initiators);
	printa("finals %@d\n", @finals);
}
