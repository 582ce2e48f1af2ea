"""One run in the lab under all D scripts at once: every event's every member, and every script's report."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from iscsitools.cli.main import load_command
from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.trace.client.recording import open_file
from iscsitools.trace.events import Event

from . import scene
from .reports import failures, lines, quantized, read, rows

pytestmark = [pytest.mark.slow, pytest.mark.lab]


@pytest.fixture(scope="module")
def out(evidence: Path) -> Path:
    return evidence / "scene"


@pytest.fixture(scope="module")
def done(out: Path) -> dict[str, Any]:
    """What each client did, by the initiator's own log."""
    found: dict[str, Any] = json.loads((out / "expected.json").read_text())
    return found


def by_client(done: dict[str, Any], field: str) -> dict[tuple[str, str], Any]:
    return {(client, key): value for client, all_of in done.items() for key, value in all_of[field].items() if value}


def recorded(out: Path) -> list[Event]:
    """The events of the target's own recording, of the probes that the provider has."""
    with open_file(out / "record.trace") as trace:
        found = list(trace)
    return [event for event in found if event.probe in PROVIDER_PROBES]


def members(event: Event) -> dict[str, str]:
    """Every member of every argument, as events.d prints it."""
    conn, info = event.conn, event.info
    found: dict[str, object] = {"event": event.probe.label}
    found |= {f"ci_{name}": getattr(conn, name) for name in ("local", "remote", "protocol")}
    found |= {f"ii_{name}": getattr(conn, name) for name in ("target", "initiator", "isid", "tsih", "transport")}
    found |= {f"ii_{name}": value for name, value in info._asdict().items()}
    if event.cdb:
        found |= {"ic_len": event.cdb_length, "ic_cdb": event.cdb.hex()}
    if event.xfer is not None:
        xfer = event.xfer
        found |= {"xfer_laddr": xfer.laddr, "xfer_loffset": xfer.loffset, "xfer_lkey": 0, "xfer_raddr": 0}
        found |= {"xfer_roffset": 0, "xfer_rkey": 0, "xfer_len": xfer.length, "xfer_type": xfer.type}
    return {name: str(value) for name, value in found.items()}


def seen(out: Path) -> list[dict[str, str]]:
    """What events.d printed, in the order of its time stamps."""
    found = []
    for block in read(out, "events").split("\nevent ")[1:]:
        first, *rest = block.strip("\n").splitlines()
        name, time = first.split()
        pairs = {key: value for key, _, value in (line.partition(" ") for line in rest if line)}
        found.append((int(time), {"event": name} | pairs))
    return [event for _, event in sorted(found, key=lambda pair: pair[0])]


def test_every_member_of_every_event_is_as_the_target_recorded_it(out: Path) -> None:
    assert seen(out) == [members(event) for event in recorded(out)]


def test_every_tracer_ended_well(out: Path) -> None:
    found = {file.stem: file.read_text() for file in out.glob("*.status")}
    assert set(scene.SCRIPTS) < set(found)
    assert found == dict.fromkeys(found, "0\n")


def test_each_probe_fired(out: Path) -> None:
    assert {event["event"] for event in seen(out)} == {probe.label for probe in PROVIDER_PROBES}


def view(out: Path, *arguments: str) -> list[dict[str, Any]]:
    """The records of one of our commands over the recording."""
    result = CliRunner().invoke(
        load_command(arguments[0]), [*arguments[1:], "--read", str(out / "record.trace"), "--json"]
    )
    assert result.exit_code == 0, result.output
    text = [line for line in result.output.splitlines() if line.startswith("{")]
    parsed = [json.loads(line) for line in text]
    records: list[dict[str, Any]] = parsed[-1].get("records", parsed)
    return records


def test_who(out: Path, done: dict[str, Any]) -> None:
    found = rows(read(out, "iscsiwho"), 2)
    assert {key: count for key, (count,) in found.items()} == by_client(done, "events")
    ours = {(r["client"], r["event"]): (r["count"],) for r in view(out, "who")}
    assert found == ours


def test_io(out: Path, done: dict[str, Any]) -> None:
    found = {key: numbers[:2] for key, numbers in rows(read(out, "iscsiio"), 2).items()}
    assert found == {key: (count, size // 1024) for key, (count, size) in by_client(done, "io").items()}
    assert found == {(r["client"], r["event"]): (r["count"], r["bytes"] // 1024) for r in view(out, "io")}


def test_rwlat(out: Path, done: dict[str, Any]) -> None:
    text = read(out, "iscsirwlat")
    ended = {(c, "read"): n for c, n in quantized(text, "Read Latency (ns),").items()}
    ended |= {(c, "write"): n for c, n in quantized(text, "Write Latency (ns),").items()}
    assert ended == by_client(done, "ended")
    assert failures(text) == by_client(done, "failed")
    ours = view(out, "rwlat")
    assert ended == {(r["client"], r["event"]): r["count"] for r in ours}
    assert failures(text) == {(r["client"], r["event"]): r["failed"] for r in ours if r["failed"]}


def test_commands(out: Path, done: dict[str, Any]) -> None:
    line = re.compile(r"^   (\S+) +(\S.*?) +(\w\w)h \w\wh +(\d+)$", re.M)
    found = line.findall(read(out, "iscsicmds"))
    assert {(c, str(int(op, 16))): int(n) for c, _, op, n in found} == by_client(done, "opcodes")
    names: Counter[str] = Counter()
    for _, name, _, count in found:
        names[name] += int(count)
    assert names == {r["command"]: r["count"] for r in view(out, "cmds")}


def test_transfers(out: Path, done: dict[str, Any]) -> None:
    expected = {(c, *key.split()): n for (c, key), n in by_client(done, "transfers").items()}
    text = read(out, "iscsixfer")
    found = re.findall(r"^   (\S+) +(read|write) +(\d+) +(\d+)$", text, re.M)
    assert {(c, event, size): int(n) for c, event, size, n in found} == expected
    text = read(out, "iscsirwtime")
    for operation in ("Read", "Write"):
        sums: Counter[str] = Counter()
        for (client, event, _), count in expected.items():
            if event == operation.lower():
                sums[f"{client} {scene.TARGET}"] += count
        assert quantized(text, f"{operation} Transfer Time (ns),") == sums


def test_phases(out: Path, done: dict[str, Any]) -> None:
    found = rows(re.sub(r" (\d+) +(read|write) ", r" lun\1 \2 ", read(out, "iscsiphases")), 3)
    counts = {(client, event): numbers[0] for (client, _, event), numbers in found.items()}
    assert counts == by_client(done, "ended")
    for (_, _, event), (_, backstore, waiting, sending, total) in found.items():
        assert abs(total - backstore - waiting - sending) <= 3  # each is cut to microseconds
        assert (sending if event == "write" else waiting) == 0
    ours = view(out, "rwlat", "--phases")
    assert counts == {(r["client"], r["event"]): r["count"] for r in ours}


def test_snoop(out: Path, done: dict[str, Any]) -> None:
    found = [(words[1], words[2]) for words in lines(read(out, "iscsisnoop"))]
    assert Counter(found) == by_client(done, "events")
    ours = [(r["remote"].rpartition(":")[0].strip("[]"), r["event"]) for r in view(out, "snoop")]
    assert Counter(found) == Counter(ours)


def test_slower_prints_every_command_that_ended(out: Path, done: dict[str, Any]) -> None:
    found = Counter((words[1], str(int(words[4], 16))) for words in lines(read(out, "iscsislower")))
    assert found == by_client(done, "opcodes")
    assert found.total() == len(view(out, "snoop", "--slower", "0"))


def test_top_adds_up(out: Path, done: dict[str, Any]) -> None:
    found: dict[str, list[int]] = {}
    for row in re.findall(r"^   (\S+) +(\d+) +(\d+) +\d+ +(\d+) +\d+$", read(out, "iscsitop"), re.M):
        sums = found.setdefault(row[0], [0, 0, 0])
        for place, number in enumerate(row[1:]):
            sums[place] += int(number)
    expected = {}
    for client, all_of in done.items():
        expected[client] = [all_of["events"]["scsi-command"], all_of["io"]["read"][0], all_of["io"]["write"][0]]
    assert found == expected


def test_a_script_in_the_manner_of_the_first_provider(out: Path, done: dict[str, Any]) -> None:
    words = [line.split() for line in read(out, "targetd").splitlines()]
    opcodes: Counter[int] = Counter()
    for all_of in done.values():
        opcodes.update({int(code): count for code, count in all_of["opcodes"].items()})
    assert {int(w[2], 16): int(w[3]) for w in words if w[:1] == ["command"]} == opcodes
    assert {w[1]: w[2] for w in words if w[:1] == ["command"]}["write16"] == "8a"
    clients = {w[1].rpartition(":")[0].strip("[]"): int(w[2]) for w in words if w[:1] == ["client"]}
    assert clients == {client: all_of["events"]["scsi-command"] for client, all_of in done.items()}
    assert sorted(int(w[2]) for w in words if w[:1] == ["initiator"]) == sorted(clients.values())
    reads = sum(count for code, count in opcodes.items() if code == 0x88)
    assert sum(int(w[2]) for w in words if w[:1] == ["reads"]) == reads
    ended: Counter[int] = Counter()
    for w in words:
        if w[:1] == ["ended"]:
            ended[int(w[2])] += int(w[3])
    assert ended == opcodes
    assert ["flagged", "1"] in words
    logins = [w[2].rpartition(":")[0].strip("[]") for w in words if w[:2] == ["login", "from"]]
    assert Counter(logins) == {client: all_of["events"]["login-command"] for client, all_of in done.items()}
    finals = [event for event in recorded(out) if event.probe.label == "data-send" and event.info.flags & 0x80]
    assert [int(w[1]) for w in words if w[:1] == ["finals"]] == [len(finals)]


def test_a_script_in_the_manner_of_a_kernel_target_s(out: Path) -> None:
    words = [line.split() for line in read(out, "kernel").splitlines()]
    writes = [e for e in recorded(out) if e.cdb[:1] == b"\x8a" and e.info.flags & 0x80]
    assert [w[1:] for w in words if w[:1] == ["length"]] == [["16", str(len(writes))]]
    assert [w[1:] for w in words if w[:1] == ["writes"]] == [[str(len(writes))]]
    first = [e.xfer.length for e in recorded(out) if e.probe.label == "xfer-done" and e.xfer and e.xfer.type == 1
             and e.xfer.loffset == 0]  # fmt: skip
    assert [w[1:] for w in words if w[:1] == ["first"]] == [[scene.TARGET, str(sum(first))]]
