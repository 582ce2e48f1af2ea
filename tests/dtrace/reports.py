"""Reads what the D scripts and the bpftrace scripts print into plain numbers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

Table = dict[tuple[str, ...], tuple[int, ...]]


def rows(text: str, keys: int) -> Table:
    """The rows of a table after three blanks: ``keys`` words, then numbers. The heading has no numbers."""
    found: Table = {}
    for line in text.splitlines():
        words = line.split()
        if line.startswith("   ") and len(words) > keys and all(word.isdigit() for word in words[keys:]):
            assert tuple(words[:keys]) not in found
            found[tuple(words[:keys])] = tuple(map(int, words[keys:]))
    return found


def quantized(text: str, title: str) -> dict[str, int]:
    """How many values each distribution counts, by key, in the part of the report that begins with ``title``."""
    part = text.split(title)[1]
    part = re.split(r"^\S", part.lstrip("\n"), maxsplit=1, flags=re.M)[0]
    found: Counter[str] = Counter()
    key = ""
    for line in part.splitlines():
        if row := re.fullmatch(r" *-?\d+ \|.*?\s(\d+) *", line):
            found[key] += int(row[1])
        elif line.strip() and "Distribution" not in line and "failed" not in line:
            key = " ".join(line.split())
    return dict(found)


def failures(text: str) -> dict[tuple[str, str], int]:
    """``CLIENT: COUNT failed: EVENT`` lines."""
    found = re.findall(r"^   (\S+): (\d+) failed: (\w+)$", text, re.M)
    return {(client, event): int(count) for client, count, event in found}


def maps(text: str) -> dict[str, dict[tuple[str, ...], int]]:
    """bpftrace's maps: counts as they are; of stats the count; of a histogram the sum of its rows."""
    found: dict[str, Counter[tuple[str, ...]]] = {}
    current: tuple[str, tuple[str, ...]] | None = None
    for line in text.splitlines():
        if entry := re.match(r"@(\w+)\[(.*)\]: *(?:count )?(\d+)?", line):
            current = entry[1], tuple(entry[2].split(", "))
            found.setdefault(entry[1], Counter())[current[1]] += int(entry[3] or 0)
        elif (row := re.match(r"[\[(].*?[)\]]\s+(\d+) \|", line)) and current:
            found[current[0]][current[1]] += int(row[1])
    return {name: dict(counts) for name, counts in found.items()}


def reservations(text: str) -> Counter[tuple[str, str]]:
    """The commands that iscsireserve printed, by client."""
    return Counter(
        (match[1], match[2]) for match in re.finditer(r"^ *\d+\.\d{6} (\S+) +\d+ (\S.*?) +(?:\d|-) iqn", text, re.M)
    )


def logins(text: str) -> Counter[tuple[str, str]]:
    """The results that iscsilogin printed, by client."""
    return Counter(re.findall(r"^ *\d+\.\d{6} (\S+) +\d+\.\d{3} (\w+) +[0-9a-f]{12} iqn", text, re.M))


def events(text: str) -> list[dict[str, str]]:
    """What events.d printed of each event, in the order of its time stamps.

    An event is one record that begins with ``event``, and further ones that begin with ``more``, each with the event's
    name and time: between them, records of other events may stand.
    """
    found: dict[tuple[int, str], dict[str, str]] = {}
    for record in re.split(r"^(?=event |more )", text, flags=re.M)[1:]:
        (kind, name, time), *rest = (line.split(" ") for line in record.splitlines() if line)
        members = {key: " ".join(value) for key, *value in rest}
        of = found.setdefault((int(time), name), {})
        if not of.keys().isdisjoint({"event", *members} if kind == "event" else members):
            raise ValueError(f"two {name} events have one time, {time}")
        of |= ({"event": name} if kind == "event" else {}) | members
    return [_with_whole_cdb(found[key]) for key in sorted(found)]


def _with_whole_cdb(members: dict[str, str]) -> dict[str, str]:
    parts = {key for key in members if key.startswith("ic_cdb_")}
    cdb = "".join(members[key] for key in sorted(parts))
    return {key: value for key, value in members.items() if key not in parts} | ({"ic_cdb": cdb} if cdb else {})


def lines(text: str) -> list[list[str]]:
    """The words of lines that begin with a time in seconds, as snoop and slower print."""
    return [line.split() for line in text.splitlines() if re.match(r" *\d+\.\d{6} ", line)]


def read(folder: Path, name: str) -> str:
    """What a tracer printed."""
    return (folder / f"{name}.txt").read_text()
