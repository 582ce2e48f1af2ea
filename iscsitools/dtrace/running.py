"""What ``iscsitools dtrace run`` gives to dtrace: the programs as they have to be here, and the words of its call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iscsitools.dtrace import variants
from iscsitools.dtrace.arguments import STANDARD_INPUT, CommandLine
from iscsitools.dtrace.library import library_arguments, script_file
from iscsitools.dtrace.program import adapt, defines_types, interpreter_options, wants_target
from iscsitools.dtrace.system import System
from iscsitools.errors import RunError, UsageError

_INPUT: Final = "/dev/stdin"


@dataclass(frozen=True, slots=True)
class Program:
    """A D program. ``path``: its file, "" for the clauses of ``-n``; ``text``: as it is; ``made``: as it has to be."""

    path: str
    text: str
    made: str

    @property
    def by_input(self) -> bool:
        """Whether dtrace reads it from its standard input: it is no file, or not the one that is there."""
        return bool(self.path) and (self.path in STANDARD_INPUT or self.made != self.text)

    def words(self) -> list[str]:
        """The option of dtrace for it."""
        if not self.path:
            return ["-n", self.made]
        return ["-s", _INPUT if self.by_input else self.path]


def programs(asked: CommandLine, system: System, pid: int | None) -> list[Program]:
    """Read and adapt what was asked for. UserError when that cannot be."""
    found = []
    for kind, what in asked.programs:
        path = "" if kind == "n" else what
        if kind == "name" and what not in STANDARD_INPUT:
            path = str(script_file(what))
        text = _read(path) if path else what
        if pid is None and not asked.values("c") and wants_target(text):
            raise UsageError(f"{path or '-n'} asks for iscsi$target: say which with --name SERVER or --pid PID")
        made = adapt(text, path or "-n", pid, write_out=system.variant is variants.LINUX)
        found.append(Program(path, text, made))
    return found


def _read(path: str) -> str:
    try:
        if path in STANDARD_INPUT:
            return sys.stdin.buffer.read().decode(errors="surrogateescape")
        return Path(path).read_text(errors="surrogateescape")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None


def command_line(dtrace: str, system: System, asked: CommandLine, found: Sequence[Program]) -> list[str]:
    """The words that run them: the D library, dtrace's own options, those of the scripts' first lines, the programs."""
    words = [dtrace]
    if not any(defines_types(program.text) for program in found):
        words += library_arguments(system, [Path(folder) for folder in asked.values("L")])
    for option in asked.options:
        words += option
    for program in found:
        words += interpreter_options(program.text) if program.path else []
        words += program.words()
    return words + asked.arguments
