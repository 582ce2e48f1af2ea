"""The iscsi provider: the 18 probes for DTrace, and for bpftrace, perf and SystemTap on Linux."""
