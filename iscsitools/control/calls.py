"""What can be asked of a running server, one typed method each."""

from __future__ import annotations

from typing import Any

from iscsitools.control import edits
from iscsitools.control.client import Applied, ControlConnection
from iscsitools.control.protocol import InUse

_How = InUse | str


class Control(ControlConnection):
    """A conversation with a server over its control socket; see :class:`ControlConnection`.

    The methods that change one thing read the configuration, edit it and apply it, again when somebody else was faster.
    """

    def add_target(self, iqn: str, *stores: str, alias: str = "", dry_run: bool = False) -> Applied:
        """Add a target with disks of these specs, LUN 0 and on."""
        return self.edit(lambda running: edits.add_target(running.document, iqn, stores, alias), dry_run=dry_run)

    def remove_target(self, iqn: str, *, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Remove a target with its LUNs; ``force`` ends its sessions."""
        return self.edit(lambda running: edits.remove_target(running.document, iqn), in_use=in_use, dry_run=dry_run)

    def add_lun(self, iqn: str, store: str, number: int | None = None, *, dry_run: bool = False) -> Applied:
        """Add a disk by its spec (``file:disk.img,size=1G``); without a number it gets the lowest that is free."""
        return self.edit(lambda running: edits.add_lun(running.document, iqn, store, number), dry_run=dry_run)

    def remove_lun(self, iqn: str, number: int, *, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Remove a LUN; what it is made of stays where it is."""
        return self.edit(
            lambda running: edits.remove_lun(running.document, iqn, number), in_use=in_use, dry_run=dry_run
        )

    def resize_lun(
        self, iqn: str, number: int, size: str | int, *, in_use: _How = InUse.REFUSE, dry_run: bool = False
    ) -> Applied:
        """Give a LUN another size, in bytes or as ``2G``; a smaller one has to be forced."""
        return self.edit(
            lambda running: edits.resize_lun(running.document, iqn, number, size, running.size_keys),
            in_use=in_use, dry_run=dry_run,
        )  # fmt: skip

    def move_lun(
        self, iqn: str, number: int, to: int, *, in_use: _How = InUse.REFUSE, dry_run: bool = False
    ) -> Applied:
        """Give a LUN another number; content and identity stay."""
        return self.edit(
            lambda running: edits.move_lun(running.document, iqn, number, to), in_use=in_use, dry_run=dry_run
        )

    def set_user(self, iqn: str, name: str, *, dry_run: bool = False, **secret: Any) -> Applied:
        """Add a CHAP user or change it. ``secret``: one of ``secret``, ``secret_file``, ``secret_env``; ``initiators``.

        Sessions that are open go on.
        """
        user = {"name": name, **secret}
        return self.edit(lambda running: edits.set_user(running.document, iqn, user), dry_run=dry_run)

    def remove_user(self, iqn: str, name: str, *, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Remove a CHAP user; ``force`` ends its sessions."""
        return self.edit(lambda running: edits.remove_user(running.document, iqn, name), in_use=in_use, dry_run=dry_run)

    def let_in(
        self, iqn: str, *patterns: str, in_use: _How = InUse.REFUSE, dry_run: bool = False
    ) -> Applied:  # fmt: skip
        """Add patterns of initiator names to a target's access list; the first one keeps all others out."""
        return self.edit(lambda running: edits.let_in(running.document, iqn, patterns), in_use=in_use, dry_run=dry_run)

    def keep_out(self, iqn: str, *patterns: str, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Take patterns from a target's access list; ``force`` ends the sessions of those who are not let in then."""
        return self.edit(
            lambda running: edits.keep_out(running.document, iqn, patterns), in_use=in_use, dry_run=dry_run
        )

    def let_all_in(self, iqn: str, *, dry_run: bool = False) -> Applied:
        """Empty a target's access list: every initiator may log in."""
        return self.edit(lambda running: edits.let_all_in(running.document, iqn), dry_run=dry_run)

    def add_portal(self, portal: str, *, dry_run: bool = False) -> Applied:
        """Listen at one more ``ADDRESS:PORT``."""
        return self.edit(lambda running: edits.add_portal(running.document, portal), dry_run=dry_run)

    def remove_portal(self, portal: str, *, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Listen there no more; ``force`` ends the sessions that came by it."""
        return self.edit(lambda running: edits.remove_portal(running.document, portal), in_use=in_use, dry_run=dry_run)

    def set_limits(self, *, dry_run: bool = False, **limits: Any) -> Applied:
        """Set limits by their names in the configuration."""
        return self.edit(lambda running: edits.set_limits(running.document, limits), dry_run=dry_run)
