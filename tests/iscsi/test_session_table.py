"""The table of sessions: TSIHs, bounds, and who is found by what (RFC 7143 11.12.6, 6.3.5)."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from iscsitools.iscsi.session.table import SessionTable
from iscsitools.scsi.core.nexus import Nexus


def session(table, tsih, initiator="a", isid=b"123456", target="t", group=3, ident=None, nexus=True):
    node = SimpleNamespace(name=target) if target else None
    at = Nexus(initiator, f"{initiator},i,0x00", group) if nexus else None
    found = SimpleNamespace(
        ident=ident or table.opened + 1, initiator=initiator, isid=isid, tsih=tsih, target=node, nexus=at
    )
    table.add(found)
    return found


def test_found_by_tsih_number_and_port():
    table = SessionTable()
    one, two = session(table, 5, isid=b"1", ident=11), session(table, 6, isid=b"2", ident=12)
    assert (len(table), list(table), table.opened) == (2, [one, two], 2)
    assert (table.by_tsih(5), table.by_tsih(6), table.by_tsih(7)) == (one, two, None)
    assert (table.by_ident(11), table.by_ident(12), table.by_ident(13)) == (one, two, None)
    assert table.find("a", b"1", "t", 3) is one
    assert [table.find(*port) for port in (("b", b"1", "t", 3), ("a", b"3", "t", 3), ("a", b"1", "u", 3))] == [None] * 3
    assert table.find("a", b"1", "t", 1) is None
    table.remove(one)
    table.remove(one)
    assert (list(table), table.find("a", b"1", "t", 3), table.opened) == ([two], None, 2)


def test_without_a_nexus_the_group_is_1():
    table = SessionTable()
    one = session(table, 1, nexus=False)
    assert [table.find("a", b"123456", "t", group) for group in (0, 1, 2)] == [None, one, None]


def test_discovery_sessions_are_at_no_port():
    table = SessionTable()
    one = session(table, 1, target="")
    assert list(table) == [one]
    table.remove(one)
    assert list(table) == []


def test_the_bound_of_all():
    table = SessionTable(2)
    assert table.opened == 0
    kept = [session(table, table.allocate("a"), isid=bytes([n])) for n in range(2)]
    assert table.allocate("b") is None
    assert table.allocate("b", replaces=True) == 3
    table.remove(kept[0])
    assert table.allocate("b") == 4


def test_the_bound_of_one_initiator_and_what_is_kept_free():
    table = SessionTable(4, per_initiator=2)
    first = [session(table, n, "a", bytes([n])) for n in (1, 2)]
    assert table.allocate("a") is None
    assert table.allocate("b") is not None
    table.remove(first[0])
    assert table.allocate("a") is not None
    table.remove(first[1])
    table.change(3, 0, 1)
    for n in (1, 2):
        assert table.allocate("a") is not None
        session(table, n, "a", bytes([n]))
    assert table.allocate("a") is None  # the last one is for somebody new
    assert table.allocate("b") is not None


@pytest.mark.parametrize("before", [0xFFFE, 0xFFFF])
def test_tsihs_go_round_and_0_is_none(before):
    table = SessionTable()
    table.last = before
    assert table.allocate("a") == (0xFFFF if before == 0xFFFE else 1)
    session(table, 1)
    table.last = 0xFFFF
    assert table.allocate("a") == 2


def test_never_more_sessions_than_tsihs():
    table = SessionTable(1 << 20)
    assert table.limit == 0xFFFF
    everybody = SimpleNamespace(initiator="a", target=None)
    table._by_tsih = dict.fromkeys(range(1, 0xFFFF), everybody)  # type: ignore[arg-type]
    assert table.allocate("a") == 0xFFFF
    table._by_tsih[0xFFFF] = everybody  # type: ignore[assignment]
    assert table.allocate("a") is None
    assert table.allocate("a", replaces=True) is None


def test_initiators_that_left_leave_nothing():
    table = SessionTable()
    table.last, table.opened = 1, 7000
    before = pickle.dumps(table)
    for n in range(100):
        table.remove(session(table, 1, initiator=f"initiator {n}"))
    table.opened = 7000
    assert pickle.dumps(table) == before


def test_who_keeps_a_session_has_it_counted():
    table = SessionTable(10, 1)
    one, _ = session(table, 1, isid=b"1"), session(table, 2, isid=b"2")
    table.remove(one)
    assert table.allocate("a") is None
