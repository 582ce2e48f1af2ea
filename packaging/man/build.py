"""Makes man pages out of the documentation: ``python packaging/man/build.py [OUTPUT]`` (default ``build/man``).

Every ``docs/man/*.md`` is a page, and so are the pages of :data:`PAGES`, which are read as documents too. They are
written in a small part of Markdown: a title ``# name(section)``, ``##`` and ``###`` headings, paragraphs, lists,
tables, fenced blocks, ``code``, ``**bold**``, ``*emphasis*``, ``[links](target)`` and comments. Anything else is an
error with its line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TITLE = re.compile(r"# (?P<name>[a-z.-]+)\((?P<section>\d)\)")
INLINE = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*|\*(?P<emphasis>[^*]+)\*")
LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
TERM = re.compile(r"- (?P<term>(?:(?:`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)(?:[ ,.\[\]|]|or )*)+): (?P<text>.*)")
COMMENT = re.compile(r"<!--.*-->")
RULE = re.compile(r"\|(?: *:?-+:? *\|)+")
CELLS = re.compile(r"(?<!\\)\|")
FONTS = {"code": "B", "bold": "B", "emphasis": "I"}
_NARROW = 56
"""Columns of text that the first columns of a table may take of the 80."""
END = "<!-- the manual page ends here -->"
"""What follows it in a document is not for the manual page."""


class Page(NamedTuple):
    """A document that is a manual page too: its title and its one line."""

    title: str
    about: str


PAGES = {
    "configuration.md": Page("iscsitools.toml(5)", "what iscsitools serve serves: its command line and its file"),
    "watching.md": Page("iscsitools-watch(7)", "what the commands that watch a target have in common"),
    "stacks.md": Page("iscsitools-stacks(7)", "which Python code of the target a probe fired in"),
}


class PageError(Exception):
    """A page is not written as it should be; the text says where."""


def escape(text: str) -> str:
    """Text as roff wants it: backslashes and hyphens literal, no line that begins as a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def inline(text: str) -> str:
    """Fonts of a line of text; of a link its text."""
    text = LINK.sub(r"\1", text)
    parts = []
    place = 0
    for found in INLINE.finditer(text):
        parts.append(escape(text[place : found.start()]))
        kind = str(found.lastgroup)
        parts.append(f"\\f{FONTS[kind]}{escape(found[kind])}\\fR")
        place = found.end()
    line = "".join([*parts, escape(text[place:])])
    return "\\&" + line if line[:1] in (".", "'") else line


def blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Paragraphs, list items, headings, tables and fenced blocks, each with the number of its first line."""
    block: list[str] = []
    first = 0
    fence = ""
    for number, line in enumerate(lines, 1):
        mark = line.strip()
        if mark.startswith("```"):
            if not fence and block:
                yield first, block
                block = []
            first = first if fence else number
            fence = "" if fence else mark
            block.append(mark)
            if not fence:
                yield first, block
                block = []
        elif fence or (block and block[0].startswith("    ") and (line.startswith("    ") or not line)):
            block.append(line)
        else:
            if block and (not line or line.startswith(("- ", "#")) or block[0].startswith(("#", "    "))):
                yield first, block
                block = []
            if line:
                first = first if block else number
                block.append(line)
    if fence:
        raise PageError(f"line {first}: a fenced block without its end")
    if block:
        yield first, block


def roff(name: str, source: str, version: str) -> tuple[str, str]:
    """The file's name and the text of a man page, of the Markdown ``source``."""
    lines = [COMMENT.sub("", line) for line in source.splitlines()]
    title = TITLE.fullmatch(lines[0]) if lines else None
    if title is None:
        raise PageError(f"{name}: line 1: not a title such as `# iscsitools-io(1)`")
    page, section = title["name"], title["section"]
    # The first line asks man(1) for tbl.
    out = ["'\\\" t", f'.TH "{page.upper()}" "{section}" "" "iscsitools {version}" "iscsitools"', ".nh", ".ad l"]
    for number, block in blocks(lines[1:]):
        try:
            out += list(_block(block))
        except PageError as error:
            raise PageError(f"{name}: line {number + 1}: {error}") from None
    return f"{page}.{section}", "\n".join(out) + "\n"


def _block(block: list[str]) -> Iterator[str]:
    head = block[0]
    if head.startswith("```"):
        yield from (".PP", ".EX", *(escape(line) for line in block[1:-1]), ".EE")
    elif head.startswith("    "):
        yield from (".PP", ".EX", *(escape(line[4:]) for line in "\n".join(block).rstrip().splitlines()), ".EE")
    elif head.startswith("## "):
        yield f'.SH "{head[3:].upper()}"'
    elif head.startswith("### "):
        yield f'.SS "{head[4:]}"'
    elif head.startswith("- "):
        text = " ".join(line.strip() for line in block)
        item = TERM.fullmatch(text)
        yield from (".TP", inline(item["term"]), inline(item["text"])) if item else (".IP \\(bu 2", inline(text[2:]))
    elif head.startswith("|"):
        yield from _table(block)
    elif head.startswith(("#", ">", "* ", "1. ")):
        raise PageError(f"not in the part of Markdown that the pages use: {head}")
    else:
        yield (".PP")
        yield inline(" ".join(line.strip() for line in block))


def _table(block: list[str]) -> Iterator[str]:
    """For tbl(1): the last column takes what is left of the line, and all cells may be folded."""
    rows = [[cell.strip().replace("\\|", "|") for cell in CELLS.split(line)[1:-1]] for line in block]
    if len(block) < 2 or not RULE.fullmatch(block[1]) or len({len(row) for row in rows}) > 1:
        raise PageError("a table has a head, a line of dashes, and as many cells in each row")
    columns = len(rows[0])
    if sum(max(len(row[column]) for row in rows) + 3 for column in range(columns - 1)) > _NARROW:
        yield from _list(rows[0], rows[2:])
        return
    yield from (".PP", ".TS", "tab(\t);", " ".join(["lB"] * columns), f"{' '.join(['l'] * (columns - 1))} lx.")
    yield "\t".join(inline(cell) for cell in rows[0])
    for row in rows[2:]:
        yield "\t".join([*(inline(cell) for cell in row[:-1]), "T{"])
        yield inline(row[-1]) or "\\&"
        yield "T}"
    yield ".TE"


def _list(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table that leaves its last column no room, as a list: the first cell, the last one, and what is between."""
    for first, *between, last in rows:
        more = "; ".join(f"{name}: {cell}" for name, cell in zip(head[1:-1], between, strict=True) if cell)
        yield from (".TP", inline(first), inline(f"{last} ({more})" if more else last))


def manual(page: Page, source: str) -> str:
    """A document as the source of its manual page: a title with a section, NAME, and its beginning as DESCRIPTION."""
    name = page.title.partition("(")[0]
    _, text = source.split("\n", 1)
    return f"# {page.title}\n\n## NAME\n\n{name} - {page.about}\n\n## DESCRIPTION\n{text.partition(END)[0]}"


def build(docs: Path, output: Path, version: str) -> list[Path]:
    """Write a page for every ``man/*.md`` of the documentation and for :data:`PAGES`; returns their paths."""
    output.mkdir(parents=True, exist_ok=True)
    sources = {path.name: path.read_text(encoding="utf-8") for path in sorted((docs / "man").glob("*.md"))}
    sources |= {name: manual(page, (docs / name).read_text(encoding="utf-8")) for name, page in PAGES.items()}
    written = []
    for name, source in sources.items():
        made, text = roff(name, source, version)
        (output / made).write_text(text, encoding="utf-8")
        written.append(output / made)
    return written


def main() -> None:
    """Build the project's own pages."""
    top = Path(__file__).resolve().parents[2]
    found = re.search(r'__version__ = "([^"]+)"', (top / "iscsitools" / "__init__.py").read_text(encoding="utf-8"))
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else top / "build" / "man"
    try:
        pages = build(top / "docs", output, found[1] if found else "")
    except PageError as error:
        sys.exit(str(error))
    print(f"{len(pages)} man pages in {output}")


if __name__ == "__main__":
    main()
