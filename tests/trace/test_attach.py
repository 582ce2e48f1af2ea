"""Events reach a reader, by the ring and by the socket, whole and in order."""

from __future__ import annotations

import pytest
from support.native import needs_native

from iscsitools import trace
from iscsitools.probes.subscribers import Xfer
from iscsitools.probes.table import ALL_MASK, Probe
from iscsitools.trace import memory
from iscsitools.trace.events import Event

from .support import READ10, Host, bhs, connection, fire_read, fire_write


def read_events(source: trace.Trace, count: int) -> list[Event]:
    """The next ``count`` events; fewer when the stream ends or stands still for 30 s."""
    found: list[Event] = []
    while len(found) < count and not source.ended:
        batch = source.poll(30)
        if not batch:
            break
        found += batch
    return found


@pytest.fixture(params=["ring", "ring with barriers", "socket"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the events come; with barriers as on a processor that reorders stores."""
    if request.param == "ring with barriers":
        needs_native()
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        assert isinstance(memory.words_of(memoryview(bytearray(8))), memory.FencedWords)
    return str(request.param).split()[0]


def test_without_barriers_there_is_no_ring_where_stores_are_reordered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(memory, "_native_fence", lambda: None)
    assert "aarch64 may reorder stores" in memory.why_no_rings()


def test_nothing_is_enabled_before_and_after(host: Host, mode: str) -> None:
    assert host.call(lambda: host.probes.mask) == 0
    with trace.attach(mode=mode):
        assert host.call(lambda: host.probes.mask) == ALL_MASK
    host.wait_until(lambda: host.probes.mask == 0)
    assert host.call(lambda: host.server.memory) == 0


def test_fields_of_a_read(host: Host, mode: str) -> None:
    conn = connection()
    with trace.attach(mode=mode) as source:
        host.call(lambda: fire_read(host.probes, conn, itt=0xABCD, lun=5))
        command, start, data, done = read_events(source, 4)
    assert [e.sequence for e in (command, start, data, done)] == [1, 2, 3, 4]
    assert command.time <= start.time <= data.time <= done.time
    assert command.probe is Probe.SCSI_COMMAND
    assert command.cdb == READ10[:10]
    assert command.cdb_length == 10
    assert (command.info.lun, command.info.itt, command.info.cmdsn, command.info.statsn) == (5, 0xABCD, 11, 22)
    assert command.bhs == bhs(0x01, 0xC0, 0xABCD, word20=4096, cdb=READ10)
    assert command.conn.remote == "192.0.2.7:50000"
    assert start.probe is Probe.XFER_START
    assert start.xfer == Xfer(0xABCD, 0xFFFFFFFF, 4096, 0, 4096, 0)
    assert (start.info.lun, start.info.itt, start.bhs) == (5, 0xABCD, b"")
    assert data.probe is Probe.DATA_SEND
    assert (data.info.flags, data.info.datalen) == (0x81, 4096)
    assert done.probe is Probe.XFER_DONE


def test_long_cdb_keeps_its_first_32_bytes_and_its_length(host: Host, mode: str) -> None:
    cdb = bytes([0x7F, *range(1, 48)])
    with trace.attach(mode=mode) as source:
        host.call(lambda: host.probes.pdu(Probe.SCSI_COMMAND, connection(), 0, bhs(1, cdb=cdb), 0, cdb))
        host.call(lambda: host.probes.pdu(Probe.SCSI_COMMAND, connection(), 0, bhs(1, cdb=READ10), 0, READ10[:10]))
        long, short = read_events(source, 2)
    assert (long.cdb, long.cdb_length) == (cdb[:32], 48)
    assert (short.cdb, short.cdb_length) == (READ10[:10], 10)


def test_sense_and_odd_luns_are_kept(host: Host, mode: str) -> None:
    with trace.attach(mode=mode) as source:
        header = memoryview(bytearray(8) + bhs(0x21, status=2))
        lun = 0xC101 << 48  # a well known unit: all 64 bits count
        host.call(lambda: host.probes.pdu(Probe.SCSI_RESPONSE, connection(), lun, header, 8, b"", 0x052400))
        (event,) = read_events(source, 1)
    assert (event.sense, event.info.lun, event.bhs[3]) == (0x052400, lun, 2)


def test_new_strings_belong_to_the_events_after_them(host: Host, mode: str) -> None:
    conn = connection(target="")
    with trace.attach(mode=mode) as source:

        def log_in() -> None:
            host.probes.pdu(Probe.LOGIN_COMMAND, conn, 0, bhs(0x43))
            conn.target = "iqn.2026-11.example:b"
            conn.generation += 1
            host.probes.pdu(Probe.LOGIN_RESPONSE, conn, 0, bhs(0x23))

        host.call(log_in)
        before, after = read_events(source, 2)
    assert (before.conn.target, after.conn.target) == ("", "iqn.2026-11.example:b")


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ({"client": "192.0.2.7"}, {1, 3}),
        ({"client": "192.0.2.7:50000"}, {1}),
        ({"client": "iqn.2026-11.example:host2"}, {2}),
        ({"client": "2001:db8::7"}, {2}),
        ({"client": "[2001:db8::7]"}, {2}),
        ({"target": "iqn.2026-11.example:b"}, {3}),
        ({"lun": 4}, {1, 2, 3}),
        ({"lun": 5}, set()),
    ],
)
def test_filters(host: Host, mode: str, wanted: dict[str, object], seen: set[int]) -> None:
    conns = [
        connection(1),
        connection(2, "[2001:db8::7]:50000"),
        connection(3, "192.0.2.7:50001", "iqn.2026-11.example:b"),
    ]
    with trace.attach(mode=mode, **wanted) as source, trace.attach() as everything:  # type: ignore[arg-type]
        for conn in conns:
            host.call(lambda conn=conn: fire_read(host.probes, conn, lun=4))
            host.call(lambda conn=conn: host.probes.pdu(Probe.NOP_RECEIVE, conn, 0, bhs(0)))
        assert len(read_events(everything, 15)) == 15
        each = 4 if "lun" in wanted else 5
        events = read_events(source, each * len(seen))
        host.call(host.server.close)
        events += read_events(source, 1)
    assert {e.conn.ident for e in events} == seen
    assert len(events) == each * len(seen)


def test_only_the_wanted_probes_are_enabled(host: Host, mode: str) -> None:
    with trace.attach(mode=mode, probes=["nop-send", "scsi-response"]) as source:
        assert host.call(lambda: host.probes.mask) == 1 << Probe.NOP_SEND | 1 << Probe.SCSI_RESPONSE
        with trace.attach(mode=mode) as everything:
            host.call(lambda: fire_write(host.probes, connection()))
            assert len(read_events(everything, 8)) == 8
        (event,) = read_events(source, 1)
    assert event.probe is Probe.SCSI_RESPONSE


def test_a_connections_end_is_told_after_its_last_event(host: Host, mode: str) -> None:
    conn = connection()
    with trace.attach(mode=mode) as source:
        host.call(lambda: fire_read(host.probes, conn))
        host.call(lambda: host.server.connection_closed(conn.ident))
        host.call(lambda: fire_read(host.probes, connection(2)))
        closed: list[int] = []
        events: list[Event] = []
        while len(events) < 8:
            events += source.poll(30)
            closed += source.take_closed()
    assert closed == [1]
    assert [e.conn.ident for e in events] == [1] * 4 + [2] * 4


def test_a_reader_of_events_keeps_nothing_of_closed_connections(host: Host, mode: str) -> None:
    with trace.attach(mode=mode) as source:
        for ident in range(1, 101):
            host.call(lambda ident=ident: fire_read(host.probes, connection(ident)))
            host.call(lambda ident=ident: host.server.connection_closed(ident))
            assert {event.conn.ident for event in source.poll(60)} == {ident}
        assert len(source.names) < 10
        assert len(source.take_strings()) < 10
        assert len(source.take_closed()) < 10


def test_a_reader_sees_everything_until_the_server_ends(host: Host, mode: str) -> None:
    conn = connection()
    count = 2000 if mode == "ring" else 100  # what the socket can hold, when nobody reads it yet
    with trace.attach(mode=mode) as source:
        host.call(lambda: [fire_read(host.probes, conn, itt) for itt in range(count)])
        host.close()
        events = list(source)
    assert [e.info.itt for e in events] == [itt for itt in range(count) for _ in range(4)]
    assert source.drops == 0


def test_a_full_ring_counts_drops(host: Host) -> None:
    conn = connection()
    with trace.attach(ring_size=512 * 128, mode="ring") as source:
        host.call(lambda: [fire_read(host.probes, conn, itt) for itt in range(200)])
        events = read_events(source, 512)
        assert source.drops == 800 - 512
        host.call(lambda: fire_read(host.probes, conn, 999))
        more = read_events(source, 4)
    assert [e.info.itt for e in events] == [n // 4 for n in range(512)]
    assert [e.info.itt for e in more] == [999] * 4
    assert [e.sequence for e in more] == [513, 514, 515, 516]


def test_a_full_buffer_of_the_server_counts_drops(host: Host) -> None:
    conn = connection()
    with trace.attach(ring_size=512 * 128, mode="socket") as source:
        host.call(lambda: [fire_read(host.probes, conn, itt) for itt in range(200)])
        events = read_events(source, 512)
        host.call(lambda: fire_read(host.probes, conn, 999))
        more = read_events(source, 4)
    assert len(events) == 512
    assert source.drops == 800 - 512
    assert [e.info.itt for e in more] == [999] * 4


def test_two_readers_each_get_their_own(host: Host) -> None:
    with trace.attach(probes=["scsi-command"]) as one, trace.attach(probes=["data-send"], mode="socket") as other:
        host.call(lambda: fire_read(host.probes, connection()))
        assert [e.probe for e in read_events(one, 1)] == [Probe.SCSI_COMMAND]
        assert [e.probe for e in read_events(other, 1)] == [Probe.DATA_SEND]


def test_many_times_round_the_ring(host: Host) -> None:
    conn = connection()
    seen = 0
    with trace.attach(ring_size=512 * 128, mode="ring") as source:
        for _ in range(40):
            host.call(lambda: [fire_read(host.probes, conn, itt) for itt in range(100)])
            events = read_events(source, 400)
            assert [e.sequence for e in events] == list(range(seen + 1, seen + 401))
            assert [e.info.itt for e in events] == [n // 4 for n in range(400)]
            seen += 400
    assert source.drops == 0
