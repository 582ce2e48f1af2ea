"""The base class of filters whose options can be changed while they serve, for some clients and for a while too."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Final

from iscsitools.backstores.base import Backstore, BackstoreError, Setting
from iscsitools.backstores.caller import caller
from iscsitools.backstores.filters.watching import WatchingFilter
from iscsitools.backstores.registry import suggestion

LONGEST_SECONDS: Final = 1e9


class AdjustableFilter(WatchingFilter):
    """Changes nothing of the bytes; ``self.value(NAME)`` is what an option is for the call under way.

    The class says by :attr:`of_reads`, :attr:`of_writes` and :attr:`waits` what its options are for. While one of them
    is in force, such calls do not go round it (``passes_reads``, ``passes_writes``), and are made in threads
    (``blocking``) if one waits, or is for some clients only.
    """

    of_reads: ClassVar[frozenset[str]] = frozenset()
    """The options that concern reads while they are true."""
    of_writes: ClassVar[frozenset[str]] = frozenset()
    """The same of writes, discards and zeroings."""
    waits: ClassVar[bool] = False
    """While one of its options is true, its calls may block."""

    def __init__(self, inner: Backstore, **options: Any) -> None:
        super().__init__(inner)
        self._given = {option.name: option.default for option in self.options} | options
        self._lock = threading.Lock()
        self._settings: tuple[Setting, ...] = ()
        self._follow()

    def value(self, name: str) -> Any:
        """The option for this call: of the newest setting that is for its client, else as the spec says. Any thread."""
        settings = self._settings
        if settings:
            client = ""
            now = time.monotonic()
            for setting in reversed(settings):
                if setting.until is not None and setting.until <= now:
                    self._end_some()
                elif setting.name == name:
                    client = client or caller()
                    if not setting.client or (client and fnmatchcase(client, setting.client)):
                        return setting.value
        return self._given[name]

    def settings(self) -> Sequence[Setting]:
        """What is in force: the options of the spec that are set, then those of ``configure``."""
        self._end_some()
        given = [Setting(o.name, self._given[o.name]) for o in self.options if self._given[o.name] != o.default]
        return (*given, *self._settings)

    def configure(self, values: Mapping[str, str], client: str = "", seconds: float | None = None) -> None:
        """Put options into force, all of them or none."""
        if seconds is not None and not 0 < seconds <= LONGEST_SECONDS:
            raise BackstoreError(f"{seconds:g} seconds are no time for a setting")
        until = None if seconds is None else time.monotonic() + seconds
        wanted = [Setting(name, self._parse(name, text), client.lower(), until, text) for name, text in values.items()]
        places = {(setting.name, setting.client) for setting in wanted}
        with self._lock:
            kept = [setting for setting in self._settings if (setting.name, setting.client) not in places]
            self._settings = (*kept, *wanted)
            self._follow()

    def check(self, values: Mapping[str, str]) -> None:
        """Raise what ``configure`` would raise of these, and change nothing."""
        for name, text in values.items():
            self._parse(name, text)

    def check_names(self, names: Sequence[str]) -> None:
        """Raise what ``clear`` would raise of these, and change nothing."""
        for name in names:
            self._option(name)

    def clear(self, names: Sequence[str] = (), client: str | None = None) -> None:
        """Take back settings."""
        self.check_names(names)
        with self._lock:
            self._settings = tuple(
                setting
                for setting in self._settings
                if (names and setting.name not in names) or (client is not None and setting.client != client.lower())
            )
            self._follow()

    def _option(self, name: str) -> Any:
        for option in self.options:
            if option.name == name:
                return option
        known = suggestion(name, [option.name for option in self.options])
        raise BackstoreError(f"the filter {self.kind} has no option {name!r}{known}")

    def _parse(self, name: str, text: str) -> Any:
        try:
            return self._option(name).parse(text)
        except ValueError as error:
            raise BackstoreError(f"{self.kind}.{name}: {error}") from None

    def _end_some(self) -> None:
        """Drop the settings whose time is over."""
        with self._lock:
            now = time.monotonic()
            kept = tuple(s for s in self._settings if s.until is None or s.until > now)
            if len(kept) < len(self._settings):
                self._settings = kept
                self._follow()

    def _follow(self) -> None:
        """Decide anew which calls have to come here, and whether in threads."""
        in_force = {name for name, value in self._given.items() if value}
        in_force |= {setting.name for setting in self._settings}
        self.passes_reads = not in_force & self.of_reads
        self.passes_writes = not in_force & self.of_writes
        some_clients = any(setting.client for setting in self._settings)
        self._blocks = True if (self.waits and in_force) or some_clients else None
