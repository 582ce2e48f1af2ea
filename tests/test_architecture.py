"""Dependencies point where docs/architecture.md says, read from every import in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "iscsitools"
PAGE = PACKAGE.parent / "docs" / "architecture.md"
WORLD = {
    "asyncio", "concurrent", "datetime", "fcntl", "io", "mmap", "multiprocessing", "os", "pathlib", "select",
    "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
}  # fmt: skip
"""Modules of the standard library that reach sockets, files, threads or a clock."""


def rooms() -> list[str]:
    """The folders of the package that hold code, and the modules beside them."""
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/**/*.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    return sorted(folders | modules)


def allowed() -> dict[str, set[str]]:
    """What each room may use, by the table in the page."""
    section = PAGE.read_text().partition("## Who uses whom\n")[2]
    rows = re.findall(r"^\| `([\w/]+)` \| ([^|]*) \|$", section, re.MULTILINE)
    return {room.rstrip("/"): set(re.findall(r"`(\w+)`", uses)) for room, uses in rows}


def allowed_inside_scsi() -> dict[str, set[str]]:
    """What each inner room of scsi/ may use of the others, by the table in the page."""
    section = PAGE.read_text().partition("## Who uses whom inside `scsi/`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)/?` \| ([^|]*) \|$", section, re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", uses)) for room, uses in rows}


def files(room: str) -> Iterator[Path]:
    """The room's source."""
    folder = PACKAGE / room
    return folder.rglob("*.py") if folder.is_dir() else iter([PACKAGE / f"{room}.py"])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """The full names of what a file imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def used(room: str) -> dict[str, set[str]]:
    """The other rooms that one uses, and in which files."""
    found: dict[str, set[str]] = {}
    for path in files(room):
        for name in imports(path):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package == "iscsitools" and other not in (room, "__version__"):
                found.setdefault(other, set()).add(str(path.relative_to(PACKAGE)))
    return found


def test_the_page_has_every_room() -> None:
    assert sorted(allowed()) == rooms()


@pytest.mark.parametrize("room", rooms())
def test_a_room_uses_exactly_what_the_page_says(room: str) -> None:
    uses = used(room)
    may = allowed()[room]
    assert {other: where for other, where in uses.items() if other not in may} == {}
    assert may - set(uses) == set(), "the page allows what is not used"


def test_inside_scsi_the_core_knows_no_command() -> None:
    found: dict[str, set[str]] = {}
    for path in (PACKAGE / "scsi").rglob("*.py"):
        names = path.relative_to(PACKAGE / "scsi").parts
        room = names[0].removesuffix(".py")
        used = {name.split(".")[2] for name in imports(path) if name.startswith("iscsitools.scsi.")}
        found.setdefault(room, set()).update(used - {room})
        assert "TYPE_CHECKING" not in path.read_text(), f"{path}: types go in a circle"
    found.pop("__init__")
    assert found == allowed_inside_scsi()


@pytest.mark.parametrize("room", ["wire", "iscsi", "scsi", "probes"])
def test_the_engine_reaches_nothing_of_the_world(room: str) -> None:
    for path in files(room):
        assert {name.partition(".")[0] for name in imports(path)} & WORLD == set(), path
        calls = {n.func.id for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert calls & {"print", "open", "input"} == set(), path


def run_time_imports(path: Path) -> set[str]:
    """The modules of the package that loading a file loads: what stands in no function and under no TYPE_CHECKING."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if module_path(inner) else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return {name for name in found if module_path(name)}


def module_path(name: str) -> Path | None:
    """The file of a module of the package."""
    path = PACKAGE.parent / name.replace(".", "/")
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file() and name.partition(".")[0] == "iscsitools":
            return file
    return None


def test_every_path_that_the_page_names_is_there() -> None:
    """``room/file.py``, ``file.c`` or ``room/``: from the top, or in a room that the sentence is about."""
    words = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", PAGE.read_text()))
    paths = {word for word in words if "/" in word or word.endswith((".py", ".c", ".h", ".md", ".toml"))}
    roots = [PACKAGE.parent, PACKAGE, *(room for room in PACKAGE.rglob("*") if room.is_dir())]
    assert sorted(path for path in paths if not any((root / path).exists() for root in roots)) == []


@pytest.mark.parametrize("room", sorted({path.parent for path in PACKAGE.glob("*/**/*.py")}))
def test_every_room_has_its_place_in_the_page(room: Path) -> None:
    name = str(room.relative_to(PACKAGE))
    assert re.search(rf"^\|[^|]*`{name}/`[^|]*\|", PAGE.read_text(), re.MULTILINE)


def test_no_import_goes_in_a_circle() -> None:
    graph = {path: {module_path(name) for name in run_time_imports(path)} - {path} for path in PACKAGE.rglob("*.py")}
    while True:
        leaves = [path for path, uses in graph.items() if not uses & set(graph)]
        if not leaves:
            break
        for path in leaves:
            del graph[path]
    assert sorted(str(path.relative_to(PACKAGE)) for path in graph) == []


SEEN_FROM_THE_INITIATOR = {"LoginError", "Pdu", "ProtocolError", "Session", "Task"}
"""The standards' words: ``initiator/`` is their other side, and shares no object with the rest."""


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    twice = {name: sorted(paths) for name, paths in found.items() if len(paths) > 1}
    words = {name for name, paths in twice.items() if [p.startswith("initiator/") for p in paths].count(False) == 1}
    assert {name: paths for name, paths in twice.items() if name not in words & SEEN_FROM_THE_INITIATOR} == {}
    assert set(twice) == SEEN_FROM_THE_INITIATOR
