"""Which event ends which command, and what its latency is made of."""

from __future__ import annotations

import pytest

from iscsitools.probes.firing import XFER_READ, XFER_WRITE
from iscsitools.trace.views.command_tracker import CommandTracker
from iscsitools.trace.views.observed_command import ObservedCommand

from .traffic import Script, connection

READ = bytes.fromhex("28000000000000000800")


def ended(script: Script, **options: bool) -> list[ObservedCommand]:
    tracker = CommandTracker(**options)
    return [command for event in script.events() for command in tracker.feed(event)]


def test_a_read_ends_with_the_data_send_that_has_the_s_bit() -> None:
    script = Script()
    script.read(connection(1), 16, pdus=2, backstore=70_000, sending=500_000)
    (command,) = ended(script)
    # 1 us for the command, 70 in the backstore, then xfer-start and the first Data-In
    assert (command.latency, command.data_in, command.failed) == (73_000, 8192, False)


def test_a_write_ends_with_its_response() -> None:
    script = Script()
    script.write(connection(1), immediate=False)
    (command,) = ended(script)
    assert (command.operation, command.data_out, command.end) == ("write", 4096, script.now - 1000)


def test_an_end_without_a_start_does_not_count() -> None:
    script = Script()
    script.respond(connection(1), 7)
    script.data_in(connection(1), 8, 512, last=True)
    assert ended(script) == []


def test_the_same_itt_on_two_connections_is_two_commands() -> None:
    script = Script()
    one, two = connection(1), connection(2, "192.0.2.8:1")
    script.command(one, READ, 5, flags=0x40)
    script.wait(10_000)
    script.command(two, READ, 5, flags=0x40)
    script.respond(two, 5)
    script.respond(one, 5)
    assert [c.latency for c in ended(script)] == [1000, 13_000]


def test_an_itt_that_is_used_again_while_open_forgets_the_first_start() -> None:
    script = Script()
    script.command(connection(1), READ, 5, flags=0x40)
    script.wait(5_000_000)
    script.command(connection(1), READ, 5, flags=0x40)
    script.respond(connection(1), 5)
    assert [c.latency for c in ended(script)] == [1000]


@pytest.mark.parametrize(
    ("function", "referenced", "lun", "gone"),
    [
        (1, 1, 0, {1}),  # ABORT TASK: of this session, by its tag
        (2, 0, 0, {1}),  # ABORT TASK SET: of this session, on this LUN
        (4, 0, 0, {1, 3}),  # CLEAR TASK SET: of all sessions, on this LUN
        (5, 0, 1, {2}),  # LOGICAL UNIT RESET
        (6, 0, 0, {1, 2, 3}),  # TARGET WARM RESET
        (7, 0, 0, {1, 2, 3}),
        (8, 1, 0, set()),  # TASK REASSIGN ends none
    ],
)
def test_management_ends_the_tasks_that_it_names(function: int, referenced: int, lun: int, gone: set[int]) -> None:
    script = Script()
    one, other = connection(1), connection(2, "192.0.2.8:1", "0x0002", "iqn.2026-11.example:b")
    script.command(one, READ, 1, flags=0x40)
    script.command(one, READ, 2, lun=1, flags=0x40)
    script.command(other, READ, 3, flags=0x40)
    script.manage(one, function, itt=9, referenced=referenced, lun=lun)
    script.managed(one, 9)
    assert {c.itt for c in ended(script) if c.aborted} == gone


def test_management_that_was_refused_ends_nothing() -> None:
    script = Script()
    script.command(connection(1), READ, 1, flags=0x40)
    script.manage(connection(1), 1, itt=9, referenced=1)
    script.managed(connection(1), 9, response=5)
    script.respond(connection(1), 1)
    assert [(c.itt, c.aborted) for c in ended(script)] == [(1, False)]


def test_management_of_another_target_ends_nothing_here() -> None:
    script = Script()
    elsewhere = connection(2, tsih="0x0002", target="iqn.2026-11.example:other")
    script.command(connection(1), READ, 1, flags=0x40)
    script.manage(elsewhere, 6, itt=9, referenced=0)
    script.managed(elsewhere, 9)
    assert ended(script) == []


def test_a_logout_ends_the_commands_of_its_connection() -> None:
    script = Script()
    script.command(connection(1), READ, 1, flags=0x40)
    script.command(connection(2, tsih="0x0002"), READ, 1, flags=0x40)
    script.logout(connection(1))
    assert [(c.conn.ident, c.aborted) for c in ended(script)] == [(1, True)]


def test_a_login_that_reinstates_the_session_ends_the_old_ones_commands() -> None:
    script = Script()
    script.command(connection(1, tsih="0x0001"), READ, 1, flags=0x40)
    script.login(connection(2, tsih="0x0002"))
    script.command(connection(2, tsih="0x0002"), READ, 1, flags=0x40)
    script.respond(connection(2, tsih="0x0002"), 1)
    assert [(c.conn.ident, c.aborted) for c in ended(script)] == [(1, True), (2, False)]


def test_a_lost_connection_ends_its_commands_and_no_others() -> None:
    script = Script()
    lost, other = connection(1), connection(2, remote="192.0.2.8:40001", tsih="0x0002")
    script.command(lost, READ, 7)
    script.command(other, READ, 7)
    tracker = CommandTracker()
    for event in script.events():
        tracker.feed(event)
    (ended,) = tracker.closed(1)
    assert (ended.conn.ident, ended.aborted, ended.failed) == (1, True, True)
    assert ended.end == script.calls[-1].time
    assert [command.conn.ident for command in tracker.in_flight] == [2]
    assert not tracker.closed(1)


def test_a_second_connection_of_a_session_ends_nothing() -> None:
    script = Script()
    script.command(connection(1), READ, 1, flags=0x40)
    script.login(connection(2, "192.0.2.7:40002"))
    script.respond(connection(1), 1)
    assert [c.aborted for c in ended(script)] == [False]


def test_a_failed_command_says_how() -> None:
    script = Script()
    script.fail(connection(1))
    (command,) = ended(script)
    assert (command.failed, command.status, command.sense) == (True, 2, 0x031100)


def test_condition_met_is_no_failure() -> None:
    script = Script()
    script.command(connection(1), READ, 1)
    script.respond(connection(1), 1, status=0x04)
    assert [c.failed for c in ended(script)] == [False]


def test_phases_of_a_read_whose_client_reads_slowly() -> None:
    script = Script()
    script.read(connection(1), backstore=50_000, sending=900_000)
    (command,) = ended(script, settle=True)
    assert (command.backstore, command.waiting, command.sending) == (51_000, 0, 902_000)
    assert command.total == 953_000


def test_phases_of_a_solicited_write() -> None:
    script = Script()
    script.write(connection(1), immediate=False, waiting=300_000, backstore=40_000)
    (command,) = ended(script, settle=True)
    # command and R2T before the transfer, one microsecond each; the transfer's own three events; then the backstore
    assert (command.backstore, command.waiting, command.sending) == (43_000, 303_000, 0)


def test_overlapping_transfers_count_their_time_once() -> None:
    script = Script()
    conn = connection(1)
    script.command(conn, READ, 1, flags=0x20)
    for done in (False, False, True, True):
        script.transfer(conn, 1, 512, XFER_WRITE, done=done)
        script.wait(9_000)
    script.respond(conn, 1)
    (command,) = ended(script, settle=True)
    assert command.waiting == 30_000
    assert command.backstore + command.waiting == command.total


def test_a_transfer_whose_start_was_not_seen_is_left_out() -> None:
    script = Script()
    conn = connection(1)
    script.command(conn, READ, 1, flags=0x40)
    script.transfer(conn, 1, 512, XFER_READ, done=True)
    script.respond(conn, 1)
    (command,) = ended(script, settle=True)
    assert (command.sending, command.open_transfers) == (0, 0)


def test_a_write_with_the_tag_of_a_read_that_has_not_left_waits_for_its_own_data() -> None:
    script = Script()
    conn = connection(1)
    script.command(conn, READ, 1, flags=0x20)
    script.transfer(conn, 1, 512, XFER_WRITE, done=False)
    script.wait(9_000)
    script.transfer(conn, 1, 512, XFER_READ, done=True)  # of the command before
    script.wait(9_000)
    script.transfer(conn, 1, 512, XFER_WRITE, done=True)
    script.respond(conn, 1)
    (command,) = ended(script, settle=True)
    assert (command.waiting, command.sending) == (20_000, 0)


def test_kept_events_are_the_commands_own() -> None:
    script = Script()
    script.write(connection(1), immediate=False)
    (command,) = ended(script, keep_events=True, settle=True)
    assert [e.probe.label for e in command.events] == [
        "scsi-command", "data-request", "xfer-start", "data-receive", "data-receive", "xfer-done", "scsi-response",
    ]  # fmt: skip
