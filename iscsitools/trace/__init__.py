"""The live view: what the probes see, for programs that attach to a running target."""
