"""What a unit finds again when it is served: reservations, what its commands keep, and a write that was broken off."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from iscsitools.backstores.base import MediumError
from iscsitools.errors import RunError
from iscsitools.scsi.core.registrations import Registrations
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.atomic_file import AtomicFile
from iscsitools.server.kept_file import KeptFile
from iscsitools.server.store_host import SharedReservations
from iscsitools.server.workers import Workers

log = logging.getLogger(__name__)


def state_folder(configured: str | None) -> Path | None:
    """Where what outlives the server is kept: as configured, as systemd says, or the user's own; None: no place."""
    if configured is not None:
        return Path(configured)
    for variable, below in (("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "iscsitools")):
        folder = os.environ.get(variable, "").partition(":")[0]
        if os.path.isabs(folder):
            return Path(folder) / below
    home = os.path.expanduser("~")
    return Path(home) / ".local" / "state" / "iscsitools" if os.path.isabs(home) else None


def take_kept(where: str, unit: LogicalUnit, state: Path | None, keeper: Workers) -> None:
    """Give a unit the places of what outlives the server, and what is there. Raises RunError.

    ``state``: the folder of :func:`state_folder`. ``where``: the unit's name in messages.
    """
    _take_reservations(where, unit, state, keeper)
    if state is not None:
        for part in (part for part in unit.parts if part.kept):
            part.place, found = _restore(where, unit, state, part.kept, keeper, part.take_kept)
            if found:
                log.info("%s: its %s is back", where, part.kept)
    _make_durable(where, unit)
    _take_atomic(where, unit, state)


def _restore(
    where: str, unit: LogicalUnit, state: Path, kind: str, keeper: Workers, take: Callable[[str], None]
) -> tuple[KeptFile, bool]:
    """The unit's file of one kind, and whether ``take``, which raises ValueError for what is damaged, got a text."""
    file = KeptFile(state / kind / f"{unit.identity.naa.hex()}.json", keeper)
    try:
        text = file.load()
        if text:
            take(text)
    except OSError as error:
        raise RunError(f"{where}: its {kind}: {file.path}: {error.strerror or error}") from None
    except ValueError as error:
        raise RunError(
            f"{where}: its {kind}: {file.path} is damaged: {error}; remove the file to begin without it"
        ) from None
    return file, bool(text)


def _take_reservations(where: str, unit: LogicalUnit, state: Path | None, keeper: Workers) -> None:
    """Where several servers export a disk, they share its reservations; a damaged fence is not forgotten."""
    shared = unit.store.reservations

    def take(text: str) -> None:
        unit.reservations.persistent = Registrations.from_text(text)

    if shared is not None:
        unit.reservation_place = SharedReservations(unit.store, keeper)
        if shared:
            take(shared)
    elif state is not None:
        unit.reservation_place, found = _restore(where, unit, state, "reservations", keeper, take)
        if found:
            log.info("%s: %d registrations are back", where, len(unit.reservations.persistent.keys))


def _make_durable(where: str, unit: LogicalUnit) -> None:
    """See that a WCE of 0, configured or saved, is true of what was written before too. Raises RunError."""
    if unit.write_cache or unit.capabilities.read_only or not unit.store.unflushed:
        return
    try:
        unit.store.flush()
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise RunError(f"{where}: with its write cache off it is flushed at the start, which failed: {text}") from None


def _take_atomic(where: str, unit: LogicalUnit, state: Path | None) -> None:
    """Give a unit what makes its writes atomic, and finish the one that a power cut has broken off.

    A store that never blocks keeps nothing over a power cut, and one that is never written has nothing to be atomic. On
    a disk that other servers export too, a journal of this one could be older than what they have written since.
    """
    if state is None or unit.store.access is not None or not unit.store.blocking or not AtomicFile.can_keep(state):
        return
    writer = AtomicFile(state / "atomic" / f"{unit.identity.naa.hex()}.journal")
    try:
        length = writer.recover(unit.store)
    except (OSError, MediumError) as error:
        raise RunError(f"{where}: a write of {writer.path} that a power cut broke off: {error}") from None
    if length:
        log.info("%s: an atomic write of %d bytes was finished", where, length)
    if not unit.capabilities.read_only:
        unit.take_atomic(writer)
