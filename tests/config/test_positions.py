"""The scanner finds the same keys as tomllib, on the right lines."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.config.positions import Path, dotted, line_of, positions

DOCUMENT = '''\
# a comment with = and [brackets]
name = "x"   # "quoted"
portals = [
  "a", # one ] here
  'b]',
]

[limits]
max.x = 1979-05-27 07:32:00
"quoted key"."se\\u0041cond" = """
text "with" quotes ""
[not.a.header]
"""
literal = \'\'\'it''s\'\'\'

[[target]]
iqn = "one"
  [[target.lun]]
  number = 0
  [[target.lun]]
  number = 1
  store = { kind = "file", options.size = "1G", list = [1, {a = 2}] }

[[ target ]]
[target.auth]
method = "chap"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("portals",), 3),
        (("portals", 0), 4),
        (("portals", 1), 5),
        (("limits",), 8),
        (("limits", "max", "x"), 9),
        (("limits", "quoted key", "seAcond"), 10),
        (("limits", "literal"), 14),
        (("target", 0), 16),
        (("target", 0, "lun", 0, "number"), 19),
        (("target", 0, "lun", 1), 20),
        (("target", 0, "lun", 1, "store", "options", "size"), 22),
        (("target", 0, "lun", 1, "store", "list", 1, "a"), 22),
        (("target", 1), 24),
        (("target", 1, "auth", "method"), 26),
    ],
)
def test_line_of_each_form(path: Path, line: int) -> None:
    tomllib.loads(DOCUMENT)
    assert positions(DOCUMENT)[path] == line


def test_absent_key_is_placed_at_its_table() -> None:
    lines = positions(DOCUMENT)
    assert line_of(lines, ("target", 1, "iqn")) == 24
    assert line_of(lines, ("nowhere",)) == 1


def test_dotted() -> None:
    assert dotted(("target", 0, "lun", 1, "store", "size")) == "target[0].lun[1].store.size"


def paths_of(value: Any, path: Path = ()) -> set[Path]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths_of(inner, (*path, index))
    return found


def quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() and c < "\x7f" else f"\\U{ord(c):08x}" for c in text) + '"'


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(k)} = {inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[\n" + ",\n # ] } comment\n".join(inline(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value.startswith(("'", '"')) else quoted(value)
    return str(value)


LITERALS = ["'[{#'", '"""a""b"c""\n}\\" """', "'''x''\n#''''", '"\\"="', "''"]
LEAVES = (
    st.integers()
    | st.booleans()
    | st.sampled_from(LITERALS)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\"'"))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


@given(top=TABLES, tables=st.dictionaries(KEYS, st.lists(TABLES, min_size=1, max_size=3), max_size=3))
def test_every_key_that_tomllib_finds_is_found(top: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> None:
    text = "".join(f"{quoted(k)} = {inline(v)}\n" for k, v in top.items() if k not in tables)
    for name, elements in tables.items():
        for element in elements:
            text += f"[[{quoted(name)}]] # comment\n"
            text += "".join(f"{quoted(k)} = {inline(v)}\r\n" for k, v in element.items())
    assert set(positions(text)) == paths_of(tomllib.loads(text))
