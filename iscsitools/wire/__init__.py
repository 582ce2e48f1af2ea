"""What the standards number and name, once: RFC 7143, SAM-5, SPC-4, SBC-3. It uses nothing else of the project."""
