"""An iSCSI target that anyone can see into: RFC 7143, SPC-4 and SBC-3 in Python."""

__version__ = "0.2.0"
