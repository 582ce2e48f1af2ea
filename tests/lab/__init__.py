"""The lab: a small virtual machine with a real DTrace, the kernel's iSCSI initiator and systemd (README.md)."""
