/* For tests: what illumos' own net.d defines of the names that the D library uses. */
typedef struct conninfo {
	string ci_local;
	string ci_remote;
	string ci_protocol;
} conninfo_t;
