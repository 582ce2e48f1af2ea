"""What can be asked of a running server, one typed method each."""

from __future__ import annotations

from collections.abc import Sequence
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

    def let_in(self, iqn: str, *whom: str, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Add patterns of initiator names, and networks, to a target's access lists.

        The first pattern keeps all other names out, the first network all other networks.
        """
        return self.edit(lambda running: edits.let_in(running.document, iqn, whom), in_use=in_use, dry_run=dry_run)

    def keep_out(self, iqn: str, *whom: str, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Take patterns and networks from a target's access lists; ``force`` ends the sessions of who is kept out."""
        return self.edit(lambda running: edits.keep_out(running.document, iqn, whom), in_use=in_use, dry_run=dry_run)

    def let_all_in(self, iqn: str, *, dry_run: bool = False) -> Applied:
        """Empty a target's access lists: every initiator may log in, from every network."""
        return self.edit(lambda running: edits.let_all_in(running.document, iqn), dry_run=dry_run)

    def set_access(
        self, iqn: str, *states: str, transition: float | None = None, dry_run: bool = False
    ) -> Applied:  # fmt: skip
        """Bring portal groups of a target into access states (ALUA), each as ``GROUP=STATE``.

        ``transition``: seconds that a change takes, this one and later ones.
        """
        return self.edit(lambda running: edits.set_access(running.document, iqn, states, transition), dry_run=dry_run)

    def set_map(
        self, iqn: str, name: str, *luns: str, initiators: Sequence[str] = (), networks: Sequence[str] = (),
        in_use: _How = InUse.REFUSE, dry_run: bool = False,
    ) -> Applied:  # fmt: skip
        """Say what initiators of these names, from these networks, see: ``0=7`` is our LUN 7 as their LUN 0.

        No ``luns``: all of them. A map has a name; it takes the place of the one that has it already.
        """
        return self.edit(
            lambda running: edits.set_map(running.document, iqn, name, luns or None, initiators, networks),
            in_use=in_use, dry_run=dry_run,
        )  # fmt: skip

    def remove_map(self, iqn: str, name: str, *, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Remove a map; without any, everybody sees everything."""
        return self.edit(lambda running: edits.remove_map(running.document, iqn, name), in_use=in_use, dry_run=dry_run)

    def add_portal(self, portal: str, *, dry_run: bool = False) -> Applied:
        """Listen at one more ``ADDRESS:PORT``."""
        return self.edit(lambda running: edits.add_portal(running.document, portal), dry_run=dry_run)

    def remove_portal(self, portal: str, *, in_use: _How = InUse.REFUSE, dry_run: bool = False) -> Applied:
        """Listen there no more; ``force`` ends the sessions that came by it."""
        return self.edit(lambda running: edits.remove_portal(running.document, portal), in_use=in_use, dry_run=dry_run)

    def set_limits(self, *, dry_run: bool = False, **limits: Any) -> Applied:
        """Set limits by their names in the configuration."""
        return self.edit(lambda running: edits.set_limits(running.document, limits), dry_run=dry_run)

    def tree(self) -> dict[str, Any]:
        """What is served: portals, and targets with LUNs, users, access lists and sessions."""
        found: dict[str, Any] = self.request("tree")["tree"]
        return found

    def health(self) -> dict[str, Any]:
        """Whether all is well: ``state`` (``ok``, ``warning``, ``critical``), ``problems``, ``limits``, totals."""
        found: dict[str, Any] = self.request("health")["health"]
        return found

    def faults(self) -> list[dict[str, Any]]:
        """The LUNs that have filters, each with what is in force of them."""
        found: list[dict[str, Any]] = self.request("faults")["faults"]
        return found

    def set_faults(
        self, target: str, lun: int, values: dict[str, str], *, client: str = "", seconds: float | None = None
    ) -> None:
        """Put options of filters into force, as ``{"delay.read": "20ms"}``.

        ``client``: for initiators whose names this pattern matches. ``seconds``: for so long.
        """
        self.request("fault-set", target=target, lun=lun, values=values, client=client or None, seconds=seconds)

    def clear_faults(self, target: str, lun: int, *names: str, client: str | None = None) -> None:
        """Take back what :meth:`set_faults` has put into force: these options, or all."""
        self.request("fault-clear", target=target, lun=lun, names=list(names), client=client)

    def power_cut(
        self, target: str | None = None, lun: int | None = None, *, drop: float = 1.0, torn: bool = False, seed: int = 0
    ) -> list[dict[str, Any]]:
        """Cut the power of one LUN, or of all that have the filter ``powerloss``; returns the blocks that each lost.

        The sessions of their targets end. ``drop``: the share of the unflushed blocks that are lost. ``torn``: some of
        them in part. ``seed`` chooses them.
        """
        found: list[dict[str, Any]] = self.request(
            "power-cut", target=target, lun=lun, drop=drop, torn=torn, seed=seed
        )["cut"]
        return found
