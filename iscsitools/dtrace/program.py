"""Makes D programs that were written for other targets run with this one's probes.

A USDT provider's name ends in its process id, so ``iscsi:::`` of a kernel's provider becomes ``iscsi*:::``, or that of
one process. DTrace for Linux takes ``args[]`` in no clause whose description leaves the probe's name open: there the
names are written out.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final

from iscsitools.dtrace.clauses import Clause, Description, clauses, code_of
from iscsitools.dtrace.variants import OWN_TYPES
from iscsitools.errors import RunError
from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe

_XFER_LABELS: Final = frozenset(probe.label for probe in XFER_PROBES)
_XFER_MEMBERS: Final = {
    1: "xfer_laddr", 2: "xfer_loffset", 3: "xfer_raddr", 4: "xfer_roffset", 5: "xfer_rkey", 6: "xfer_len",
    7: "xfer_type", 8: "xfer_type",
}  # fmt: skip
"""By number: what a kernel's xfer-start and xfer-done pass. The type is arg7 in illumos' source and arg8 in the scripts
that people have, which count xfer_lkey as version 0.8 of the provider does."""
_TYPE: Final = "0 for a read, 1 for a write"


def adapt(text: str, name: str, pid: int | None = None, *, write_out: bool = False) -> str:
    """The program as it has to be here; every line keeps its number.

    ``name``: of the program, for errors. ``pid``: watch only the target of this process, which ``$target`` becomes.
    ``write_out``: the names of probes where a description leaves them open, as DTrace for Linux wants it.

    Raises RunError for a program that reads the arguments of a kernel's provider, which has others.
    """
    code = code_of(text)
    found = list(clauses(code))
    _refuse_raw_arguments(code, found, name)
    changes = [(d.start, d.end, _described(d, pid, write_out)) for clause in found for d in clause.descriptions]
    if pid is not None:
        inside = [(start, end) for start, end, _ in changes]
        for match in re.finditer(r"\$target\b", code):
            if not any(start <= match.start() < end for start, end in inside):
                changes.append((*match.span(), str(pid)))
    parts = []
    place = 0
    for start, end, new in sorted(changes):
        parts += [text[place:start], new]
        place = end
    return "".join([*parts, text[place:]])


def wants_target(text: str) -> bool:
    """Whether a program has clauses of ``iscsi$target``, which somebody has to say."""
    return any(d.provider == "iscsi$target" for clause in clauses(code_of(text)) for d in clause.descriptions)


def defines_types(text: str) -> bool:
    """Whether a program has the types of the library itself, which dtrace would not take twice."""
    return re.search(rf"}}\s*{OWN_TYPES[0]}\s*;", code_of(text)) is not None


def interpreter_options(text: str) -> list[str]:
    """The options of dtrace in a script's first line, as ``-q`` and ``-Z`` of ``#!/usr/sbin/dtrace -Zqs``."""
    first = re.match(r"#!\s*\S*dtrace\s([^\n]*)", text)
    letters = "".join(re.findall(r"-(\w+)", first[1])) if first else ""
    return [f"-{letter}" for letter in letters if letter in "CFqSvwZ"]


def _described(description: Description, pid: int | None, write_out: bool) -> str:
    provider = description.provider
    if pid is not None and not provider[5:].isdigit():
        provider = f"iscsi{pid}"
    elif provider == "iscsi":
        provider = "iscsi*"
    names = _labels(description.name) if write_out else []
    place = f"{provider}:{description.module}:{description.function}"
    return ", ".join(f"{place}:{name}" for name in names or [description.name])


def _labels(pattern: str) -> list[str]:
    """The probes that a name which is left open stands for."""
    return [probe.label for probe in PROVIDER_PROBES if fnmatchcase(probe.label, pattern or "*")]


def _refuse_raw_arguments(code: str, found: list[Clause], name: str) -> None:
    """A program that knows this provider's own arguments reads them as their types, or by copyin()."""
    if re.search(r"\buiscsi\w+_t\b|\bcopyin(?:str)?\b", code):
        return
    errors: dict[str, str] = {}
    for clause in found:
        labels = frozenset(label for d in clause.descriptions for label in _labels(d.name))
        for match in re.finditer(r"\barg(\d)\b", code[clause.start : clause.end]):
            line = code.count("\n", 0, clause.start + match.start()) + 1
            where = f"{name}, line {line}: {match[0]} is an argument of the kernel's provider; this one's is"
            errors.setdefault(match[0], f"{where} {_member(int(match[1]), labels)}")
    if errors:
        first, *more = errors.values()
        raise RunError(first, more)


def _member(number: int, labels: frozenset[str]) -> str:
    """Where a translated argument has what the kernel's ``arg0`` to ``arg9`` are."""
    if number == 0:
        return "the connection, args[0], as args[0]->ci_remote"
    if labels <= _XFER_LABELS and number in _XFER_MEMBERS:
        member = _XFER_MEMBERS[number]
        return f"args[2]->{member}" + (f" ({_TYPE})" if member == "xfer_type" else "")
    if number > 1 and labels == {Probe.SCSI_COMMAND.label}:
        return "args[2]->ic_cdb, the CDB"
    return "a member of args[1], as args[1]->ii_itt"
