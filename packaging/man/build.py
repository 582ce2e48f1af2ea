"""Makes man pages out of ``docs/man/*.md``: ``python packaging/man/build.py [OUTPUT]`` (default ``build/man``).

The pages are written in a small part of Markdown: a title ``# name(section)``, ``##`` headings, paragraphs, lists of
``- term: text``, fenced blocks, ``code``, ``**bold**`` and ``*emphasis*``. Anything else is an error with its line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

TITLE = re.compile(r"# (?P<name>[a-z-]+)\((?P<section>\d)\)")
INLINE = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*|\*(?P<emphasis>[^*]+)\*")
ITEM = re.compile(r"- (?P<term>.+?): (?P<text>.*)")
FONTS = {"code": "B", "bold": "B", "emphasis": "I"}


class PageError(Exception):
    """A page is not written as it should be; the text says where."""


def escape(text: str) -> str:
    """Text as roff wants it: backslashes and hyphens literal, no line that begins as a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def inline(text: str) -> str:
    """Fonts of a line of text."""
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
    """Paragraphs, list items, headings and fenced blocks, each with the number of its first line."""
    block: list[str] = []
    first = 0
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            if not fenced and block:
                yield first, block
                block = []
            fenced = not fenced
            block.append(line)
            first = number if fenced else first
            if not fenced:
                yield first, block
                block = []
        elif fenced:
            block.append(line)
        else:
            if block and (not line or line.startswith("- ")):
                yield first, block
                block = []
            if line:
                first = first if block else number
                block.append(line)
    if fenced:
        raise PageError(f"line {first}: a fenced block without its end")
    if block:
        yield first, block


def roff(name: str, source: str, version: str) -> tuple[str, str]:
    """The file's name and the text of a man page, of the Markdown ``source``."""
    lines = source.splitlines()
    title = TITLE.fullmatch(lines[0]) if lines else None
    if title is None:
        raise PageError(f"{name}: line 1: not a title such as `# iscsitools-io(1)`")
    page, section = title["name"], title["section"]
    out = [f'.TH "{page.upper()}" "{section}" "" "iscsitools {version}" "iscsitools"', ".nh", ".ad l"]
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
    elif head.startswith("## "):
        yield f'.SH "{head[3:]}"'
    elif head.startswith("- "):
        item = ITEM.fullmatch(" ".join(line.strip() for line in block))
        if item is None:
            raise PageError("a list's item is `- term: text`")
        yield from (".TP", inline(item["term"]), inline(item["text"]))
    elif head.startswith(("#", "|", ">", "* ", "1. ")):
        raise PageError(f"not in the part of Markdown that the pages use: {head}")
    else:
        yield from (".PP", inline(" ".join(block)))


def build(source: Path, output: Path, version: str) -> list[Path]:
    """Write a page for every Markdown file of ``source``; returns their paths."""
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted(source.glob("*.md")):
        name, text = roff(path.name, path.read_text(encoding="utf-8"), version)
        (output / name).write_text(text, encoding="utf-8")
        written.append(output / name)
    return written


def main() -> None:
    """Build the project's own pages."""
    top = Path(__file__).resolve().parents[2]
    found = re.search(r'__version__ = "([^"]+)"', (top / "iscsitools" / "__init__.py").read_text(encoding="utf-8"))
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else top / "build" / "man"
    try:
        pages = build(top / "docs" / "man", output, found[1] if found else "")
    except PageError as error:
        sys.exit(str(error))
    print(f"{len(pages)} man pages in {output}")


if __name__ == "__main__":
    main()
