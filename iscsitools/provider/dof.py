"""The provider's DOF, made with libusdt's own section functions and completed with what they leave out.

libusdt gives a probe one list of argument types, writes one stability for all, and no argument map but the identity.
The iscsi provider needs three things more (DTrace's own format has a place for each):

- native and translated types that differ: ``uiscsiproto_t *`` becomes ``conninfo_t *`` and ``iscsiinfo_t *``;
- the argument map 0,0 or 0,0,1: args[0] and args[1] are both translated from the first native argument;
- the stability that the first iscsi provider declared. A clause such as ``iscsi*:::{ ... args[0]->ci_remote ... }``
  compiles only when arguments are Evolving or better and the names of probes are less.

So the PROBES and PRARGS sections are filled here, record by record, through ``usdt_dof_section_add_data``; offsets,
string table, provider section, header and layout are libusdt's.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass
from typing import Final

from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe
from iscsitools.provider.errors import ProviderError
from iscsitools.provider.libusdt import DofFile, Section, StringTable, Tracepoint

PROVIDER: Final = "iscsi"
MODULE: Final = "iscsitools"
FUNCTION: Final = "target"

_STRTAB, _PROBES, _PRARGS, _PROFFS, _PRENOFFS = range(5)  # sections by index, as usdt_dof_provider_sect refers to them
_SECT_PROBES, _SECT_PRARGS, _SECT_PROFFS, _SECT_PRENOFFS = 16, 17, 18, 26  # DOF_SECT_*
_PROBE: Final = struct.Struct("=QIIIIIIBBHIHHI")  # dof_probe_t
_HEADER_SIZE: Final = 64
_SECTION_HEADER_SIZE: Final = 32
_SECTIONS: Final = 6
_PRIVATE, _EVOLVING = 1, 5  # DTRACE_STABILITY_*
_UNKNOWN, _ISA = 0, 4  # DTRACE_CLASS_*
_REACH: Final = (1 << 31) - 64  # bytes; less what libusdt adds to a distance
_VERSION_AT: Final = 6  # DOF_ID_VERSION in dofh_ident
_ATTRIBUTES_AT: Final = 20  # dofpv_provattr in dof_provider_t


def _attribute(name: int, data: int, kind: int) -> int:
    return name << 24 | data << 16 | kind << 8


ATTRIBUTES: Final = (
    _attribute(_EVOLVING, _EVOLVING, _ISA),  # provider
    _attribute(_PRIVATE, _PRIVATE, _UNKNOWN),  # module
    _attribute(_PRIVATE, _PRIVATE, _UNKNOWN),  # function
    _attribute(_PRIVATE, _PRIVATE, _ISA),  # name
    _attribute(_EVOLVING, _EVOLVING, _ISA),  # arguments
)


@dataclass(frozen=True, slots=True)
class Arguments:
    """A probe's argument types, and which native argument each translated one is made of."""

    native: tuple[str, ...]
    translated: tuple[str, ...]
    mapping: tuple[int, ...]


def arguments_of(probe: Probe) -> Arguments:
    """The types that ``dtrace -lv`` shows (translated) and those that the target passes (native)."""
    native, translated, mapping = ["uiscsiproto_t *"], ["conninfo_t *", "iscsiinfo_t *"], [0, 0]
    if probe is Probe.SCSI_COMMAND:
        native.append("uiscsicmd_t *")
        translated.append("scsicmd_t *")
        mapping.append(1)
    elif probe in XFER_PROBES:
        native.append("uiscsixfer_t *")
        translated.append("xferinfo_t *")
        mapping.append(1)
    return Arguments(tuple(native), tuple(translated), tuple(mapping))


class Dof:
    """One provider's DOF, made in memory that libusdt allocated; ``free`` gives that back.

    ``points`` are the tracepoints' addresses, in the order of PROVIDER_PROBES, and ``address`` is where a copy of
    :meth:`image` will be when it is registered: macOS is told distances from there. ``version``: the DOF version to
    say, where libusdt's choice is not right. ProviderError when a distance cannot be told.
    """

    def __init__(
        self, library: ctypes.CDLL, points: ctypes.Array[Tracepoint], address: int, version: int | None = None
    ) -> None:
        self._library = library
        self._address = address
        _check_distances(points, address)
        self._provider = library.usdt_create_provider(PROVIDER.encode(), MODULE.encode())
        self._strings = StringTable()
        _check(library.usdt_strtab_init(byref(self._strings), _STRTAB))
        self._string(PROVIDER)  # libusdt's provider section refers to the first string
        probes, mapping = self._probe_sections(points)
        size = self._bound(probes, mapping)
        self.file: ctypes._Pointer[DofFile] = library.usdt_dof_file_init(self._provider, size)
        if not self.file:
            raise MemoryError
        sections = [probes, mapping, *self._offset_sections(points), self._provider_section()]
        for section in sections:
            library.usdt_dof_file_append_section(self.file, byref(section))
        library.usdt_dof_file_generate(self.file, byref(self._strings))
        if version is not None:
            ctypes.memset(self.file.contents.dof + _VERSION_AT, version, 1)
        library.usdt_dof_section_free(ctypes.cast(byref(self._strings), ctypes.POINTER(Section)))
        for section in sections:
            library.usdt_dof_section_free(byref(section))

    def image(self) -> bytes:
        """The DOF's bytes."""
        made = self.file.contents.dof
        size = struct.unpack_from("=Q", ctypes.string_at(made, _HEADER_SIZE), 48)[0]  # dofh_filesz
        return ctypes.string_at(made, size)

    def free(self) -> None:
        """Give the memory back. Not while it is registered."""
        self._library.usdt_dof_file_free(self.file)
        self._library.usdt_provider_free(self._provider)

    def _string(self, text: str) -> int:
        index = int(self._library.usdt_strtab_add(byref(self._strings), text.encode()))
        if not index:
            raise MemoryError
        return index

    def _section(self, kind: int, index: int, entry: int, parts: Sequence[bytes]) -> Section:
        section = Section()
        _check(self._library.usdt_dof_section_init(byref(section), kind, index))
        section.entsize = entry
        for part in parts:
            _check(self._library.usdt_dof_section_add_data(byref(section), part, len(part)))
        return section

    def _probe_sections(self, points: ctypes.Array[Tracepoint]) -> tuple[Section, Section]:
        """PROBES and PRARGS. The type strings of one list are found by its first: they stand one after the other."""
        records, mapping = [], b""
        for number, probe in enumerate(PROVIDER_PROBES):
            types = arguments_of(probe)
            native = [self._string(text) for text in types.native]
            translated = [self._string(text) for text in types.translated]
            records.append(
                _PROBE.pack(
                    points[number].isenabled_addr, self._string(FUNCTION), self._string(probe.label), native[0],
                    translated[0], len(mapping), number, len(native), len(translated), 1, number, 1, 0, 0,
                )
            )  # fmt: skip
            mapping += bytes(types.mapping)
        return (
            self._section(_SECT_PROBES, _PROBES, _PROBE.size, records),
            self._section(_SECT_PRARGS, _PRARGS, 1, [mapping]),
        )

    def _offset_sections(self, points: ctypes.Array[Tracepoint]) -> tuple[Section, Section]:
        """PROFFS and PRENOFFS: where the traps go, as this system counts, which libusdt knows."""
        probes, enabled = [], []
        for number, probe in enumerate(PROVIDER_PROBES):
            point = byref(points[number])
            count = len(arguments_of(probe).native)
            probes.append(struct.pack("=I", self._library.usdt_probe_offset(point, self._address, count)))
            enabled.append(struct.pack("=I", self._library.usdt_is_enabled_offset(point, self._address)))
        return (
            self._section(_SECT_PROFFS, _PROFFS, 4, probes),
            self._section(_SECT_PRENOFFS, _PRENOFFS, 4, enabled),
        )

    def _provider_section(self) -> Section:
        section = Section()
        _check(self._library.usdt_dof_provider_sect(byref(section), self._provider))
        attributes = struct.pack("=5I", *ATTRIBUTES)
        ctypes.memmove(section.data + _ATTRIBUTES_AT, attributes, len(attributes))
        return section

    def _bound(self, probes: Section, mapping: Section) -> int:
        """At least as many bytes as the DOF will take."""
        contents = self._strings.size + probes.size + mapping.size + 2 * 4 * len(PROVIDER_PROBES) + 64
        return int(_HEADER_SIZE + _SECTIONS * (_SECTION_HEADER_SIZE + 8) + contents)


def _check_distances(points: ctypes.Array[Tracepoint], address: int) -> None:
    """A distance takes 32 bits in the DOF, and macOS reads it with a sign (xnu, dtrace_helper_provide_one)."""
    for point in points:
        if any(abs(place - address) >= _REACH for place in (point.isenabled_addr, point.probe_addr)):
            raise ProviderError("the DOF and the tracepoints are more than 2 GiB apart")


def _check(result: int) -> None:
    if result < 0:
        raise ProviderError("libusdt is out of memory")
