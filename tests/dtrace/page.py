"""Writes the table of docs/dtrace.md anew from the files of evidence in docs/evidence: ``python -m dtrace.page``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tabulate import tabulate

from dtrace.evidence import FORMAT

DOCS: Final = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE: Final = DOCS / "dtrace.md"
BEGIN: Final = "<!-- evidence: made by `make docs` of docs/evidence -->\n"
END: Final = "<!-- end of evidence -->\n"
_HEADINGS: Final = ("system", "DTrace", "iscsitools", "agreed", "compared")


def table(files: list[dict[str, Any]]) -> str:
    """A row for each file. ValueError for one that is not of this format."""
    rows = []
    for found in files:
        if found["format"] != FORMAT:
            raise ValueError(f"evidence of format {found['format']}: {FORMAT} is known")
        its, ours, checks = found["system"], found["iscsitools"], found["checks"]
        failed = [check["name"] for check in checks if not check["agreed"]]
        agreed = f"{len(checks) - len(failed)} of {len(checks)}" + (f", not: {', '.join(failed)}" if failed else "")
        members = next(check["compared"] for check in checks if check["name"] == "every member of every event")
        system = f"{its['title']}, {its['name']} {its['release']}, {its['machine']}, Python {its['python']}"
        tried = f"{ours['version']} ({', '.join(word for word in (ours['revision'], found['date']) if word)})"
        rows.append((system, found["dtrace"], tried, agreed, f"{found['events']:,} events, {members:,} members"))
    text = tabulate(rows, _HEADINGS, tablefmt="pipe", disable_numparse=True)
    head, _, body = text.split("\n", 2)
    lines = [head, "| " + " | ".join("---" for _ in _HEADINGS) + " |", *body.splitlines()]
    return "".join(" ".join(line.split()) + "\n" for line in lines)


def page(text: str, files: list[dict[str, Any]]) -> str:
    """The page with the table in its place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has no place for the table")
    return f"{before}{BEGIN}\n{table(files)}\n{END}{after}"


def read() -> list[dict[str, Any]]:
    """The files, in the order of their names."""
    return [json.loads(file.read_text()) for file in sorted((DOCS / "evidence").glob("*.json"))]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), read()))
