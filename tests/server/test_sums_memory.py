"""What sums keep for commands that never end is in the account of memory, and out of it again."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsitools.initiator import Opcode, Session, make_bhs
from iscsitools.trace import Sums
from iscsitools.trace.sums.arrivals import MAX_STARTS
from server.harness import Running, eventually, one_target, running

COMMANDS = 12000
LOUD = "iqn.2026-11.example:loud"
LEAST = 40
"""Bytes that the leanest way to keep one takes."""
NATIVE = importlib.util.find_spec("iscsitools.datapath._native") is not None
PATHS = [pytest.param("native", marks=pytest.mark.skipif(not NATIVE, reason="the C data path is not built")), "python"]


@pytest.fixture(params=PATHS)
def server(request, tmp_path: Path) -> Iterator[Running]:
    more = f'data_path = "{request.param}"\n'
    with running(tmp_path, one_target("ram:1M", limits="data_out_timeout = 0.2", more=more)) as found:
        yield found


def ignored(session: Session) -> bytes:
    """Commands outside of the window, which nobody answers (RFC 7143 4.2.2.1)."""
    far = session.cmd_sn + 100_000
    return b"".join(
        make_bhs(Opcode.SCSI_COMMAND, flags=0x81, itt=itt, cmd_sn=far + itt, cdb=bytes(16)) for itt in range(COMMANDS)
    )


@pytest.mark.parametrize("first", ["connection", "reader"])
def test_commands_without_end_are_counted_and_given_back(server, first):
    """Two rounds: each is counted while it lasts, bounded, and leaves the account as it was."""
    assert server.server.trace is not None
    quiet = server.connect(name="quiet")
    before = server.reserved, dict(server.server.buffers.by_owner)
    for _ in range(2):
        with Sums(socket=server.server.trace.paths.watch):
            session = server.connect(name=LOUD.rpartition(":")[2])
            session.wire.sock.sendall(ignored(session))
            session.wire.sock.sendall(make_bhs(Opcode.NOP_OUT, immediate=True, flags=0x80, itt=1, ttt=0xFFFFFFFF))
            eventually(lambda: server.server.buffers.by_owner.get(LOUD, 0) >= MAX_STARTS * LEAST, "what is held")
            assert server.reserved <= before[0] + (MAX_STARTS + 256) * 400
            if first == "connection":
                session.close()
                eventually(lambda: server.reserved == before[0], "the account as it was")
        eventually(lambda: server.reserved == before[0], "the account as it was")
        assert server.server.buffers.by_owner == before[1]
        session.close()
    quiet.close()
