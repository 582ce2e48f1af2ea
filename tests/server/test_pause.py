"""A pause of the whole process (SIGSTOP, a stunned virtual machine, swapping) ends nothing that was in time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from support.target import RunningTarget, start_target

from iscsitools.initiator import NO_TAG, Channel, Opcode, Session, encode_keys

IQN = "iqn.2026-11.example:pause"
CONFIG = f"""[limits]
nop_interval = 0.5
nop_timeout = 1
login_timeout = 1.5
[[target]]
iqn = "{IQN}"
[[target.lun]]
store = "ram:1M"
"""


def start(folder: Path) -> RunningTarget:
    config = folder / "target.toml"
    config.write_text(CONFIG)
    return start_target(folder, "--config", str(config))


def stopped(target: RunningTarget) -> None:
    """Stop the process and wait until it has stopped."""
    os.kill(target.pid, signal.SIGSTOP)
    while Path(f"/proc/{target.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)


def test_an_answer_that_came_during_the_pause_counts(tmp_path: Path) -> None:
    with start(tmp_path) as target:
        for number in range(3):
            session = Session.connect(target.addresses[0], IQN, isid=0x400001370100 + number)
            session.answer_pings = False
            ping = session.recv_pdu()
            assert (ping.opcode, ping.itt) == (Opcode.NOP_IN, NO_TAG)
            stopped(target)
            session.request(Opcode.NOP_OUT, True, itt=NO_TAG, ttt=ping.ttt, lun=ping.lun)
            time.sleep(1.5)
            os.kill(target.pid, signal.SIGCONT)
            session.answer_pings = True
            assert session.nop(b"x").data == b"x"
            session.close()


def test_a_login_request_that_came_during_the_pause_counts(tmp_path: Path) -> None:
    with start(tmp_path) as target:
        channel = Channel(target.addresses[0])
        channel.phase.exchange(
            0, 1, {"InitiatorName": "iqn.2026-11.example:p", "TargetName": IQN, "AuthMethod": "None"}
        )
        stopped(target)
        channel.phase._request(1, 3, encode_keys({"DefaultTime2Retain": "0"}), True, {})
        time.sleep(2)
        os.kill(target.pid, signal.SIGCONT)
        assert channel.phase._response().status_class == 0
        channel.close()
