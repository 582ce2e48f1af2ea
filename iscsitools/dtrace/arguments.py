"""Tells the programs in a command line of dtrace from its options and from the programs' own arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from iscsitools.errors import UsageError

WITH_VALUE: Final = frozenset("bcDfiILmnopPsUxX36")
"""The options of dtrace that take a value, of all systems' dtrace."""
_LISTING: Final = frozenset("lVPmfi")
STANDARD_INPUT: Final = frozenset({"-", "/dev/stdin"})


@dataclass(slots=True)
class CommandLine:
    """What was asked for: dtrace's options, each in one word or two; the programs in their order; their arguments."""

    options: list[list[str]] = field(default_factory=list)
    programs: list[tuple[str, str]] = field(default_factory=list)
    """``("n", clauses)``, ``("s", path)`` and ``("name", one of our scripts or a path)``."""
    arguments: list[str] = field(default_factory=list)

    def values(self, letter: str) -> list[str]:
        """What was given to an option, each time."""
        return [words[1] for words in self.options if words[0] == f"-{letter}"]


def parse(words: Sequence[str], rest: Sequence[str] = ()) -> CommandLine:
    """Read the words after ``dtrace run``; ``rest``: those after ``--``, which are no options.

    The first word that is no option is the script, unless ``-n`` or ``-s`` came before it; others are arguments. Raises
    UsageError for an option without its value, and when there is nothing to do.
    """
    found = CommandLine()
    left = list(words)
    while left:
        word = left.pop(0)
        if word.startswith("-") and word != "-":
            _take_options(found, word[1:], left)
        elif found.programs:
            found.arguments.append(word)
        else:
            found.programs.append(("name", word))
    found.arguments += rest
    if not found.programs and not any(option[0][1:] in _LISTING for option in found.options):
        raise UsageError(
            "which script? (a name of `iscsitools dtrace list`, a file, - for standard input, or -n CLAUSES)"
        )
    if len([1 for kind, _ in found.programs if kind != "n"]) > 1:
        raise UsageError("one script at a time")
    return found


def _take_options(found: CommandLine, letters: str, left: list[str]) -> None:
    """Read a word such as ``q``, ``qn`` (its value is the next word) or ``otrace.txt``, as getopt(3) does."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in WITH_VALUE:
            found.options.append([f"-{letter}"])
            continue
        if not letters and not left:
            raise UsageError(f"dtrace's option -{letter} needs a value")
        value = letters or left.pop(0)
        if letter in "ns":
            found.programs.append((letter, value))
        else:
            found.options.append([f"-{letter}", value])
        return
