"""What cluster software and hypervisors send, in their order: the target is killed between any two of the steps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target

from iscsitools.initiator import Result, Session

IQN = "iqn.2026-11.example:cluster"
NAA = "3000000000000099"
CONFLICT = 0x18
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, IGNORE = 0, 1, 2, 3, 4, 5, 6
WERO = 5
"""Write Exclusive, Registrants Only: what fence_scsi and Windows' failover clusters reserve with."""


def serve(folder: Path) -> RunningTarget:
    return start_target(
        folder, "--iqn", IQN, "--lun", f"file:{folder}/disk.img,size=8M,naa={NAA},thin=yes,reservations=keep"
    )


class Cluster:
    """A target with nodes 1 to 3. With ``kill_before`` the target is killed before the step of that number."""

    def __init__(self, folder: Path, kill_before: int) -> None:
        self.folder = folder
        self.kill_before = kill_before
        self.steps = 0
        self.start()

    def start(self) -> None:
        self.target = serve(self.folder)
        self.nodes = {
            number: Session.connect(
                self.target.addresses[0], IQN, isid=0x400001370000 + number, initiator=f"iqn.2026-11.example:n{number}"
            )
            for number in (1, 2, 3)
        }
        self.take_attentions()

    def take_attentions(self) -> None:
        for session in self.nodes.values():
            while not session.command(bytes(6)).good:
                pass

    def stop(self) -> None:
        for session in self.nodes.values():
            session.close()
        self.target.kill()

    def step(self) -> None:
        self.take_attentions()
        if self.steps == self.kill_before:
            self.stop()
            self.start()
        self.steps += 1

    def out(self, node: int, action: int, key: int, new: int = 0) -> Result:
        self.step()
        cdb = struct.pack(">BBBxxIx", 0x5F, action, WERO if action not in (REGISTER, IGNORE, CLEAR) else 0, 24)
        return self.nodes[node].command(cdb, write=struct.pack(">QQ8x", key, new))

    def keys(self, node: int) -> list[int]:
        self.step()
        data = self.nodes[node].command(bytes.fromhex("5e000000000000100000"), read=4096).data[8:]
        return [key for (key,) in struct.iter_unpack(">Q", data)]

    def holder(self, node: int) -> int:
        self.step()
        data = self.nodes[node].command(bytes.fromhex("5e010000000000100000"), read=4096).data[8:]
        return int.from_bytes(data[:8], "big")

    def write(self, node: int) -> int:
        self.step()
        return self.nodes[node].command(bytes.fromhex("2a000000000000000100"), write=bytes(512)).status

    def read(self, node: int) -> int:
        self.step()
        return self.nodes[node].command(bytes.fromhex("28000000000000000100"), read=512).status


def fence_scsi(cluster: Cluster) -> None:
    """Two nodes unfence themselves; node 1 fences node 2, which is unfenced when it has been mended."""
    for node in (1, 2):
        assert cluster.out(node, IGNORE, 0, node).good
        if not cluster.holder(node):
            assert cluster.out(node, RESERVE, node).good
        assert node in cluster.keys(node)
    assert cluster.write(1) == cluster.write(2) == 0
    assert cluster.out(1, PREEMPT_ABORT, 1, 2).good
    assert cluster.keys(1) == [1]
    assert cluster.write(2) == CONFLICT
    assert cluster.read(2) == 0
    assert cluster.write(1) == 0
    assert cluster.out(2, IGNORE, 0, 2).good
    assert cluster.write(2) == 0
    assert sorted(cluster.keys(1)) == [1, 2]


def windows_validation(cluster: Cluster) -> None:
    """Three nodes register; one reserves, the others are kept to it; it is challenged, preempted, and cleared."""
    for node in (1, 2, 3):
        assert cluster.out(node, REGISTER, 0, node).good
    assert sorted(cluster.keys(1)) == [1, 2, 3]
    assert cluster.out(1, RESERVE, 1).good
    assert cluster.out(2, RESERVE, 2).status == CONFLICT
    assert [cluster.write(node) for node in (1, 2, 3)] == [0, 0, 0]
    assert cluster.out(3, REGISTER, 3, 0).good
    assert cluster.write(3) == CONFLICT
    assert cluster.out(2, PREEMPT, 2, 1).good
    assert cluster.holder(2) == 2
    assert cluster.write(1) == CONFLICT
    assert cluster.out(1, RELEASE, 1).status == CONFLICT
    assert cluster.out(2, RELEASE, 2).good
    assert cluster.write(1) == 0
    assert cluster.out(2, CLEAR, 2).good
    assert cluster.keys(2) == []


@pytest.mark.slow
@pytest.mark.parametrize("script", [fence_scsi, windows_validation])
def test_the_target_is_killed_between_any_two_steps(tmp_path: Path, script: Callable[[Cluster], None]) -> None:
    number, steps = -1, 0  # the first run is without trouble, and counts the steps
    while number < steps:
        folder = tmp_path / str(number)
        folder.mkdir()
        cluster = Cluster(folder, number)
        try:
            script(cluster)
        finally:
            cluster.stop()
        steps = cluster.steps
        number += 1 if number > 0 else 2
    assert steps > 15


def test_what_esxi_offloads(tmp_path: Path) -> None:
    """ATS on a lock, WRITE SAME(16) of zeros, EXTENDED COPY of 4 MiB, and UNMAP, each as its VAAI sends it."""
    with serve(tmp_path) as target, Session.connect(target.addresses[0], IQN) as session:
        session.command(bytes(6))
        lock, taken = bytes(512), b"owner".ljust(512, b"\1")
        ats = struct.pack(">BBQxxxBxx", 0x89, 0, 4, 1)
        assert session.command(ats, write=lock + taken).good
        assert session.command(ats, write=lock + taken).sense_code == (0xE, 0x1D, 0)
        assert session.read(4, 1) == taken
        data = bytes([7]) * (1 << 20)
        session.write(2048, data)
        descriptor = struct.pack(">BBHBBBB", 0xE4, 0, 0, 1, 3, 0, 8) + bytes.fromhex(NAA).ljust(20, b"\0")
        segment = struct.pack(">BBHHH2xHQQ", 2, 2, 24, 0, 0, 8192 - 2048, 0, 8192)
        xcopy = struct.pack(">BBH4xII", 0, 3 << 3, 32, 28, 0) + descriptor + b"\0\0\2\0" + segment
        assert session.command(struct.pack(">BB8xIxx", 0x83, 0, len(xcopy)), write=xcopy).good
        assert session.read(8192 + 2048, 2048) == data
        zeros = struct.pack(">BBQIxx", 0x93, 0, 2048, 2048)
        assert session.command(zeros, write=bytes(512)).good
        assert session.read(2048, 2048) == bytes(1 << 20)
        unmap = struct.pack(">HH4xQI4x", 22, 16, 8192 + 2048, 2048)
        assert session.command(struct.pack(">BB5xHx", 0x42, 0, len(unmap)), write=unmap).good
        assert session.read(8192 + 2048, 2048) == bytes(1 << 20)
