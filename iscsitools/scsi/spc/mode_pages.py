"""The mode pages of a unit and their current values (SPC-4 7.5, SBC-3 6.5).

Values are of the unit, not of a nexus (no per-nexus copies), and are not saved: a reset brings the defaults back,
except for SWP, which stays as it was set until the process ends, so that a reset does not open a medium for writing.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from iscsitools.scsi.core.errors import invalid_parameter, parameter_list_length_error
from iscsitools.scsi.core.unit import LogicalUnit, Part

RECOVERY, DISCONNECT, CACHING, CONTROL, EXCEPTIONS = 0x01, 0x02, 0x08, 0x0A, 0x1C
_WCE, _SWP = 0x04, 0x08


class _Page(NamedTuple):
    """Default values and changeable bits of a page, without its two header bytes."""

    default: bytes
    changeable: bytes


def _page(default: str, changeable: str = "") -> _Page:
    value = bytes.fromhex(default)
    return _Page(value, bytes.fromhex(changeable).ljust(len(value), b"\0"))


PAGES: Final[dict[int, _Page]] = {
    # AWRE, ARRE: the backstore does what it can by itself.
    RECOVERY: _page("c0 00 00 00 00 00 00 00 00 00"),
    DISCONNECT: _page("00 00 00 00 00 00 00 00 00 00 00 00 00 00"),
    # WCE as the unit was made with.
    CACHING: _page("00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "04"),
    # TST 0: one task set; QUEUE ALGORITHM MODIFIER 1: simple tasks in any order; D_SENSE 0; TAS 0.
    CONTROL: _page("00 10 00 00 00 00 00 00 00 00", "00 00 08"),
    # DEXCPT: no informational exceptions are reported.
    EXCEPTIONS: _page("08 00 00 00 00 00 00 00 00 00"),
}


class ModePages(Part):
    """Current and default values. WCE can be set where the backstore's cache is volatile."""

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self._default = {code: page.default for code, page in PAGES.items()}
        self._changeable = {code: page.changeable for code, page in PAGES.items()}
        if unit.write_cache:
            self._default[CACHING] = bytes([_WCE]) + self._default[CACHING][1:]
        if not unit.capabilities.volatile_cache:
            self._changeable[CACHING] = bytes(len(self._default[CACHING]))
        self._current = dict(self._default)

    def _set(self, values: dict[int, bytes]) -> None:
        self._current = values
        self.unit.write_cache = bool(values[CACHING][0] & _WCE)
        self.unit.software_write_protect = bool(values[CONTROL][2] & _SWP)

    def values(self, control: int) -> dict[int, bytes]:
        """The pages of a PAGE CONTROL: 0 current, 1 changeable, 2 default."""
        return (self._current, self._changeable, self._default)[control]

    def state(self) -> Any:
        """The current values, by page."""
        return {str(code): value.hex() for code, value in self._current.items()}

    def take_state(self, state: Any) -> None:
        """Take what may have been changed of them; what this unit cannot do stays as it is."""
        chosen = dict(self._current)
        for code, text in state.items():
            value, may = bytes.fromhex(text), self._changeable.get(int(code), b"")
            if len(value) == len(may):
                old = chosen[int(code)]
                chosen[int(code)] = bytes(n & m | o & ~m & 0xFF for n, o, m in zip(value, old, may, strict=True))
        self._set(chosen)

    def reset(self) -> None:
        """Back to the defaults, but for SWP and a WCE of 1: what only the cache has must not pass for durable."""
        kept = {CONTROL: self._current[CONTROL]}
        if self.unit.write_cache:
            kept[CACHING] = self._current[CACHING]
        self._set({**self._default, **kept})

    def select(self, data: memoryview, base: int) -> bool:
        """Take the pages in ``data``, which begins at byte ``base`` of the parameter list; True if a value changed.

        Nothing changes unless all is right (SPC-4 6.11): known pages of their true length, and no other bits
        changed than the changeable ones. Raises INVALID FIELD IN PARAMETER LIST or PARAMETER LIST LENGTH ERROR.
        """
        chosen = dict(self._current)
        at = 0
        while at < len(data):
            if len(data) - at < 2:
                raise parameter_list_length_error()
            code, length = data[at] & 0x7F, data[at + 1]
            if code not in chosen:
                raise invalid_parameter(base + at, 5)
            if length != len(chosen[code]):
                raise invalid_parameter(base + at + 1, 7)
            body = bytes(data[at + 2 : at + 2 + length])
            if len(body) < length:
                raise parameter_list_length_error()
            self._check_changes(code, body, base + at + 2)
            chosen[code] = body
            at += 2 + length
        changed = chosen != self._current
        self._set(chosen)
        return changed

    def _check_changes(self, code: int, body: bytes, base: int) -> None:
        for index, (new, old, may) in enumerate(zip(body, self._current[code], self._changeable[code], strict=True)):
            refused = (new ^ old) & ~may
            if refused:
                raise invalid_parameter(base + index, refused.bit_length() - 1)
