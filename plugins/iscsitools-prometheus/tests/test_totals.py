"""What is told apart has a bound, whatever initiators call themselves; what is counted is not lost in it."""

from __future__ import annotations

from iscsitools.lifecycle import LoginNotice, LunNotice, SessionNotice
from iscsitools.trace import CommandRow, ConnectionStrings
from iscsitools.trace.sums import histogram

from iscsitools_prometheus.families import BOUNDS, families, reached_of, status_text
from iscsitools_prometheus.totals import Durations, Totals, Unit, operation_of

TARGET = "iqn.2026-11.example:t"
STATUS = {"started": 1.0, "connections": 1, "in_flight": [], "limits": {}, "drops": {}, "loop_cpu": 1.0, "cpu": 2.0}


def row(initiator: str, lun: int = 0, opcode: int | None = 0x28, **counts: object) -> CommandRow:
    conn = ConnectionStrings(1, "l:1", "r:1", "ipv4", TARGET, initiator, "0" * 12, "0x0001", "sockets")
    fields = dict.fromkeys(("commands", "ended", "latency", "maximum", "failed", "in_pdus", "in_bytes", "out_pdus",
                            "out_bytes"), 0) | counts  # fmt: skip
    return CommandRow(conn, lun, opcode, None, True, False, **fields)  # type: ignore[arg-type]


def totals(most: int = 3) -> Totals:
    found = Totals(most)
    found.lun_added(LunNotice(TARGET, 0, "ram", 8, 512))
    return found


def test_initiators_beyond_the_bound_are_one() -> None:
    found = totals(3)
    for name in "abc":
        found.session_opened(SessionNotice(TARGET, name, "", 1, ""))
    found.add([row(name, commands=1) for name in "abcdefabc"])
    assert {unit.initiator: group.commands["read"] for unit, group in found.groups.items()} == {
        "other": 3, "a": 2, "b": 2, "c": 2,
    }  # fmt: skip


def test_the_one_idle_for_longest_makes_room_and_none_that_is_logged_in() -> None:
    found = totals(3)
    found.session_opened(SessionNotice(TARGET, "a", "", 1, ""))
    found.add([row("a", commands=1), row("b", commands=1), row("c", commands=1), row("b", commands=1)])
    found.add([row("d", commands=1)])
    assert [unit.initiator for unit in found.groups] == ["a", "b", "d"]
    found.session_closed(SessionNotice(TARGET, "a", "", 1, ""))
    offered: list[None] = []
    found.add([row("e", commands=1)], lambda: offered.append(None))
    assert len(offered) == 1, "a pause after each row"
    assert [unit.initiator for unit in found.groups] == ["b", "d", "e"]
    assert found.sessions == {}


def test_asking_whose_something_is_changes_nothing() -> None:
    found = totals(2)
    found.add([row("a", commands=1), row("b", commands=1)])
    assert found.unit_of("c", TARGET, 0) == Unit("other", TARGET, "0")
    assert [unit.initiator for unit in found.groups] == ["a", "b"]


def test_units_that_are_not_served_are_one() -> None:
    found = totals()
    found.add([row("a", lun=number, opcode=0x12, commands=1) for number in range(5)])
    assert {unit.lun: group.commands["other"] for unit, group in found.groups.items()} == {"0": 1, "other": 4}


def test_errors_have_a_bound_too() -> None:
    found = totals()
    found.add([row("a", errors={0x02_03_11_00 + number: 1 for number in range(1000)})])
    group = found.groups[Unit("a", TARGET, "0")]
    assert len(group.errors) <= 65
    assert sum(group.errors.values()) == 1000


def test_what_is_a_read_and_what_a_write() -> None:
    assert [operation_of(row("a", opcode=code)) for code in (0x08, 0x28, 0x88, 0xA8)] == ["read"] * 4
    assert [operation_of(row("a", opcode=code)) for code in (0x0A, 0x2A, 0x8A, 0xAA)] == ["write"] * 4
    assert [operation_of(row("a", opcode=code)) for code in (0x42, 0x35, None, 0)] == ["other"] * 4


def test_the_bounds_are_exact() -> None:
    values = [1, 16383, 16384, 16385, 1 << 20, (1 << 33) - 1, 1 << 33, 1 << 40]
    durations = Durations(len(values), 1.0, histogram.count(values))
    assert reached_of(durations) == [(bound / 1e9, sum(v < bound for v in values)) for bound in BOUNDS]


def test_statuses_have_names() -> None:
    assert status_text(0x02) == "CHECK CONDITION"
    assert status_text(0x0100) == "response 0x01"
    found = totals()
    found.login_failed(LoginNotice("anybody", TARGET, "", 0x0201, ""))
    found.login_failed(LoginNotice("anybody", TARGET, "", 0x02FF, ""))
    (failed,) = [f for f in families(found, STATUS, "n", 0.0, 0) if f.name == "iscsi_logins_failed"]
    values = {sample.labels["status"]: sample.value for sample in failed.samples}
    assert (values["authentication failure"], values["0x02ff"], values["not found"]) == (1, 1, 0)
    assert "success" not in values
