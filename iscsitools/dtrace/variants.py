"""The D library's variants, one per system where systems differ, made from one source.

Systems differ in which of the library's types their own D libraries have already (a second typedef is an error), and
in what their D can do with the target's memory. The source is ``dscripts/lib/iscsitools.d.in``; its lines are
copied, but for these:

- ``%if NAME``, ``%if !NAME``, ``%else``, ``%end`` choose lines by what :attr:`Variant.has` says; they nest;
- ``$(title)`` is what the variant is for;
- ``$(string NAME)`` is the string that the member NAME of a native structure points to.

The variants are kept beside the source, so that plain ``dtrace -L`` finds them.
``python -m iscsitools.dtrace.variants`` writes them anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DSCRIPTS: Final = Path(__file__).resolve().parent.parent / "dscripts"
"""The scripts, installed with the package."""
SOURCE: Final = "iscsitools.d.in"
LIBRARY: Final = "iscsitools.d"
"""The library's file name. Unlike that of any system's library: dtrace reads one file of a name only."""
ADDRESS: Final = "*(uint64_t *)copyin((uintptr_t)&P->{}, 8)"
STRING: Final = f"copyinstr({ADDRESS}, 256)"
"""256: the most bytes to copy; a name has up to 223."""
LOADED_STRING: Final = f"stringof((char *){ADDRESS})"
"""Where D loads from user memory. DTrace for Linux 2.0.7 cannot copyinstr() an empty string, nor use a copied one as
the key of an associative array."""
OWN_TYPES: Final = ("uiscsiproto_t", "uiscsicmd_t", "uiscsixfer_t", "iscsicmd_t")
"""Types that no supported system has."""
SCSI_TYPES: Final = ("scsicmd_t", "iscsiinfo_t", "xferinfo_t")


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the library. ``has``: the properties of its system that the source's ``%if`` asks for."""

    name: str
    title: str
    has: frozenset[str]

    @property
    def types(self) -> tuple[str, ...]:
        """The types that this variant defines."""
        connection = () if "conninfo" in self.has else ("conninfo_t",)
        scsi = () if "scsi" in self.has else SCSI_TYPES
        return (*connection, *scsi, *OWN_TYPES)

    @property
    def folder(self) -> Path:
        """The directory for ``dtrace -L``; it has this one file."""
        return DSCRIPTS / "lib" / self.name

    @property
    def file(self) -> Path:
        """The library."""
        return self.folder / LIBRARY


LINUX: Final = Variant("linux", "Linux", frozenset({"conninfo", "user_loads"}))
FREEBSD: Final = Variant("freebsd", "FreeBSD", frozenset())
MACOS: Final = Variant("macos", "macOS", frozenset())
ILLUMOS: Final = Variant("illumos", "illumos while the module stmf is not loaded", frozenset({"conninfo", "orders"}))
ILLUMOS_STMF: Final = Variant(
    "illumos-stmf", "illumos while the module stmf is loaded", frozenset({"conninfo", "scsi", "orders"})
)
VARIANTS: Final = (LINUX, FREEBSD, MACOS, ILLUMOS, ILLUMOS_STMF)


def render(source: str, variant: Variant) -> str:
    """Make a variant's text. ValueError for a directive that is not known or not closed."""
    lines = []
    chosen = [True]
    string = LOADED_STRING if "user_loads" in variant.has else STRING
    for line in source.splitlines():
        word, _, name = line.partition(" ")
        if word == "%if":
            wanted = (name.removeprefix("!") in variant.has) is not name.startswith("!")
            chosen.append(wanted)
        elif line == "%else" and len(chosen) > 1:
            chosen[-1] = not chosen[-1]
        elif line == "%end" and len(chosen) > 1:
            chosen.pop()
        elif word.startswith("%"):
            raise ValueError(f"{line!r} in the source of the D library")
        elif all(chosen):
            line = line.replace("$(title)", variant.title)
            lines.append(re.sub(r"\$\(string (\w+)\)", lambda match: string.format(match[1]), line))
    if len(chosen) > 1:
        raise ValueError("an %if in the source of the D library has no %end")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all variants."""
    source = (DSCRIPTS / "lib" / SOURCE).read_text()
    for variant in VARIANTS:
        variant.folder.mkdir(exist_ok=True)
        variant.file.write_text(render(source, variant))


if __name__ == "__main__":
    main()
