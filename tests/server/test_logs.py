"""Log lines of a running server: fields, one line each, nothing that a peer can forge."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import ConnectionClosedError, LoginError, ProtocolError, Session

from .harness import IQN, TEST_UNIT_READY

EVIL = [
    'iqn.x remote=192.0.2.1:9 reason="all is well"',
    "iqn.x\n2026-01-01T00:00:00 error forged line",
    "iqn.x\x1b[2J\x07",
    "iqn.x\u2028next\u202eline",
    'iqn.x","level":"error',
    "iqn.x=y",
    "x" * 224,
]


def serve(folder: Path, style: str) -> RunningTarget:
    return start_target(
        folder, "--iqn", IQN, "--lun", "ram:1M", "--provider", "none", "--log-format", style, "--log-level", "debug"
    )


def provoke(target: RunningTarget) -> None:
    """One good session, then every odd name as initiator and as target, then bytes that are no login."""
    address = target.addresses[0]
    with Session.connect(address, IQN, initiator="iqn.2026-11.example:good") as session:
        session.command(TEST_UNIT_READY)
        session.logout()
    for name in EVIL:
        for names in ({"target": IQN, "initiator": name}, {"target": name, "initiator": "iqn.2026-11.example:b"}):
            with contextlib.suppress(LoginError, ConnectionClosedError, ProtocolError):
                Session.connect(address, **names).close()
    with Session(address) as stranger:
        stranger.wire.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100))
        with pytest.raises(ConnectionClosedError):
            stranger.recv_pdu()


def test_json_lines_have_fields(tmp_path: Path) -> None:
    target = serve(tmp_path, "json")
    provoke(target)
    output = target.stop()
    records: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    opened = next(r for r in records if r["message"] == "session opened")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", opened.pop("remote"))
    assert opened.pop("time")
    assert opened == {
        "level": "info",
        "logger": "iscsitools.server.session_notices",
        "message": "session opened",
        "initiator": "iqn.2026-11.example:good",
        "target": IQN,
        "tsih": "0x0001",
    }
    closed = next(r for r in records if r["message"] == "connection closed")
    assert closed["reason"] == "logged out"
    failed = [r for r in records if r["message"] == "login failed"]
    assert {"remote", "initiator", "target", "status", "reason"} <= set(failed[0])
    assert {r["status"] for r in failed} <= {"0200", "0203"}
    assert len(failed) >= 2 * len(EVIL) - 2
    assert not [r for r in records if "traceback" in r or r["level"] in ("error", "critical")]
    assert all(str(value).isprintable() for r in records for value in r.values())


def test_text_lines_cannot_be_forged(tmp_path: Path) -> None:
    target = serve(tmp_path, "text")
    provoke(target)
    output = target.stop()
    assert "Traceback" not in output
    lines = [line for line in output.split("\n")[1:] if " iscsitools.server" in line or "forged" in line]
    shape = re.compile(r'\S+ (debug|info|warning) iscsitools\.\S+ [^="]+(?: [a-z_]+=(?:[^ "=\\]*|"(?:[^"\\]|\\.)*"))*')
    for line in lines:
        assert shape.fullmatch(line), line
        assert line.isprintable()
        assert line.count(" remote=127.0.0.1:") <= 1
    assert len([line for line in lines if " login failed " in line]) >= 2 * len(EVIL) - 2
    assert not [line for line in lines if re.sub(r'"(?:[^"\\]|\\.)*"', "", line).count("remote=192.0.2.1")]


def test_a_peers_faults_are_no_errors(tmp_path: Path) -> None:
    target = serve(tmp_path, "json")
    session = Session.connect(target.addresses[0], IQN)
    session.wire.send_raw(bytes([0x1F]) + bytes(47) + bytes([0x05, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF]) + bytes(40))
    with pytest.raises(ConnectionClosedError):
        session.until(lambda pdu: False)
    session.close()
    target.process.send_signal(signal.SIGTERM)
    output = target.stop()
    records = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert target.process.returncode == 0
    assert {r["level"] for r in records} <= {"debug", "info", "warning"}
    closed = next(r for r in records if r["message"] == "connection closed")
    assert closed["reason"] == "a data segment longer than MaxRecvDataSegmentLength"
