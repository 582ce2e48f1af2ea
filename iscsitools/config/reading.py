"""One reading of a configuration: where it comes from, and all that is wrong with it, each by file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iscsitools.backstores.registry import Registry
from iscsitools.config.positions import Path, dotted, line_of
from iscsitools.config.scalars import Scalar, type_name
from iscsitools.errors import UsageError


class ConfigError(UsageError):
    """A configuration cannot be used; ``lines`` names every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems[0], problems[1:])


@dataclass(slots=True)
class Reading:
    """One reading of one document: where it came from, and what was found.

    What a command line said has no ``lines``, but ``names``: which option stands at a path.
    """

    registry: Registry
    authenticators: frozenset[str] = frozenset()
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)

    def problem(self, path: Path, text: str) -> None:
        """Note that the value at ``path`` cannot be used."""
        self.problems.append(self._place(path, text))

    def warn(self, path: Path, text: str) -> None:
        """Note that the value at ``path`` is unwise."""
        self.warnings.append(self._place(path, text))

    def _place(self, path: Path, text: str) -> tuple[int, str]:
        option = next((self.names[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.names), "")
        if option or not self.file:
            place = option or dotted(path)
            return 0, f"{place}: {text}" if place else text
        line = line_of(self.lines, path)
        key = f"{dotted(path)}: " if path else ""
        return line, f"{self.file}:{line}: {key}{text}"

    def raise_problems(self) -> None:
        """Raise ConfigError if there were problems, in the order of their lines."""
        if self.problems:
            raise ConfigError([text for _, text in sorted(self.problems, key=lambda p: p[0])])

    def scalar(self, kind: Scalar, value: object, path: Path) -> Any:
        """Read a single value; None and a problem when it is none of its kind."""
        if isinstance(value, bool) and bool in kind.natives:
            text = "yes" if value else "no"
        elif isinstance(value, str) or type(value) in kind.natives:
            text = str(value)
        else:
            self.problem(path, f"{kind.expects} was expected, not {type_name(value)}")
            return None
        try:
            return kind.parse(text)
        except ValueError as error:
            self.problem(path, str(error))
            return None
