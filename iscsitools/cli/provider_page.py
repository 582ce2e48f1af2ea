"""The generated parts of the provider's reference, ``docs/man/iscsi.4.md``: what the code says of the probes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from iscsitools.dtrace.variants import DSCRIPTS, SOURCE
from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.probes.words import FLAG_NAMES, FLAGS, NATIVE, TYPES, WHEN, Member, in_probe
from iscsitools.provider.dof import ATTRIBUTES, arguments_of

_BLOCK: Final = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
_TAGS: Final = ("ii_lun", "ii_itt", "ii_ttt")
_NUMBERS: Final = ("ii_cmdsn", "ii_statsn", "ii_datasn")
_REST: Final = ("ii_datalen", "ii_flags")
_ELEMENTS: Final = ("Provider", "Module", "Function", "Name", "Arguments")
_STABILITIES: Final = {1: "Private", 5: "Evolving"}
_CLASSES: Final = {0: "Unknown", 4: "ISA"}


def provider_page(page: str) -> str:
    """The page with its generated parts made anew; the text around them stays. KeyError for a part that is none."""
    parts = {
        "synopsis": _synopsis(),
        "probes": _list((f"`{probe.label}`", WHEN[probe]) for probe in PROVIDER_PROBES),
        **{name: _members(members) for name, members in TYPES.items()},
        "tags-by-probe": _by_probe(_TAGS),
        "numbers-by-probe": _by_probe(_NUMBERS),
        "rest-by-probe": _by_probe(_REST),
        "flags-by-probe": _table(("probe", "bits"), [(probe.label, FLAGS[probe]) for probe in PROVIDER_PROBES]),
        "flag-names": _table(
            ("inline", "value", "is"), [(name, f"0x{value:02x}", text) for name, (value, text) in FLAG_NAMES.items()]
        ),
        "stability": _table(("Element", "Name stability", "Data stability", "Dependency class"), _stability()),
        "native": _table(("type", "offset", "member", "is"), _native()),
    }
    return _BLOCK.sub(lambda match: f"{match[1]}{parts[match[2]]}{match[3]}", page)


def _synopsis() -> str:
    lines = [f"iscsi*:::{probe.label}({', '.join(arguments_of(probe).translated)})" for probe in PROVIDER_PROBES]
    return "```\n" + "\n".join(lines) + "\n```\n"


def _stability() -> Iterator[Sequence[str]]:
    for element, attribute in zip(_ELEMENTS, ATTRIBUTES, strict=True):
        yield (
            element,
            _STABILITIES[attribute >> 24],
            _STABILITIES[attribute >> 16 & 0xFF],
            _CLASSES[attribute >> 8 & 0xFF],
        )


def _native() -> Iterator[Sequence[str]]:
    """The members of what the target passes, of the D library's own types; each stands at a multiple of its size."""
    source = (DSCRIPTS / "lib" / SOURCE).read_text()
    for body, name in re.findall(r"^typedef struct uiscsi\w+ \{\n(.*?)^\} (\w+);", source, re.M | re.S):
        offset = 0
        for bits, member in re.findall(r"uint(\d+)_t (\w+);", body):
            yield name, str(offset), member, NATIVE.get(member, member)
            offset += int(bits) // 8


def _list(items: Iterable[tuple[str, str]]) -> str:
    return "\n" + "".join(f"- {term}: {text}\n" for term, text in items) + "\n"


def _members(members: Sequence[Member]) -> str:
    return _list(
        (f"`{member.type.rstrip(' *')} {'*' * member.type.count('*')}{member.name}`", member.text) for member in members
    )


def _by_probe(names: Sequence[str]) -> str:
    return _table(("probe", *names), [(p.label, *(in_probe(p)[name] for name in names)) for p in PROVIDER_PROBES])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"
