"""Two connections from one address and port, to two portals, with one task tag: the scripts keep them apart."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from dtrace import scene
from dtrace.reports import maps, read
from support.target import start_target
from support.tools import missing, needs

from iscsitools.dtrace.variants import DSCRIPTS
from iscsitools.initiator import Opcode, Session, checked
from iscsitools.provider.backend import attach_path, survey

pytestmark = pytest.mark.slow
ITT = 0x77
BLOCKS = 8
SIZE = 512 * BLOCKS


def both(first: Session, second: Session) -> None:
    """A write that begins before a read of the same task tag, and ends after it."""
    cdb = struct.pack(">BBQIBB", 0x8A, 0, 0, BLOCKS, 0, 0)
    write = first.start_command(cdb, write=bytes(SIZE), immediate=False, unsolicited=False, hold_r2ts=True, itt=ITT)
    while (r2t := first.pump()).opcode != Opcode.R2T:
        pass
    checked(second.wait(second.start_command(struct.pack(">BBQIBB", 0x88, 0, 0, BLOCKS, 0, 0), read=SIZE, itt=ITT)))
    write.send_data(first.wire, 0, SIZE, r2t.ttt, r2t.lun, SIZE, first.exp_stat_sn)
    checked(first.wait(write))


def test_one_client_port_and_two_portals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = needs("bpftrace", "bpftrace")
    if os.geteuid():
        missing("bpftrace needs root")
    if reason := next(backend.reason for backend in survey() if backend.name == "sdt"):
        missing(reason)
    names = ("iscsirwlat", "iscsiphases", "iscsislower")
    portals = ("127.0.0.1:0", "127.0.0.1:0")
    with start_target(tmp_path, "--iqn", scene.TARGET, "--lun", "ram:1M", portals=portals) as target:
        tracers = {}
        try:
            for name in names:
                script = str(DSCRIPTS / "bpftrace" / f"{name}.bt")
                words = [program, "-p", str(target.pid), script, str(attach_path()), *scene.ARGUMENTS.get(name, ())]
                tracers[name] = scene.start(tmp_path, name, words)
                scene.ready(tmp_path, name, tracers[name])
            for address in target.addresses:
                socket.create_connection(address).close()  # it looks at the probes when it wakes up
            first, second = sessions(target.addresses, monkeypatch)
            with first, second:
                for session in (first, second):
                    while session.command(bytes(6)).status:  # TEST UNIT READY, until there is no unit attention
                        pass
                both(first, second)
                first.logout()
                second.logout()
            scene.stop(tmp_path, tracers)
        finally:
            for process in tracers.values():
                process.kill()
                process.wait()
    found = maps(read(tmp_path, "iscsirwlat"))
    assert (found["read_ns"], found["write_ns"]) == ({("127.0.0.1",): 1}, {("127.0.0.1",): 1})
    phases = maps(read(tmp_path, "iscsiphases"))
    assert set(phases) == {
        "reads_backstore_ns", "reads_sending_ns", "writes_backstore_ns", "writes_waiting_ns",
    }  # fmt: skip
    lines = [line.split() for line in read(tmp_path, "iscsislower").splitlines()]
    assert sorted(words[4] for words in lines if f"{ITT:x}" in words[3:4]) == ["88", "8a"]


def sessions(addresses: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """A session with each portal, all from one port."""
    port = 0
    found = []

    def connect(address: tuple[str, int], timeout: float, source: object = None) -> Any:
        made = socket.socket()
        made.settimeout(timeout)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.connect(address)
        return made

    monkeypatch.setattr(socket, "create_connection", connect)
    for number, address in enumerate(addresses):
        found.append(Session.connect(address, scene.TARGET, initiator=f"iqn.2026-11.example:{number}"))
        port = found[0].wire.sock.getsockname()[1]
    return found
