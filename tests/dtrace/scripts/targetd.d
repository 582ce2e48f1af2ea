/*
 * In the manner of scripts for the first iscsi provider, of a target in user land: a table by operation code, the CDB
 * as *args[2]->ic_cdb and its first byte, the client as an aggregation key, names, tags and flags as keys of arrays
 * and in predicates. Knows nothing of this project.
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
	name[0x5f] = "persistent-reserve-out";
	name[0x9e] = "service-action-in";
}

iscsi*:::scsi-command
{
	this->code = *args[2]->ic_cdb;
	@commands[name[args[2]->ic_cdb[0]], this->code] = count();
	@clients[args[0]->ci_remote] = count();
	@initiators[args[1]->ii_initiator] = count();
	start[args[1]->ii_initiator, args[1]->ii_itt] = timestamp;
	code[args[1]->ii_itt] = args[2]->ic_cdb[0];
	wrote[*args[2]->ic_cdb] = args[1]->ii_flags & ISCSI_FLAG_CMD_WRITE;
}

iscsi*:::scsi-command
/args[2]->ic_cdb[0] == READ_16 && wrote[*args[2]->ic_cdb] == 0 && args[1]->ii_initiator != "iqn.none"/
{
	@reads[args[1]->ii_initiator] = count();
}

iscsi*:::data-send, iscsi*:::scsi-response
{
	flagged[args[1]->ii_flags & ISCSI_FLAG_FINAL] = 1;
}

iscsi*:::data-send, iscsi*:::scsi-response
/start[args[1]->ii_initiator, args[1]->ii_itt] && args[1]->ii_flags & ISCSI_FLAG_FINAL/
{
	@ended[args[1]->ii_initiator, code[args[1]->ii_itt]] = count();
	start[args[1]->ii_initiator, args[1]->ii_itt] = 0;
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
	printa("reads %s %@d\n", @reads);
	printa("ended %s %d %@d\n", @ended);
	printa("finals %@d\n", @finals);
	printf("flagged %d\n", flagged[ISCSI_FLAG_FINAL]);
}
