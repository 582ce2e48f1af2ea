"""Server processes that are going to be ended."""

from __future__ import annotations

from pathlib import Path

from support.target import RunningTarget, start_target

from iscsitools.initiator import Opcode, Pdu, Session

from .harness import (
    IQN,
    TEST_UNIT_READY,
    one_target,
)

DATA = bytes(range(256)) * 16


def serve(folder: Path, *arguments: str, limits: str = "") -> RunningTarget:
    """A server process of one target; ``arguments``: its stores."""
    file = folder / "target.toml"
    file.write_text(one_target(*arguments, limits=limits), encoding="utf-8")
    file.chmod(0o600)
    return start_target(folder, "--config", str(file), "--provider", "none")


def connect(target: RunningTarget, name: str = "a", luns: int = 1) -> Session:
    session = Session.connect(target.addresses[0], IQN, initiator=f"iqn.2026-11.example:{name}")
    for lun in range(luns):
        session.command(TEST_UNIT_READY, lun)
    return session


def asked_to_log_out(session: Session) -> Pdu:
    return session.until(lambda pdu: pdu.opcode == Opcode.ASYNC_MESSAGE)


def ended(target: RunningTarget) -> tuple[int, str]:
    """Exit status and output of a server that has its signal."""
    output = target.stop()
    return target.process.returncode, output
