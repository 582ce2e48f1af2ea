"""Access states that are changed while a server runs: what initiators at each port see, and when."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import iscsitools as iscsitools
from server.harness import IQN, TEST_UNIT_READY, Running, eventually, running

from iscsitools.control import Control, ControlError
from iscsitools.initiator import Session

Run = Callable[..., Any]
READ = bytes.fromhex("28000000000000000100")
REPORT = bytes.fromhex("a30a00000000000001000000")
CHANGED, TRANSITION, STANDBY = (6, 0x2A, 6), (2, 4, 0x0A), (2, 4, 0x0B)
TWO_GROUPS = f"""
name = "two"
portals = ["127.0.0.1:0", "127.0.0.1:0,2"]
[[target]]
iqn = "{IQN}"
access = ["2=standby"]
lun = [{{ store = "ram:1M" }}]
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, TWO_GROUPS) as server:
        yield server


def connect(served: Running, number: int) -> Session:
    session = Session.connect(served.addresses[number], IQN)
    session.command(TEST_UNIT_READY)
    return session


def states(session: Session) -> list[tuple[int, int]]:
    data = session.command(REPORT, read=256).data
    return [struct.unpack_from(">B4xB", data, at) for at in range(4, len(data), 12)]


def test_states_are_listed_and_set(served: Running, iscsitools: Run) -> None:
    with connect(served, 0) as one, connect(served, 1) as two:
        listed = [line.split() for line in iscsitools("alua", "list").out.splitlines()]
        assert [IQN, "0", "1", "optimized", "none"] in listed
        assert [IQN, "0", "2", "standby", "none"] in listed
        result = iscsitools("alua", "set", IQN, "1=standby", "2=optimized")
        assert result.status == 0
        assert f"portal group 1 of {IQN} goes to standby" in result.out
        for session in (one, two):
            assert session.command(TEST_UNIT_READY).sense_code == CHANGED
        assert one.command(READ, read=512).sense_code == STANDBY
        assert two.command(READ, read=512).good
        assert states(two) == [(2, 2), (0, 2)]
        found = json.loads(iscsitools("alua", "list", "--json").out)
        assert found[0] == {"target": IQN, "lun": 0, "group": 1, "state": "standby", "by": "target"}
        assert 'access = ["1=standby", "2=optimized"]' in iscsitools("get").out


def test_a_change_may_take_its_time(served: Running) -> None:
    with Control("two") as control, connect(served, 0) as one, connect(served, 1) as two:
        control.set_access(IQN, "2=optimized", transition=3600)
        for session in (one, two):
            assert session.command(TEST_UNIT_READY).sense_code == CHANGED
        assert one.command(READ, read=512).good
        assert two.command(READ, read=512).sense_code == TRANSITION
        assert two.command(bytes.fromhex("120000002400"), read=36).good
        assert states(two) == [(0, 0), (0xF, 2)]
        data = bytes(4) + struct.pack(">BxH", 1, 2)
        assert two.command(bytes.fromhex("a40a00000000000000080000"), write=data).good
        assert two.command(READ, read=512).sense_code == TRANSITION, "what an initiator asks for takes as long"
        control.set_access(IQN, "2=non-optimized", transition=0.01)
        control.set_access(IQN, "1=unavailable", transition=0.01)

        def arrived() -> bool:
            one.command(TEST_UNIT_READY)
            return states(one) == [(3, 2), (1, 2)]

        eventually(arrived, "the end of the transition")


@pytest.mark.parametrize("state", ["3=standby", "2=transitioning", "2"])
def test_what_there_is_not_cannot_be_set(served: Running, state: str) -> None:
    with Control("two") as control, pytest.raises(ControlError):
        control.set_access(IQN, state)
    with connect(served, 1) as two:
        assert states(two) == [(0, 0), (2, 0)]
