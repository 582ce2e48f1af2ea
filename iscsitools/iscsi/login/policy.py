"""What login and discovery need to know of the targets: names, addresses, and who may come in (RFC 7143 4.2.7)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from iscsitools.iscsi.errors import LoginError
from iscsitools.iscsi.login.access import EVERYTHING, AccessList, LunMap, matches
from iscsitools.iscsi.login.addresses import bracketed, may_be_told, plain, same_link
from iscsitools.wire.names import fold_name
from iscsitools.wire.rfc7143 import LoginStatus

if TYPE_CHECKING:
    from iscsitools.scsi.core.device import ScsiDevice

_MOST_ANSWERS: Final = 64
"""Answers about targets that are kept: for so many initiators and addresses at a time."""

SecretLookup = Callable[[str, str], bytes | None]
"""(initiator's name, CHAP name) to secret, or None for an unknown one."""


class ChapAlgorithm(IntEnum):
    """CHAP_A numbers: IANA's PPP authentication algorithms (RFC 7143 12.1.3)."""

    MD5 = 5
    SHA1 = 6
    SHA256 = 7
    SHA3_256 = 8


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """Who may log in. Without ``secret_for`` everybody may; with it, CHAP is required.

    ``secret_for(initiator, user)`` gives the secret of a CHAP name for an iSCSI name, or None. With ``deferred`` it
    may block, and login asks its caller to call it. ``mutual_name`` and ``mutual_secret`` prove this target to an
    initiator that asks.
    ``algorithms``: those that may be used, the preferred one first. ``bound``: CHAP names that may be used under some
    initiator names only, by patterns.
    """

    secret_for: SecretLookup | None = None
    deferred: bool = False
    mutual_name: str = ""
    mutual_secret: bytes = b""
    algorithms: tuple[ChapAlgorithm, ...] = tuple(reversed(ChapAlgorithm))
    bound: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def admits(self, initiator: str, user: str) -> bool:
        """Whether a CHAP name, proved, may be used by this initiator."""
        return matches(initiator, self.bound.get(user, ()))

    @property
    def required(self) -> bool:
        """CHAP is required."""
        return self.secret_for is not None


@dataclass(frozen=True, slots=True)
class Portal:
    """An address, without brackets, and a TCP port.

    ``0.0.0.0`` and ``::`` stand for every address of their family, an empty one for every address of this machine. A
    link-local one has its interface behind ``%``. ``group``: the portal group tag (RFC 7143 4.2.7.1), which is the
    relative target port identifier too. ``told``: ``ADDRESS:PORT`` that initiators are told instead of where it is.
    """

    address: str
    port: int
    group: int = 1
    told: str = ""

    @property
    def wildcard(self) -> bool:
        """It stands for every address."""
        return self.address in ("0.0.0.0", "::", "")

    def accepts(self, local: Portal) -> bool:
        """A connection whose own end is ``local`` came in by this portal.

        ``::`` also takes IPv4 connections that the system hands over as IPv4-mapped addresses.
        """
        if self.port != local.port:
            return False
        if self.address == local.address or self.stands_for(local.address):
            return True
        return plain(self.address) == plain(local.address) and same_link(self.address, local.address)

    def stands_for(self, address: str) -> bool:
        """It is a wildcard of the family that ``address`` was given in."""
        if not self.wildcard or not self.address:
            return self.wildcard
        return (":" in self.address) == (":" in address)


@dataclass(slots=True, eq=False)
class TargetNode:
    """A target. ``portals``: where it can be reached; none: at every portal of the directory, or of its ``groups``.

    ``access``: who may log in. ``maps``: what each sees of it, the first that fits; none: everybody sees everything.
    Who sees nothing may not log in.
    """

    name: str
    device: ScsiDevice
    alias: str = ""
    portals: tuple[Portal, ...] = ()
    auth: AuthPolicy = field(default_factory=AuthPolicy)
    access: AccessList = field(default_factory=AccessList)
    maps: tuple[LunMap, ...] = ()
    groups: tuple[int, ...] = ()
    """Numbers of the portal groups that it is bound to; empty: all."""

    def map_for(self, initiator: str, address: str) -> LunMap | None:
        """What an initiator at an IP address sees of the target; None: nothing."""
        if not self.maps:
            return EVERYTHING
        found = next((each for each in self.maps if each.access.admits(initiator, address)), None)
        return None if found is None or found.luns == {} else found

    def admits(self, initiator: str, address: str = "") -> bool:
        """The access list lets this initiator in, and there is something that it sees."""
        return not self.keeps_out(initiator, address)

    def keeps_out(self, initiator: str, address: str) -> str:
        """What of the target keeps an initiator at an IP address out, in words for the log; empty: nothing does."""
        unseen = "" if self.map_for(initiator, address) is not None else "it sees no unit by the target's maps"
        return self.access.keeps_out(initiator, address) or unseen


class _Secrets:
    """Secrets by owner, to be asked whether one is among them at one cost, however many there are.

    They are known by digests: how long a look takes tells nobody how near a secret was to another.
    """

    def __init__(self) -> None:
        self._of: dict[str, bytes] = {}
        self._owners: Counter[bytes] = Counter()

    def put(self, owner: str, secret: bytes) -> None:
        """The owner has this one from now on; empty: none."""
        before = self._of.pop(owner, None)
        if before is not None:
            self._owners[before] -= 1
            if not self._owners[before]:
                del self._owners[before]
        if secret:
            digest = self._of[owner] = _digest(secret)
            self._owners[digest] += 1

    def __contains__(self, secret: bytes) -> bool:
        return _digest(secret) in self._owners


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret, usedforsecurity=False).digest()


class Directory:
    """The targets of this server, in the order in which they were added."""

    def __init__(self, portals: Iterable[Portal] = (), discovery_auth: AuthPolicy | None = None) -> None:
        self.portals = tuple(portals)
        self.discovery_auth = discovery_auth or AuthPolicy()
        self._mutual_secrets = _Secrets()
        self._mutual_secrets.put("", self.discovery_auth.mutual_secret)
        self._targets: dict[str, TargetNode] = {}
        self._removed: dict[str, TargetNode] = {}
        """Targets that were taken out, for what they let in."""
        self._answers: dict[Hashable, bytes] = {}
        self._addresses: dict[Hashable, list[str]] = {}

    def __iter__(self) -> Iterator[TargetNode]:
        return iter(self._targets.values())

    def add(self, target: TargetNode) -> None:
        """Put a target in; it takes the place of one of the same name."""
        name = fold_name(target.name)
        self._targets[name] = target
        self._mutual_secrets.put(name, target.auth.mutual_secret)
        self._removed.pop(name, None)
        self._forget_answers()

    def remove(self, name: str) -> None:
        """Take a target out; whom it let in is told from now on that it was removed. Unknown names are no error."""
        target = self._targets.pop(fold_name(name), None)
        if target is not None:
            self._removed[fold_name(name)] = target
            self._mutual_secrets.put(fold_name(name), b"")
        self._forget_answers()

    def change(self, portals: Iterable[Portal], discovery_auth: AuthPolicy) -> None:
        """Take other portals and another policy for discovery; logins under way go on with the one that they began."""
        self.portals = tuple(portals)
        self.discovery_auth = discovery_auth
        self._mutual_secrets.put("", discovery_auth.mutual_secret)
        self._forget_answers()

    def kept_answer(self, question: Hashable, answer: Callable[[], bytes]) -> bytes:
        """What ``answer`` says to a question about the targets; kept until they change, as asking is cheap."""
        kept = self._answers.get(question)
        if kept is None:
            if len(self._answers) >= _MOST_ANSWERS:
                del self._answers[next(iter(self._answers))]
            kept = self._answers[question] = answer()
        return kept

    def _forget_answers(self) -> None:
        self._answers.clear()
        self._addresses.clear()

    def is_mutual_secret(self, secret: bytes) -> bool:
        """Whether a target of this server, or discovery, proves itself to initiators with this secret."""
        return secret in self._mutual_secrets

    def find(self, name: str) -> TargetNode | None:
        """The target of that name; names are compared after normalisation."""
        return self._targets.get(fold_name(name))

    def admit(self, name: str, initiator: str, local: Portal, address: str = "") -> TargetNode:
        """The target that ``initiator`` may log in to at ``local``, or LoginError with the status that says why not.

        ``address``: its own IP address.
        """
        # One status for a target that is not there, one that is not at this portal, and one whose access list does
        # not let the initiator in: only those whom it lets in may learn that it exists.
        target = self.find(name)
        if target is not None and (reason := target.keeps_out(initiator, address)):
            raise LoginError(LoginStatus.NOT_FOUND, f"{initiator} may not log in to {name}: {reason}")
        removed = self._removed.get(fold_name(name))
        if target is None and removed is not None and removed.admits(initiator, address):
            raise LoginError(LoginStatus.TARGET_REMOVED, f"target {name} was removed")
        if target is None:
            raise LoginError(LoginStatus.NOT_FOUND, f"no target {name}")
        if not self._reachable(target, local):
            raise LoginError(LoginStatus.NOT_FOUND, f"target {name} is not at {bracketed(local.address)}:{local.port}")
        return target

    def group_at(self, target: TargetNode, local: Portal) -> int:
        """The portal group of the target at which a connection came in at ``local``."""
        wide = 0
        for portal in self._portals_of(target):
            if portal.accepts(local):
                if not portal.wildcard:
                    return portal.group
                wide = wide or portal.group
        return wide or 1

    def visible(self, initiator: str, address: str = "") -> list[TargetNode]:
        """The targets that SendTargets=All shows to an initiator at an IP address: those that it may log in to."""
        return [target for target in self._targets.values() if target.admits(initiator, address)]

    def _portals_of(self, target: TargetNode) -> tuple[Portal, ...]:
        if target.portals or not target.groups:
            return target.portals or self.portals
        return tuple(portal for portal in self.portals if portal.group in target.groups)

    def addresses(self, target: TargetNode, local: Portal) -> list[str]:
        """The target's TargetAddress values (RFC 7143 13.8) for a connection that came in at ``local``.

        A portal that listens on every address is shown as the address at which this connection came in, if that is of
        its family. A loopback portal is not shown to who came from elsewhere, nor a link-local one to who did not come
        by one of the same link; it has its scope. What a portal is to be told as is told to everybody.
        """
        question = target.portals, target.groups, local
        known = self._addresses.get(question)
        if known is None:
            if len(self._addresses) >= _MOST_ANSWERS:
                self._addresses.clear()
            known = self._addresses[question] = self._addresses_of(target, local)
        return known

    def _addresses_of(self, target: TargetNode, local: Portal) -> list[str]:
        found: dict[str, None] = {}
        for portal in self._portals_of(target) or ((local,) if not target.groups else ()):
            if portal.told:
                found[f"{portal.told},{portal.group}"] = None
                continue
            if portal.wildcard and not portal.stands_for(local.address):
                continue
            address = local.address if portal.wildcard else portal.address
            if may_be_told(address, local.address):
                found[f"{bracketed(address)}:{portal.port},{portal.group}"] = None
        return list(found)

    def _reachable(self, target: TargetNode, local: Portal) -> bool:
        if not target.portals and not target.groups:
            return True
        return any(portal.accepts(local) for portal in self._portals_of(target))
