"""The iscsi provider's probes: their table, and the engine's call sites."""
