"""Checks, as those of :mod:`agreement`, of scripts in the forms of others, which `iscsitools dtrace run` adapts, and of
the raw arguments.
"""

from __future__ import annotations

from collections import Counter

from dtrace.agreement import Scene, same
from dtrace.reports import rows


def raw(of: Scene) -> int:
    """raw.d: arg0 and arg1 are the PDU, arg2 the command or the transfer."""
    found: dict[str, dict[str, int]] = {}
    for line in of.printed("raw").splitlines()[1:]:
        if line:
            name, *key, number = line.split()
            found.setdefault(name, {})["".join(key)] = int(number)
    expected: dict[str, Counter[str]] = {name: Counter() for name in ("pointers", "flags", "lengths", "types", "sent")}
    for event in of.recorded:
        match event.probe.label:
            case "scsi-command":
                expected["flags"][str(event.info.flags)] += 1
                expected["lengths"][str(event.cdb_length)] += 1
            case "xfer-done" if event.xfer is not None:
                expected["types"][str(event.xfer.type)] += event.xfer.length
            case "data-send":
                expected["sent"][""] += event.info.datalen
            case _:
                continue
        expected["pointers"]["same"] += 1
    return same(found, {name: dict(counts) for name, counts in expected.items()})


def guide_who(of: Scene) -> int:
    """guidewho.d, of every probe in one clause."""
    found: Counter[tuple[str, str]] = Counter()
    for (remote, event), (count,) in rows(of.printed("guidewho"), 2).items():
        found[remote.rpartition(":")[0].strip("[]"), event] += count
    return same(dict(found), of.by_client("events"))


def guide_xfer(of: Scene) -> int:
    """guidexfer.d, of both xfer probes by a name that is left open."""
    words = [line.split() for line in of.printed("guidexfer").splitlines()]
    expected: Counter[tuple[str, str]] = Counter()
    both: Counter[str] = Counter()
    for event in of.recorded:
        if event.xfer is not None:
            both[event.probe.label] += 1
            if event.probe.label == "xfer-start":
                expected[event.conn.remote, str(event.xfer.type)] += event.xfer.length
    compared = same({(w[1], w[2]): int(w[3]) for w in words if w[:1] == ["bytes"]}, dict(expected))
    return compared + same({w[1]: int(w[2]) for w in words if w[:1] == ["both"]}, dict(both))


def book_io(of: Scene) -> int:
    """bookio.d, of reads and writes as they happen, and with variables of a thread."""
    words = [line.split() for line in of.printed("bookio").splitlines()]
    opcodes: Counter[str] = Counter()
    for (_, code), count in of.by_client("opcodes").items():
        opcodes[code] += count
    commands = {w[1]: int(w[2]) for w in words if w[:1] == ["command"]}
    compared = same(commands, {"read(16)": opcodes["136"], "write(16)": opcodes["138"]})
    data = [e for e in of.recorded if e.probe.label in ("data-send", "data-receive")]
    expected = Counter((e.conn.remote, "R" if e.probe.label == "data-send" else "W", str(e.info.datalen)) for e in data)
    same(dict(Counter(tuple(w[1:]) for w in words if w[:1] == ["io"])), dict(expected))
    # All probes of the target fire on one thread, so each xfer-done finds what the last xfer-start left.
    timed = 0
    begun = False
    for event in of.recorded:
        if event.probe.label == "xfer-done":
            timed += begun
            begun = False
        begun |= event.probe.label == "xfer-start"
    return compared + len(data) + same([w[1] for w in words if w[:1] == ["timed"]], [str(timed)])
