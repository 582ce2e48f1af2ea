"""The floods are what they are called, and a short run says what a good initiator got."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from .programs import run_program

from floods import IN_SESSION, Place, flows  # isort: skip

IQN = "iqn.2026-11.example:fair"
ANSWERS = {"NOP": 0x20, "INQUIRY": 0x25, "PR OUT": 0x21, "VERIFY": 0x21, "Text": 0x24}
"""Opcodes of the answers (RFC 7143 11.2.1.2)."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningTarget]:
    with start_target(tmp_path, "--name", "fair", "--iqn", IQN, "--lun", "ram:64M") as target:
        yield target


@pytest.mark.parametrize("kind", IN_SESSION)
def test_a_flood_is_answered_as_a_good_request_is(kind: str, served: RunningTarget) -> None:
    (flow,) = flows(kind, Place(served.addresses[0], IQN, ""), [])
    sock, burst = flow.begin()
    with sock:
        sock.sendall(burst[: 48 + (int.from_bytes(burst[5:8], "big") + 3 & ~3)])
        header = sock.recv(48, socket.MSG_WAITALL)
    assert header[0] & 0x3F == ANSWERS[kind]
    assert header[0] & 0x3F == 0x24 or not header[2] | header[3]  # response and status


def test_a_short_run(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = run_program(
        "fairness.py",
        "--floods",
        "alone;NOP;logins;watchers",
        "--seconds",
        "0.2",
        "--rounds",
        "0",
        "--json",
        str(result),
    )
    assert done.returncode == 0, done.stderr
    floods = {flood["flood"]: flood for flood in json.loads(result.read_text())["floods"]}
    assert len(floods) == 4
    for name, flood in floods.items():
        assert not flood["trouble"], flood
        assert len(flood["cpu"]) == len(flood["latency"]) >= 3
        assert (flood["sent"] > 0 and flood["received"] > 0) == (name != "alone")
