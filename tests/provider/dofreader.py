"""A reader of DOF, written from the format: header, section headers, and the sections of a provider.

Numbers are little-endian, addresses 8 bytes. It refuses what a DTrace would refuse: sections out of bounds, misaligned
or overlapping, indices that point nowhere, strings without an end.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

STRTAB, PROVIDER, PROBES, PRARGS, PROFFS, PRENOFFS = 8, 15, 16, 17, 18, 26
STABILITY = ("Internal", "Private", "Obsolete", "External", "Unstable", "Evolving", "Stable", "Standard")
CLASSES = ("Unknown", "CPU", "Platform", "Group", "ISA", "Common")


class DofError(ValueError):
    """The bytes are not well-formed DOF."""


@dataclass(frozen=True)
class Section:
    type: int
    align: int
    flags: int
    entry: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class ReadProbe:
    function: str
    name: str
    address: int
    native: tuple[str, ...]
    translated: tuple[str, ...]
    mapping: tuple[int, ...]
    offsets: tuple[int, ...]
    enabled_offsets: tuple[int, ...]


@dataclass(frozen=True)
class ReadProvider:
    name: str
    attributes: tuple[str, ...]
    """Of provider, module, function, name and arguments, as ``dtrace -lv`` writes them: ``Evolving/Evolving/ISA``."""
    probes: tuple[ReadProbe, ...]


@dataclass(frozen=True)
class Dof:
    version: int
    dif_version: int
    registers: tuple[int, int]
    sections: tuple[Section, ...]
    providers: tuple[ReadProvider, ...]


def _require(condition: object, message: str) -> None:
    if not condition:
        raise DofError(message)


def _sections(image: bytes) -> list[Section]:
    header_size, section_size, count, start, load, size = struct.unpack_from("<IIIQQQ", image, 20)
    _require(header_size == 64 and section_size == 32, "sizes of headers")
    _require(size == len(image) and load <= size, "size of the file")
    _require(start + count * section_size <= size, "section headers out of bounds")
    sections, spans = [], [(0, header_size), (start, start + count * section_size)]
    for at in range(start, start + count * section_size, section_size):
        kind, align, flags, entry, offset, length = struct.unpack_from("<IIIIQQ", image, at)
        _require(align and not align & (align - 1) and offset % align == 0, f"section {kind} is misaligned")
        _require(offset + length <= size, f"section {kind} is out of bounds")
        _require(flags == 1, f"section {kind} is not loaded")
        _require(not entry or length % entry == 0, f"section {kind} has a part of an entry")
        spans.append((offset, offset + length))
        sections.append(Section(kind, align, flags, entry, offset, image[offset : offset + length]))
    spans.sort()
    _require(all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), "sections overlap")
    return sections


class _Reader:
    def __init__(self, sections: list[Section]) -> None:
        self.sections = sections

    def get(self, index: int, kind: int) -> Section:
        _require(index < len(self.sections) and self.sections[index].type == kind, f"no section {kind} at {index}")
        return self.sections[index]

    def provider(self, section: Section) -> ReadProvider:
        _require(len(section.data) >= 44 and section.align == 4, "provider section")
        words = struct.unpack_from("<11I", section.data)
        strings = self.get(words[0], STRTAB).data
        probes = self.get(words[1], PROBES)
        _require(probes.entry == 48 and probes.align == 8 and probes.data, "probes section")
        tables = [self.get(words[i], k) for i, k in ((2, PRARGS), (3, PROFFS), (10, PRENOFFS))]
        for table, entry in zip(tables, (1, 4, 4), strict=True):
            _require(table.entry == entry, f"entry size of section {table.type}")
        found = [self.probe(probes.data[at : at + 48], strings, tables) for at in range(0, len(probes.data), 48)]
        return ReadProvider(_string(strings, words[4]), tuple(map(_attribute, words[5:10])), tuple(found))

    def probe(self, record: bytes, strings: bytes, tables: list[Section]) -> ReadProbe:
        address, function, name, native, translated, argument, offset = struct.unpack_from("<QIIIIII", record)
        natives, translateds, offsets, enabled, enableds, *pad = struct.unpack_from("<BBHIHHI", record, 32)
        _require(not any(pad), "padding of a probe is not zero")
        mapping = tuple(_entries(tables[0].data, 1, argument, translateds))
        _require(all(number < natives for number in mapping), "an argument is mapped to none")
        return ReadProbe(
            function=_string(strings, function),
            name=_string(strings, name),
            address=address,
            native=_strings(strings, native, natives),
            translated=_strings(strings, translated, translateds),
            mapping=mapping,
            offsets=tuple(_entries(tables[1].data, 4, offset, offsets)),
            enabled_offsets=tuple(_entries(tables[2].data, 4, enabled, enableds)),
        )


def _entries(data: bytes, size: int, first: int, count: int) -> list[int]:
    _require((first + count) * size <= len(data), "an index points behind its section")
    return [int.from_bytes(data[at : at + size], "little") for at in range(first * size, (first + count) * size, size)]


def _string(strings: bytes, at: int) -> str:
    _require(at < len(strings), "a string is out of bounds")
    end = strings.find(b"\0", at)
    _require(end >= 0, "a string has no end")
    return strings[at:end].decode("ascii")


def _strings(strings: bytes, at: int, count: int) -> tuple[str, ...]:
    found = []
    for _ in range(count):
        found.append(_string(strings, at))
        at += len(found[-1]) + 1
    return tuple(found)


def _attribute(word: int) -> str:
    name, data, kind, rest = word.to_bytes(4, "big")
    _require(not rest, "the lowest byte of an attribute is not zero")
    return f"{STABILITY[name]}/{STABILITY[data]}/{CLASSES[kind]}"


def read(image: bytes) -> Dof:
    """Read a DOF; DofError when it is not well-formed."""
    _require(len(image) >= 64 and image[:4] == b"\x7fDOF", "not DOF")
    model, encoding, version, dif, integers, tuples = image[4:10]
    _require((model, encoding) == (2, 1), "not for 64-bit little-endian processes")
    _require(not any(image[10:20]), "padding or flags of the header are not zero")
    sections = _sections(image)
    reader = _Reader(sections)
    providers = tuple(reader.provider(section) for section in sections if section.type == PROVIDER)
    return Dof(version, dif, (integers, tuples), tuple(sections), providers)
