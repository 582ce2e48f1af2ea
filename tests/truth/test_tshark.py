"""Every PDU that tshark dissects is one event of the right kind, in order, with the same fields."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import Opcode
from iscsitools.probes.table import Probe
from iscsitools.trace import Event, attach

from . import paths, work
from .capture import Capture, WirePdu
from .fields import CONSTANT, FIELDS, NOT_IN_THE_PROBE, OF_THE_TASK
from .kinds import CONFIG, KINDS, LONG, Stream, event_streams


@pytest.fixture(scope="module", params=paths.ALL)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[WirePdu], list[Event]]:
    """Over each data path, the same work as tshark saw it and as the trace told it."""
    directory = tmp_path_factory.mktemp("tshark")
    luns = ", ".join(f'{{ number = {number}, store = "{store}" }}' for number, store in work.LUNS.items())
    config = directory / "target.toml"
    config.write_text(CONFIG.format(target=work.TARGET, luns=luns, **paths.lines(request)))
    with start_target(directory, "--config", str(config), portals=("127.0.0.1:0", "[::1]:0")) as target:
        four, six = target.addresses
        with (
            Capture(directory / "work.pcapng", four[1], six[1]) as capture,
            attach(socket=_watch(target.runtime), ring_size=16 << 20) as trace,
        ):
            _work(target, four, six)
            events = list(trace)
            capture.stop()
            assert trace.drops == 0
    return list(capture.pdus()), events


@pytest.fixture(scope="module")
def both(
    seen: tuple[list[WirePdu], list[Event]],
) -> tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]]:
    """The same by connection and direction."""
    return _streams(iter(seen[0])), event_streams(seen[1])


def _work(target: RunningTarget, four: work.Address, six: work.Address) -> None:
    """Three sessions that agreed on different ways, up to the end of the server, and two logins beside them."""
    with (
        work.connect(four, 1) as plain,
        work.connect(four, 2, MaxRecvDataSegmentLength="512", InitialR2T="Yes", ImmediateData="No") as slow,
        work.connect(six, 3, MaxRecvDataSegmentLength="4096", FirstBurstLength="16384") as other,
    ):
        for session in (plain, slow, other):
            work.all_work(session)
        work.refused_login(four, 4)
        work.long_login(six, 5).logout()
        work.await_ping(plain)
        for session in (slow, other):
            session.nop()  # behind it, a ping has been answered: an answer after the logout is no event
        slow.logout()
        target.process.send_signal(signal.SIGTERM)
        for session in (plain, other):
            work.await_farewell(session)


def _watch(runtime: Path) -> Path:
    (found,) = runtime.rglob("*.watch")
    return found


def _streams(pdus: Iterator[WirePdu]) -> dict[Stream, list[WirePdu]]:
    streams: dict[Stream, list[WirePdu]] = {}
    for pdu in pdus:
        if pdu.sent == bool(pdu.opcode & 0x20):  # else it is the header that a Reject returns: tshark shows it as well
            streams.setdefault((pdu.client, pdu.sent), []).append(pdu)
    return streams


def test_the_work_is_mixed(both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]]) -> None:
    wire, _ = both
    assert len(wire) == 10
    assert {pdu.opcode for pdus in wire.values() for pdu in pdus} == set(KINDS)


def test_exchanges_take_several_pdus(both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]]) -> None:
    unfinished = Counter(
        event.probe for found in both[1].values() for event in found
        if event.probe in LONG and event.info.flags & 0x40
    )  # fmt: skip
    assert unfinished.keys() == LONG
    tags = {event.info.ttt for found in both[1].values() for event in found if event.probe is Probe.TEXT_RESPONSE}
    assert len(tags) > 1


def test_every_pdu_is_one_event_of_its_kind_in_order(
    both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]],
) -> None:
    wire, events = both
    assert wire.keys() == events.keys()
    for stream, pdus in wire.items():
        expected = [KINDS[Opcode(pdu.opcode)] for pdu in pdus]
        assert [event.probe for event in events[stream]] == expected, stream


def test_every_field_is_equal(both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]]) -> None:
    wire, events = both
    compared: Counter[tuple[Probe, str]] = Counter()
    for stream, pdus in wire.items():
        for pdu, event in zip(pdus, events[stream], strict=True):
            for field in pdu.fields:
                assert event.bhs[field.place : field.place + len(field.raw)] == field.raw, (field, event)
                read = FIELDS.get(field.name)
                if read is not None and field.name not in NOT_IN_THE_PROBE.get(event.probe, ()):
                    assert read(event) == field.value, (field, event)
                    compared[event.probe, field.name] += 1
    missed = {probe for probe in KINDS.values() if not any(p is probe for p, _ in compared)}
    assert not missed


def test_every_other_field_is_what_the_specification_says(
    both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]],
) -> None:
    seen: Counter[Probe] = Counter()
    for found in both[1].values():
        for event in found:
            for name, value in CONSTANT.get(event.probe, {}).items():
                assert getattr(event.info, name) == value, (name, event)
                seen[event.probe] += 1
            if event.probe is Probe.DATA_SEND and not event.info.flags & 1:
                assert event.info.statsn == 0
                seen[event.probe] += 1
    assert seen.keys() == CONSTANT.keys() | {Probe.DATA_SEND}


def test_a_tasks_pdus_have_its_lun(both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]]) -> None:
    wire, events = both
    seen = set()
    for client, _ in wire:
        luns = {
            pdu.get("iscsi.initiatortasktag"): (pdu.get("scsi.lun") or 0) & 0x3FFF
            for pdu in wire[client, False] if pdu.opcode == Opcode.SCSI_COMMAND
        }  # fmt: skip
        for event in (*events[client, False], *events[client, True]):
            if event.probe in OF_THE_TASK:
                assert event.info.lun == luns[event.info.itt], event
                seen.add((event.probe, event.info.lun))
    assert seen >= {(probe, work.LARGE) for probe in OF_THE_TASK}


def test_connections_are_named(both: tuple[dict[Stream, list[WirePdu]], dict[Stream, list[Event]]]) -> None:
    wire, events = both
    for (client, sent), pdus in wire.items():
        logins = [pdu for pdu in pdus if pdu.get("iscsi.isid") is not None]
        for event in events[client, sent]:
            assert int(event.conn.isid, 16) == logins[0].get("iscsi.isid")
            assert event.conn.protocol == ("ipv6" if client.startswith("[") else "ipv4")


def test_events_come_in_the_order_of_their_times(seen: tuple[list[WirePdu], list[Event]]) -> None:
    times = [event.time for event in seen[1]]
    assert times == sorted(times)


def test_no_number_is_left_out_and_none_comes_again(
    seen: tuple[list[WirePdu], list[Event]], request: pytest.FixtureRequest
) -> None:
    numbers = Counter(event.sequence for event in seen[1])
    rings = 1 + paths.THREADS if "[threads]" in request.node.name else 1  # each ring counts for itself
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert max(numbers.values()) <= rings
