"""What a scene's tracers saw against what the target recorded and what the initiator did: one check for each script.

Each check reads a folder that :mod:`scene` wrote, and returns how many things it compared, or raises
:class:`DisagreementError`. Used by the tests, and by ``make evidence`` on systems that have no pytest.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner

from dtrace import scene
from dtrace.reports import events, failures, lines, quantized, read, rows
from iscsitools.cli.main import load_command
from iscsitools.probes.table import PROVIDER_PROBES
from iscsitools.trace.client.recording import open_file
from iscsitools.trace.events import Event

_SHOWN: Final = 3
"""How many differences an error names."""
_MICROSECONDS: Final = 3
"""Phases are each cut to microseconds, so their sum may differ by so many."""


class DisagreementError(AssertionError):
    """Two that should agree do not; the message says where."""


@dataclass
class Scene:
    """What :func:`scene.play` wrote."""

    folder: Path

    @cached_property
    def done(self) -> dict[str, Any]:
        """What each client did, by the initiator's own log."""
        found: dict[str, Any] = json.loads((self.folder / "expected.json").read_text())
        return found

    @cached_property
    def recorded(self) -> list[Event]:
        """The events of the target's own recording, of the probes that the provider has."""
        with open_file(self.folder / "record.trace") as trace:
            found = list(trace)
        return [event for event in found if event.probe in PROVIDER_PROBES]

    @cached_property
    def seen(self) -> list[dict[str, str]]:
        """What events.d printed of each event, in the order of its time stamps."""
        return events(self.printed("events"))

    def printed(self, name: str) -> str:
        """What a tracer printed."""
        return read(self.folder, name)

    def by_client(self, field: str) -> dict[tuple[str, str], Any]:
        """One of the initiator's tables, by client and key, without zeros."""
        tables = ((client, all_of[field]) for client, all_of in self.done.items())
        return {(client, key): value for client, table in tables for key, value in table.items() if value}

    def view(self, *arguments: str) -> list[dict[str, Any]]:
        """The records of one of our commands over the recording."""
        words = [*arguments[1:], "--read", str(self.folder / "record.trace"), "--json"]
        result = CliRunner().invoke(load_command(arguments[0]), words)
        if result.exit_code:
            raise DisagreementError(f"iscsitools {' '.join(arguments)} failed: {result.output}")
        parsed = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
        records: list[dict[str, Any]] = parsed[-1].get("records", parsed)
        return records


def same(found: Any, expected: Any) -> int:
    """Compare; returns how many things there were. Nothing to compare is a disagreement too."""
    if found != expected:
        raise DisagreementError("; ".join(_differences(found, expected)))
    size = len(expected) if isinstance(expected, Collection) and not isinstance(expected, str) else 1
    if not size:
        raise DisagreementError("there is nothing to compare")
    return size


def _differences(found: Any, expected: Any) -> list[str]:
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        pairs = [(key, found.get(key), expected.get(key)) for key in {**expected, **found}]
    elif isinstance(found, list) and isinstance(expected, list):
        pairs = [(at, *pair) for at, pair in enumerate(zip_longest(found, expected))]
    else:
        pairs = [("", found, expected)]
    differ = [f"{key}: found {one}, expected {other}" for key, one, other in pairs if one != other]
    more = [f"and {len(differ) - _SHOWN} more"] if len(differ) > _SHOWN else []
    return differ[:_SHOWN] + more


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


def every_member(of: Scene) -> int:
    """Each member of each argument of each event, as the target recorded it."""
    same(of.seen, [members(event) for event in of.recorded])
    return sum(map(len, of.seen))


def every_probe(of: Scene) -> int:
    """All 18 have fired."""
    return same({event["event"] for event in of.seen}, {probe.label for probe in PROVIDER_PROBES})


def every_end(of: Scene) -> int:
    """Each tracer was there and ended with status 0."""
    found = {file.stem: file.read_text() for file in of.folder.glob("*.status")}
    return same(found, dict.fromkeys({*scene.SCRIPTS, *found}, "0\n"))


def who(of: Scene) -> int:
    """iscsiwho.d."""
    found = rows(of.printed("iscsiwho"), 2)
    same(found, {(r["client"], r["event"]): (r["count"],) for r in of.view("who")})
    return same({key: count for key, (count,) in found.items()}, of.by_client("events"))


def io(of: Scene) -> int:
    """iscsiio.d."""
    found = {key: numbers[:2] for key, numbers in rows(of.printed("iscsiio"), 2).items()}
    same(found, {(r["client"], r["event"]): (r["count"], r["bytes"] // 1024) for r in of.view("io")})
    return same(found, {key: (count, size // 1024) for key, (count, size) in of.by_client("io").items()})


def rwlat(of: Scene) -> int:
    """iscsirwlat.d."""
    text = of.printed("iscsirwlat")
    ended = {(c, "read"): n for c, n in quantized(text, "Read Latency (ns),").items()}
    ended |= {(c, "write"): n for c, n in quantized(text, "Write Latency (ns),").items()}
    ours = of.view("rwlat")
    same(ended, {(r["client"], r["event"]): r["count"] for r in ours})
    same(failures(text), {(r["client"], r["event"]): r["failed"] for r in ours if r["failed"]})
    return same(ended, of.by_client("ended")) + same(failures(text), of.by_client("failed"))


def commands(of: Scene) -> int:
    """iscsicmds.d."""
    line = re.compile(r"^   (\S+) +(\S.*?) +(\w\w)h \w\wh +(\d+)$", re.M)
    found = line.findall(of.printed("iscsicmds"))
    names: Counter[str] = Counter()
    codes: Counter[tuple[str, str]] = Counter()
    for client, name, code, count in found:
        names[name] += int(count)
        codes[client, str(int(code, 16))] += int(count)
    same(dict(names), {r["command"]: r["count"] for r in of.view("cmds")})
    return same(dict(codes), of.by_client("opcodes"))


def transfers(of: Scene) -> dict[tuple[str, str, str], int]:
    """How many transfers there were, by client, operation and size."""
    found = {}
    for (client, key), count in of.by_client("transfers").items():
        operation, size = key.split()
        found[client, operation, size] = count
    return found


def xfer(of: Scene) -> int:
    """iscsixfer.d."""
    found = re.findall(r"^   (\S+) +(read|write) +(\d+) +(\d+)$", of.printed("iscsixfer"), re.M)
    return same({(c, event, size): int(n) for c, event, size, n in found}, transfers(of))


def rwtime(of: Scene) -> int:
    """iscsirwtime.d."""
    compared = 0
    for operation in ("Read", "Write"):
        sums: Counter[str] = Counter()
        for (client, event, _), count in transfers(of).items():
            if event == operation.lower():
                sums[f"{client} {scene.TARGET}"] += count
        compared += same(quantized(of.printed("iscsirwtime"), f"{operation} Transfer Time (ns),"), dict(sums))
    return compared


def phases(of: Scene) -> int:
    """iscsiphases.d."""
    text = re.sub(r" (\d+) +(read|write) ", r" lun\1 \2 ", of.printed("iscsiphases"))
    found = rows(text, 3)
    counts = {(client, event): numbers[0] for (client, _, event), numbers in found.items()}
    for (_, _, event), (_, backstore, waiting, sending, total) in found.items():
        if abs(total - backstore - waiting - sending) > _MICROSECONDS:
            raise DisagreementError(f"{event}: {backstore} + {waiting} + {sending} is not {total}")
        same(sending if event == "write" else waiting, 0)
    same(counts, {(r["client"], r["event"]): r["count"] for r in of.view("rwlat", "--phases")})
    return same(counts, of.by_client("ended"))


def snoop(of: Scene) -> int:
    """iscsisnoop.d."""
    found = Counter((words[1], words[2]) for words in lines(of.printed("iscsisnoop")))
    same(found, Counter((r["remote"].rpartition(":")[0].strip("[]"), r["event"]) for r in of.view("snoop")))
    same(dict(found), of.by_client("events"))
    return found.total()


def slower(of: Scene) -> int:
    """iscsislower.d, which prints every command that ended."""
    found = Counter((words[1], str(int(words[4], 16))) for words in lines(of.printed("iscsislower")))
    same(found.total(), len(of.view("snoop", "--slower", "0")))
    same(dict(found), of.by_client("opcodes"))
    return found.total()


def top(of: Scene) -> int:
    """iscsitop.d: its intervals add up."""
    found: dict[str, list[int]] = {}
    for row in re.findall(r"^   (\S+) +(\d+) +(\d+) +\d+ +(\d+) +\d+$", of.printed("iscsitop"), re.M):
        sums = found.setdefault(row[0], [0, 0, 0])
        for place, number in enumerate(row[1:]):
            sums[place] += int(number)
    expected = {}
    for client, all_of in of.done.items():
        expected[client] = [all_of["events"]["scsi-command"], all_of["io"]["read"][0], all_of["io"]["write"][0]]
    return same(found, expected)


def first_provider(of: Scene) -> int:
    """targetd.d, in the manner of scripts for the first iscsi provider."""
    words = [line.split() for line in of.printed("targetd").splitlines()]
    opcodes: Counter[int] = Counter()
    for all_of in of.done.values():
        opcodes.update({int(code): count for code, count in all_of["opcodes"].items()})
    compared = same({int(w[2], 16): int(w[3]) for w in words if w[:1] == ["command"]}, dict(opcodes))
    same({w[1]: w[2] for w in words if w[:1] == ["command"]}["write16"], "8a")
    clients = {w[1].rpartition(":")[0].strip("[]"): int(w[2]) for w in words if w[:1] == ["client"]}
    compared += same(clients, {client: all_of["events"]["scsi-command"] for client, all_of in of.done.items()})
    same(sorted(int(w[2]) for w in words if w[:1] == ["initiator"]), sorted(clients.values()))
    reads = sum(count for code, count in opcodes.items() if code == 0x88)
    same(sum(int(w[2]) for w in words if w[:1] == ["reads"]), reads)
    ended: Counter[int] = Counter()
    for w in words:
        if w[:1] == ["ended"]:
            ended[int(w[2])] += int(w[3])
    compared += same(dict(ended), dict(opcodes))
    same([w for w in words if w[:1] == ["flagged"]], [["flagged", "1"]])
    logins = Counter(w[2].rpartition(":")[0].strip("[]") for w in words if w[:2] == ["login", "from"])
    compared += same(dict(logins), {client: all_of["events"]["login-command"] for client, all_of in of.done.items()})
    finals = [event for event in of.recorded if event.probe.label == "data-send" and event.info.flags & 0x80]
    return compared + same([int(w[1]) for w in words if w[:1] == ["finals"]], [len(finals)])


def kernel_target(of: Scene) -> int:
    """kernel.d, in the manner of scripts for a kernel target's provider."""
    words = [line.split() for line in of.printed("kernel").splitlines()]
    writes = [e for e in of.recorded if e.cdb[:1] == b"\x8a" and e.info.flags & 0x80]
    compared = same([w[1:] for w in words if w[:1] == ["length"]], [["16", str(len(writes))]])
    compared += same([w[1:] for w in words if w[:1] == ["writes"]], [[str(len(writes))]])
    done = [event.xfer for event in of.recorded if event.probe.label == "xfer-done" and event.xfer]
    first = sum(xfer.length for xfer in done if xfer.type == 1 and xfer.loffset == 0)
    return compared + same([w[1:] for w in words if w[:1] == ["first"]], [[scene.TARGET, str(first)]])


CHECKS: Final[Mapping[str, Callable[[Scene], int]]] = {
    "every member of every event": every_member,
    "probes that fired": every_probe,
    "tracers that ended well": every_end,
    "iscsiwho.d": who,
    "iscsiio.d": io,
    "iscsirwlat.d": rwlat,
    "iscsicmds.d": commands,
    "iscsixfer.d": xfer,
    "iscsirwtime.d": rwtime,
    "iscsiphases.d": phases,
    "iscsisnoop.d": snoop,
    "iscsislower.d": slower,
    "iscsitop.d": top,
    "a script for the first provider": first_provider,
    "a script for a kernel's provider": kernel_target,
}
