"""Portals in groups: each is a target port with an access state of its own (RFC 7143 4.2.7.1, SPC-4 5.15)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support.target import start_target

from iscsitools.initiator import Session

IQN = "iqn.2026-11.example:groups"
READ = bytes.fromhex("28000000000000000100")
TUR = bytes(6)

PORTALS = ("127.0.0.1:0", "127.0.0.1:0,7")
CONFIG = """
[[target]]
iqn = "iqn.2026-11.example:groups"
access = ["7=standby"]
[[target.lun]]
store = "ram:1M"
"""


@pytest.fixture
def target(tmp_path: Path):
    (tmp_path / "target.toml").write_text(CONFIG)
    with start_target(tmp_path, "--config", str(tmp_path / "target.toml"), portals=PORTALS) as running:
        yield running


def connect(target, number: int) -> Session:
    session = Session.connect(target.addresses[number], IQN)
    session.command(TUR)
    return session


def test_each_group_is_told_and_has_its_state(target) -> None:
    with Session.connect(target.addresses[0], discovery=True) as session:
        addresses = [value for key, value in session.send_targets() if key == "TargetAddress"]
    assert [address.rpartition(",")[2] for address in addresses] == ["1", "7"]
    # One initiator port, two target ports: two I_T nexuses, and no reinstatement.
    with connect(target, 0) as first, connect(target, 1) as second:
        assert first.command(READ, read=512).good
        assert second.command(READ, read=512).sense_code == (2, 4, 0x0B)
        inquiry = second.command(bytes.fromhex("12018300ff00"), read=255).data
        assert bytes.fromhex("51940004000000075195000400000007") in inquiry
        data = bytes(4) + struct.pack(">BxHBxH", 2, 1, 0, 7)
        assert second.command(bytes.fromhex("a40a000000000000000c0000"), write=data).good
        assert first.command(TUR).sense_code == (6, 0x2A, 6)
        assert first.command(READ, read=512).sense_code == (2, 4, 0x0B)
        assert second.command(READ, read=512).good


def test_a_group_that_no_portal_is_in(tmp_path: Path) -> None:
    (tmp_path / "target.toml").write_text(CONFIG.replace("7=standby", "8=standby"))
    with pytest.raises(RuntimeError, match=r"target\[0\].access: no portal is in portal group 8"):
        start_target(tmp_path, "--config", str(tmp_path / "target.toml"), portals=PORTALS)
