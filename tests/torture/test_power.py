"""Power cuts of a whole machine, the target in it: what was answered as durable is there after the next boot.

The target is in the lab's guest, on a file system on a disk whose cache a power cut empties. The initiator is outside:
what it remembers stays. One cut here; ``make torture`` makes more (ISCSITOOLS_TORTURE, ISCSITOOLS_SEED).
"""

from __future__ import annotations

import os
import random
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.disk import Disk
from lab.home import Home
from lab.machine import Machine, Setup
from lab.project import BIN
from lab.testing import needs_lab, project_images

from iscsitools.initiator import Session

from .load import read_all, seeds
from .sequences import NumberedLoad, Sequences

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]
IQN = "iqn.2026-11.example:power"
ROUNDS = int(os.environ.get("ISCSITOOLS_TORTURE", "0"))
LIMIT = 600.0
"""Seconds for a boot: a few on an idle machine, and minutes on one that is not."""
SIZE = 1 << 20


@dataclass(frozen=True)
class Stack:
    """A file system, a disk on it, and whether the disk says that it has no write cache.

    ``in_threads``: data threads serve the disk, and get nothing that leads a connection back to the event loop: FUA
    alone makes something durable.
    """

    file_system: str
    lun: str
    block_size: int = 512
    writethrough: bool = False
    in_threads: bool = False


def name_of(stack: Stack) -> str:
    return f"{stack.file_system}-{stack.lun}" + "-in_threads" * stack.in_threads


STACKS = (
    Stack("ext4", "file:disk,size=1M"),
    Stack("xfs", "file:disk,size=1M,block_size=4096", block_size=4096),
    Stack("ext4", "file+cow:base,cow.file=overlay"),
    Stack("xfs", "file+cow:base,cow.file=overlay"),
    Stack("ext4", "file:disk,size=1M,cache=writethrough", writethrough=True),
    Stack("ext4", "file:disk,size=1M", in_threads=True),
)
"""Each has its share of the rounds; with one round only the first is played."""


def script(stack: Stack, first: bool) -> str:
    """Mount the disk, made anew at first, and serve what is on it. Nothing but the target flushes it."""
    disk = "/dev/disk/by-id/virtio-data"
    lines = ["set -e", f"modprobe {stack.file_system}"]
    if first:
        lines.append(f"mkfs.{stack.file_system} -q {disk} >&2")
    lines += [f"mount {disk} /mnt", "cd /mnt"]
    if first and "cow" in stack.lun:
        lines += [f"truncate -s {SIZE} base", "sync"]
    how = f"--provider none --threads {2 if stack.in_threads else 'auto'}"
    lines.append(f"exec {BIN}/iscsitools serve {how} --portal 0.0.0.0:3260 --iqn {IQN} --lun {stack.lun}")
    return "\n".join(lines)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class Guest:
    """Boots of one stack on one disk; what an initiator outside knows of it goes from each to the next."""

    def __init__(self, home: Home, stack: Stack, disk: Disk) -> None:
        self.ledger = Sequences(SIZE // stack.block_size, stack.block_size)
        self._home = home
        self._images = project_images(home)
        self._stack = stack
        self._disk = disk
        self._booted = False

    def life(self, numbers: random.Random | None) -> list[str]:
        """Boot, and look at each block; then, with ``numbers``, write until the power is cut. Returns what is wrong."""
        port = free_port()
        text = script(self._stack, first=not self._booted)
        self._booted = True
        setup = Setup(text, images=self._images, disks=(self._disk,), forward={port: 3260}, memory=1024)
        with Machine(setup, self._home) as machine:
            machine.wait_for("iscsitools ", LIMIT)  # ... listens on
            with Session.connect(("127.0.0.1", port), IQN) as session:
                for _ in range(3):
                    session.command(bytes(6))  # unit attentions
                found = read_all(session, self.ledger.blocks, self._stack.block_size)
                wrong = self.ledger.wrong(found)
                self.ledger.restart(found)
                if not wrong and numbers is not None:
                    self._load_until_cut(machine, session, numbers)
        return wrong

    def _load_until_cut(self, machine: Machine, session: Session, numbers: random.Random) -> None:
        moment = numbers.uniform(0, 2)
        stack = self._stack
        load = NumberedLoad(session, self.ledger, numbers, stack.writethrough, flushes=not stack.in_threads)
        thread = threading.Thread(target=load.run)
        thread.start()
        assert load.something_is_durable.wait(LIMIT), load.failure
        load.power_is_off.wait(moment)
        load.power_is_off.set()
        machine.cut()
        thread.join()
        assert load.failure is None


@pytest.mark.parametrize("stack", STACKS if ROUNDS > 1 else STACKS[:1], ids=name_of)
def test_what_was_answered_as_durable_survives_a_power_cut_of_the_machine(stack: Stack, tmp_path: Path) -> None:
    guest = Guest(needs_lab(), stack, Disk.create("data", tmp_path / "data", 512 << 20))
    for seed in seeds(max(1, ROUNDS // len(STACKS))):
        print(f"seed {seed}, {stack}")
        assert guest.life(random.Random(seed)) == [], f"before seed {seed}"
        print(
            f"{guest.ledger.durable_answers} answers made blocks durable, {guest.ledger.lost} blocks lost newer writes"
        )
    assert guest.life(None) == [], "at the end"
    print(f"{guest.ledger.durable_answers} answers made blocks durable, {guest.ledger.lost} blocks lost newer writes")
