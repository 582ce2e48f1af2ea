"""The mode pages of a unit and their values (SPC-4 7.5, SBC-3 6.5).

Values are of the unit, not of a nexus (no per-nexus copies). A reset brings the saved values back, or the defaults
where none were saved, except for SWP, which stays as it was set until the process ends, so that a reset does not open
a medium for writing.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final, NamedTuple

from iscsitools.scsi.core.cdb import u32
from iscsitools.scsi.core.thresholds import Resource, Threshold
from iscsitools.scsi.core.unit import LogicalUnit, Part


class PageCode(NamedTuple):
    """PAGE CODE and SUBPAGE CODE."""

    page: int
    subpage: int = 0

    def __str__(self) -> str:
        return f"{self.page}.{self.subpage}" if self.subpage else str(self.page)


Values = dict[PageCode, bytes]
"""Pages without their headers."""
RECOVERY, DISCONNECT, CACHING, CONTROL = PageCode(0x01), PageCode(0x02), PageCode(0x08), PageCode(0x0A)
EXCEPTIONS, PROVISIONING = PageCode(0x1C), PageCode(0x1C, 0x02)
_LBPERE, _WCE, _SWP = 0x80, 0x04, 0x08
_ENABLED = 0x80
_THRESHOLDS, _THRESHOLD = 12, 8
"""Where the threshold descriptors begin, and how long each is."""


class _Page(NamedTuple):
    """Default values and changeable bits of a page, without its header."""

    default: bytes
    changeable: bytes


def _page(default: str, changeable: str = "") -> _Page:
    value = bytes.fromhex(default)
    return _Page(value, bytes.fromhex(changeable).ljust(len(value), b"\0"))


PAGES: Final[dict[PageCode, _Page]] = {
    # AWRE, ARRE: the backstore does what it can by itself. LBPERE, where space is counted: thresholds are told.
    RECOVERY: _page("c0 00 00 00 00 00 00 00 00 00", "00 00 00 00 00 80"),
    DISCONNECT: _page("00 00 00 00 00 00 00 00 00 00 00 00 00 00"),
    # WCE as the unit was made with.
    CACHING: _page("00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "04"),
    # TST 0: one task set; QUEUE ALGORITHM MODIFIER 1: simple tasks in any order; D_SENSE 0; TAS 0.
    CONTROL: _page("00 10 00 00 00 00 00 00 00 00", "00 00 08"),
    # DEXCPT: no informational exceptions are reported.
    EXCEPTIONS: _page("08 00 00 00 00 00 00 00 00 00"),
    # SITUA 0: every nexus is told. Soft thresholds: of what is available, decreasing; of what is used, increasing.
    PROVISIONING: _page(
        "00" * _THRESHOLDS + "00 01 00 00 00 00 00 00" + "01 02 00 00 00 00 00 00",
        "00" * _THRESHOLDS + "80 00 00 00 ff ff ff ff" * 2,
    ),
}


def caches(values: Values) -> bool:
    """WCE of the Caching mode page."""
    return bool(values[CACHING][0] & _WCE)


class ModePages(Part):
    """Current, saved and default values. WCE can be set where the backstore's cache is volatile."""

    kept: ClassVar[str] = "mode"

    def __init__(self, unit: LogicalUnit) -> None:
        super().__init__(unit)
        self._default = {code: page.default for code, page in PAGES.items()}
        self.changeable = {code: page.changeable for code, page in PAGES.items()}
        if unit.write_cache:
            self._default[CACHING] = bytes([_WCE]) + self._default[CACHING][1:]
        if not unit.capabilities.volatile_cache:
            self.changeable[CACHING] = bytes(len(self._default[CACHING]))
        if not unit.counts_space:
            self.changeable[RECOVERY] = bytes(len(self._default[RECOVERY]))
            del self._default[PROVISIONING], self.changeable[PROVISIONING]
        self._saved = dict(self._default)
        self.current = dict(self._default)

    def _set(self, values: Values) -> None:
        self.current = values
        self.unit.write_cache = caches(values)
        self.unit.software_write_protect = bool(values[CONTROL][2] & _SWP)
        self.unit.thresholds = _thresholds(values) if values[RECOVERY][5] & _LBPERE else ()

    def values(self, control: int) -> Values:
        """The pages of a PAGE CONTROL: 0 current, 1 changeable, 2 default, 3 saved."""
        return (self.current, self.changeable, self._default, self._saved)[control]

    def can_save(self, code: PageCode) -> bool:
        """Whether a page's values can be saved (PS): there is something to be changed, and a place."""
        return self.place is not None and any(self.changeable[code])

    def state(self) -> Any:
        """The current values, by page."""
        return _to_document(self.current)

    def take_state(self, state: Any) -> None:
        """Take what may have been changed of them; what this unit cannot do stays as it is."""
        self._set(self._merged(self.current, state))

    def take_kept(self, text: str) -> None:
        """Begin with the values that were saved."""
        document = json.loads(text)
        try:
            self._saved = self._merged(self._default, document["pages"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"these are no mode pages ({type(error).__name__}: {error})") from None
        self._set(dict(self._saved))

    def text_of(self, values: Values) -> str:
        """What is kept of these values of all pages."""
        return json.dumps({"pages": _to_document(values)})

    def _merged(self, values: Values, document: Any) -> Values:
        """``values`` with the changeable bits of a document's pages."""
        chosen = dict(values)
        for name, text in document.items():
            code = PageCode(*map(int, name.split(".")))
            value, may = bytes.fromhex(text), self.changeable.get(code, b"")
            if len(value) == len(may):
                old = chosen[code]
                chosen[code] = bytes(n & m | o & ~m & 0xFF for n, o, m in zip(value, old, may, strict=True))
        return chosen

    def reset(self) -> None:
        """Back to the saved values, but for SWP and a WCE of 1: what only the cache has must not pass for durable."""
        kept = {CONTROL: self.current[CONTROL]}
        if self.unit.write_cache:
            kept[CACHING] = self.current[CACHING]
        self._set({**self._saved, **kept})

    def take(self, values: Values, saved: bool) -> bool:
        """Make these values of all pages the current ones, and the ``saved`` ones too; True if a value changed."""
        changed = values != self.current
        self._set(values)
        if saved:
            self._saved = dict(values)
        return changed


def _to_document(values: Values) -> dict[str, str]:
    return {str(code): value.hex() for code, value in values.items()}


def _thresholds(values: Values) -> tuple[Threshold, ...]:
    """The enabled ones of the Logical Block Provisioning mode page (SBC-3 6.5.7)."""
    body = values.get(PROVISIONING, b"")
    return tuple(
        Threshold(Resource(body[at + 1]), u32(body, at + 4))
        for at in range(_THRESHOLDS, len(body), _THRESHOLD)
        if body[at] & _ENABLED
    )
