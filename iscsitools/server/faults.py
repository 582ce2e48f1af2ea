"""Faults of disks that are served: the settings of their filters, and power cuts. In the control thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from iscsitools.backstores.base import Backstore, BackstoreError, Filter
from iscsitools.backstores.filters.adjustable import AdjustableFilter
from iscsitools.backstores.filters.powerloss import PowerlossFilter
from iscsitools.control.protocol import Code, ControlError
from iscsitools.scsi.core.errors import check_condition
from iscsitools.scsi.core.unit import LogicalUnit
from iscsitools.server.assemble import Assembly, place
from iscsitools.server.ending import OpenStore
from iscsitools.server.filter_settings import filters_of
from iscsitools.server.loop_calls import LoopCalls
from iscsitools.wire.sense import Asc, SenseKey

_LOOK_AGAIN: Final = 0.01
_CALLS_SECONDS: Final = 30.0


def faults_of(store: Backstore) -> list[dict[str, Any]]:
    """What is in force in a stack: ``option`` (``delay.read``), ``value``, ``client``, ``left`` (seconds)."""
    now = time.monotonic()
    return [
        {"option": f"{name}.{setting.name}", "value": _shown(setting.value)}
        | ({"client": setting.client} if setting.client else {})
        | ({"left": round(max(0.0, setting.until - now), 1)} if setting.until is not None else {})
        for name, found in filters_of(store).items()
        for setting in found.settings()
    ]


def faulty(assembly: Assembly) -> Iterator[tuple[str, int]]:
    """Target and number of each unit that has options of filters in force."""
    for target in assembly.targets:
        for number, unit in target.device.units.items():
            if any(found.settings() for found in filters_of(unit.store).values()):
                yield target.name, number


def _shown(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) else str(value)


class Faults:
    """Sets and takes back faults, by target and LUN."""

    def __init__(self, assembly: Assembly, calls: LoopCalls, cut_sessions: Any) -> None:
        """``cut_sessions(target)`` ends the sessions to a target, on the loop's thread."""
        self._assembly = assembly
        self._calls = calls
        self._cut_sessions = cut_sessions

    def units(self) -> Iterator[tuple[str, LogicalUnit, OpenStore]]:
        """Each target's name, unit and store."""
        stores = {store[0]: store for store in list(self._assembly.stores)}
        for target in list(self._assembly.targets):
            for number, unit in sorted(target.device.units.items()):
                yield target.name, unit, stores[place(target.name, number)]

    def _find(self, target: str, lun: int) -> tuple[LogicalUnit, OpenStore]:
        for name, unit, store in self.units():
            if (name, unit.number) == (target, lun):
                return unit, store
        raise ControlError(Code.NOT_FOUND, f"there is no LUN {lun} of {target}")

    def all(self) -> list[dict[str, Any]]:
        """Every LUN that has filters: ``target``, ``lun``, ``filters``, ``faults``."""
        return [
            {"target": name, "lun": unit.number, "filters": list(filters_of(store[1])), "faults": faults_of(store[1])}
            for name, unit, store in self.units()
            if isinstance(store[1], Filter)
        ]

    def set(self, target: str, lun: int, values: Mapping[str, str], client: str, seconds: float | None) -> None:
        """Put options into force, all of them or none; ``values``: by ``FILTER.OPTION``."""
        unit, store = self._find(target, lun)
        by_filter: dict[str, dict[str, str]] = {}
        for key, value in values.items():
            name, dot, option = key.partition(".")
            if not dot:
                raise ControlError(Code.REQUEST, f"{key!r} is not FILTER.OPTION, as delay.read")
            by_filter.setdefault(name, {})[option] = str(value)
        found = [(self._filter(store, target, lun, name), options) for name, options in by_filter.items()]
        # Those that cannot be changed say so first, and the others are asked before the first one is changed.
        found.sort(key=lambda pair: isinstance(pair[0], AdjustableFilter))
        try:
            for each, options in found:
                if isinstance(each, AdjustableFilter):
                    each.check(options)
            for each, options in found:
                each.configure(options, client, seconds)
        except BackstoreError as error:
            raise ControlError(Code.REQUEST, str(error)) from None
        finally:
            self._calls.ask(unit.refresh)

    def clear(self, target: str, lun: int, names: Sequence[str], client: str | None) -> None:
        """Take back what :meth:`set` has put into force: these ``FILTER.OPTION``, or all; none if one is wrong."""
        unit, store = self._find(target, lun)
        wanted: dict[str, list[str]] = {}
        for key in names:
            name, _, option = key.partition(".")
            self._filter(store, target, lun, name)
            wanted.setdefault(name, []).append(option)
        chosen = {
            each: [option for option in wanted.get(name, []) if option]
            for name, each in filters_of(store[1]).items()
            if not names or name in wanted
        }
        try:
            for each, options in chosen.items():
                if isinstance(each, AdjustableFilter):
                    each.check_names(options)
            for each, options in chosen.items():
                each.clear(options, client)
        except BackstoreError as error:
            raise ControlError(Code.REQUEST, str(error)) from None
        finally:
            self._calls.ask(unit.refresh)

    def _filter(self, store: OpenStore, target: str, lun: int, name: str) -> Filter:
        filters = filters_of(store[1])
        if name not in filters:
            known = ", ".join(filters) or "none"
            raise ControlError(Code.NOT_FOUND, f"LUN {lun} of {target} has no filter {name!r} (it has: {known})")
        return filters[name]

    # -- the power

    def power_cut(
        self, target: str | None, lun: int | None, drop: float, torn: bool, seed: int
    ) -> list[dict[str, Any]]:
        """Cut the power of one LUN, of a target's or of all that have the filter ``powerloss``; what each has lost.

        Their targets' sessions end. Until it is done, commands that need the medium find it not ready.
        """
        chosen = [
            (name, unit, store, cut)
            for name, unit, store in self.units()
            if target in (None, name) and lun in (None, unit.number) and (cut := _powerloss(store[1])) is not None
        ]
        if not chosen:
            raise ControlError(Code.NOT_FOUND, "no such LUN has the filter powerloss")
        self._calls.ask(lambda: self._go_dark([(name, unit) for name, unit, _, _ in chosen]))
        done = []
        try:
            for name, unit, store, cut in chosen:
                _wait_for_calls(store)
                report = cut.cut(drop, torn, seed)
                done.append(
                    {"target": name, "lun": unit.number, "unflushed": report.unflushed, "dropped": report.dropped,
                     "torn": report.torn}
                )  # fmt: skip
        finally:
            self._calls.ask(lambda: _come_back([unit for _, unit, _, _ in chosen]))
        return done

    def _go_dark(self, units: Sequence[tuple[str, LogicalUnit]]) -> None:
        for target in {name for name, _ in units}:
            self._cut_sessions(target)
        for _, unit in units:
            unit.powerless = check_condition(SenseKey.NOT_READY, Asc.NOT_READY_CAUSE_NOT_REPORTABLE)
            unit.reset(Asc.POWER_ON_OR_RESET)


def _come_back(units: Sequence[LogicalUnit]) -> None:
    for unit in units:
        unit.powerless = None
        unit.refresh()


def _powerloss(store: Backstore) -> PowerlossFilter | None:
    return next((found for found in filters_of(store).values() if isinstance(found, PowerlossFilter)), None)


def _wait_for_calls(store: OpenStore) -> None:
    until = time.monotonic() + _CALLS_SECONDS
    while store[2].running:
        if time.monotonic() > until:
            raise ControlError(Code.FAILED, f"{store[0]}: calls of its backstore do not return")
        time.sleep(_LOOK_AGAIN)
