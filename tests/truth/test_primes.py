"""Prime numbers of known reads and writes give exactly those numbers in every command, live and out of a file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.target import start_target

from iscsitools.initiator import Log, Opcode
from iscsitools.trace import open_file

from . import load, paths
from .commands import AllWatching, records, replay

CLIENTS = ("127.0.0.1", "::1")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("io",),
    ("io", "--commands"),
    ("who",),
    ("cmds",),
    ("top", "--batch", "0.5"),
)
AS_JSON = tuple((*command, "--json") for command in COMMANDS)


@dataclass(frozen=True)
class Seen:
    """What the commands printed of two clients' loads, the file that ``record`` wrote, and both clients' PDUs.

    ``path``: which data path served them.
    """

    path: str
    live: dict[tuple[str, ...], str]
    file: Path
    logs: dict[str, Log]

    def text(self, *command: str) -> str:
        """What a command printed; out of the file, where it did not watch."""
        return self.live.get(command) or replay(self.file, *command)

    def records(self, *command: str) -> list[dict[str, Any]]:
        return records(self.text(*command, "--json"))

    def from_file(self, *command: str) -> list[dict[str, Any]]:
        return records(replay(self.file, *command, "--json"))


@pytest.fixture(scope="module", params=paths.ALL)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    directory = tmp_path_factory.mktemp("primes")
    left_out = ("who",) if paths.chosen(request) == "threads" else ()  # as long as that watches, the loop serves all
    config, file = directory / "target.toml", directory / "trace"
    config.write_text(load.CONFIG.format(**paths.lines(request)))
    with start_target(directory, "--config", str(config), portals=("127.0.0.1:0", "[::1]:0")) as target:
        commands = [command for command in (*COMMANDS, *AS_JSON) if command[0] not in left_out]
        watching = AllWatching(target, [*commands, ("record", "--output", str(file))])
        logs = {client: load.run(address) for client, address in zip(CLIENTS, target.addresses, strict=True)}
        return Seen(paths.chosen(request), watching.end(), file, logs)


def both(seen: Seen, *command: str) -> list[list[dict[str, Any]]]:
    """A command's records, live and out of the file."""
    return [seen.records(*command), seen.from_file(*command)]


def test_the_initiator_agrees_with_the_plan(seen: Seen) -> None:
    for log in seen.logs.values():
        assert log.total(Opcode.DATA_IN, "data_length") == load.commands(False)[1]
        assert log.count(Opcode.DATA_IN) == load.data_pdus(False)
        sent = log.total(Opcode.DATA_OUT, "data_length") + log.total(Opcode.SCSI_COMMAND, "data_length")
        assert sent == load.commands(True)[1]


def test_whoever_serves_fires(seen: Seen) -> None:
    """Each ring counts its own events. The clients come one after the other, so one data thread may have both."""
    with open_file(seen.file) as trace:
        first = sum(event.sequence == 1 for event in trace)
    assert (first > 1) == (seen.path == "threads")


def test_io(seen: Seen) -> None:
    for found in both(seen, "io"):
        assert {(r["client"], r["event"]): (r["count"], r["bytes"]) for r in found} == {
            (client, event): (load.data_pdus(write), load.commands(write)[1])
            for client in CLIENTS
            for event, write in (("read", False), ("write", True))
        }


def test_io_by_commands(seen: Seen) -> None:
    for found in both(seen, "io", "--commands"):
        assert {(r["client"], r["event"]): (r["count"], r["bytes"]) for r in found} == {
            (client, event): load.commands(write)
            for client in CLIENTS
            for event, write in (("read", False), ("write", True))
        }


def test_who(seen: Seen) -> None:
    expected = {(client, label): count for client in CLIENTS for label, count in load.events(seen.logs[client]).items()}
    for found in both(seen, "who"):
        assert {(r["client"], r["event"]): r["count"] for r in found} == expected


def test_cmds(seen: Seen) -> None:
    ready = sum(log.count(Opcode.SCSI_COMMAND) for log in seen.logs.values())
    ready -= 2 * (load.commands(False)[0] + load.commands(True)[0])
    for found in both(seen, "cmds"):
        by_name = {r["command"]: r for r in found}
        assert set(by_name) == {"READ(16)", "WRITE(16)", "TEST UNIT READY"}
        for name, write in (("READ(16)", False), ("WRITE(16)", True)):
            count, size = load.commands(write)
            assert (by_name[name]["count"], by_name[name]["bytes"]) == (2 * count, 2 * size)
            assert by_name[name]["check_conditions"] == 0
        units = 2 * len(load.LOADS)
        assert by_name["TEST UNIT READY"]["count"] == ready
        assert by_name["TEST UNIT READY"]["check_conditions"] == ready - units > 0


def test_top(seen: Seen) -> None:
    for found in both(seen, "top", "--batch", "0.5"):
        sums: dict[tuple[str, int], Counter[str]] = {}
        for record in found:
            assert record["target"] == load.TARGET
            names = ("reads", "writes", "read_bytes", "write_bytes")
            row = sums.setdefault((record["client"], record["lun"]), Counter())
            row.update({name: record[name] for name in names})
        for client in CLIENTS:
            for lun in load.LOADS:
                (reads, read_bytes), (writes, write_bytes) = load.commands(False, lun), load.commands(True, lun)
                assert sums[client, lun] == {
                    "reads": reads, "writes": writes, "read_bytes": read_bytes, "write_bytes": write_bytes,
                }  # fmt: skip


def rows(text: str, pattern: str) -> list[tuple[str, ...]]:
    """The groups of every line that has this form."""
    return [match.groups() for line in text.splitlines() if (match := re.fullmatch(pattern, line))]


@pytest.mark.parametrize(("command", "options"), [("io", ()), ("io", ("--commands",)), ("who", ()), ("cmds", ())])
def test_people_read_the_same_numbers(seen: Seen, command: str, options: tuple[str, ...]) -> None:
    text = seen.text(command, *options)
    assert all(len(line) <= 80 for line in text.splitlines())
    found = seen.records(command, *options)
    if command == "io":
        printed = rows(text, r"   (\S+) +(read|write) +(\d+) +(\d+) +\d+")
        totals = [row for row in printed if row[0] == "total"]
        assert [row for row in printed if row[0] != "total"] == [
            (r["client"], r["event"], str(r["count"]), str(r["bytes"] // 1024)) for r in found
        ]
        assert [int(row[2]) for row in totals] == [
            sum(r["count"] for r in found if r["event"] == event) for event in ("read", "write")
        ]
    elif command == "who":
        assert rows(text, r"   (\S+) +(\S+) +(\d+)") == [(r["client"], r["event"], str(r["count"])) for r in found]
    else:
        printed = rows(text, r"   (\S.*?) +(\d+) +(\d+) +\S+ +\S+ +\S+ +(\d+)")
        assert printed == [
            (r["command"], str(r["count"]), str(r["bytes"] // 1024), str(r["check_conditions"])) for r in found
        ]


def test_people_see_every_row_of_top(seen: Seen) -> None:
    text = seen.text("top", "--batch", "0.5")
    for client in CLIENTS:
        assert client in text
