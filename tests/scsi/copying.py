"""Two targets of one server with units to copy between, and the lists that ask for copies."""

from __future__ import annotations

import struct

from iscsitools.scsi.commands import DISK
from iscsitools.scsi.core.device import ScsiDevice
from iscsitools.scsi.core.domain import Domain
from iscsitools.scsi.core.nexus import Nexus
from iscsitools.scsi.core.options import UnitOptions
from iscsitools.scsi.core.unit import LogicalUnit

from .support import HeldExecutor, Initiator, MemoryStore

BLOCK = 512
MIB = 2048


class Copying:
    """Two targets of one server, ``one`` with the units 0 and 1, ``two`` with 0."""

    def __init__(self, blocking=True, blocks=8192, block_size=BLOCK, realm=None):
        self.clock = 0
        self.domain = Domain(lambda: self.clock)
        self.executor = HeldExecutor()
        self.one = ScsiDevice("iqn.2026-11.example:one", DISK, self.domain)
        self.two = ScsiDevice("iqn.2026-11.example:two", DISK, self.domain, realm)
        self.a = self._unit(self.one, 0, MemoryStore(blocks, BLOCK, blocking))
        self.b = self._unit(self.one, 1, MemoryStore(blocks, BLOCK, blocking))
        self.c = self._unit(self.two, 0, MemoryStore(blocks * BLOCK // block_size, block_size, blocking), block_size)
        for seed, unit in enumerate((self.a, self.b, self.c)):
            unit.store.data[:] = bytes([seed + 1]) * len(unit.store.data)
            unit.store.mapped = [True] * len(unit.store.mapped)

    def _unit(self, device, number, store, block_size=BLOCK):
        options = UnitOptions(target=device.name, thin=True, block_size=block_size)
        unit = LogicalUnit(number, store, self.executor, options, DISK)
        device.add_unit(unit)
        return unit

    def initiator(self, device=None, name="a"):
        nexus = Nexus(f"iqn.2026-11.example:{name}", f"iqn.2026-11.example:{name},i,0x{name}")
        device = device or self.one
        device.attach(nexus)
        made = Initiator(device, nexus)
        for lun in device.units:
            made.run("03000000ff00", lun=lun)
        return made

    def finish(self):
        while self.executor.held or self.executor.steps:
            if self.executor.held:
                self.executor.run()
            else:
                self.executor.step()

    def run(self, initiator, cdb, data=b"", lun=0):
        task = initiator.send(cdb, data, lun=lun)
        self.finish()
        assert task in initiator.ended
        code = (task.sense[2], task.sense[12] << 8 | task.sense[13]) if task.sense else None
        return task.status, code, bytes(task.data_in)


def cscd(unit):
    naa = unit.identity.naa
    head = struct.pack(">BBHBBBB", 0xE4, 0, 0, 1, 3, 0, 8)
    return head + naa.ljust(20, b"\0") + struct.pack(">I", unit.block_size)


def segment(source, target, blocks, at, to, flags=0, kind=2):
    return struct.pack(">BBHHH2xHQQ", kind, flags, 24, source, target, blocks, at, to)


def copy_list(cscds, segments, identifier=1, usage=0, inline=0):
    targets, segs = b"".join(cscds), b"".join(segments)
    return struct.pack(">BBH4xII", identifier, usage << 3, len(targets), len(segs), inline) + targets + segs


def extended_copy(data):
    return struct.pack(">BB8xIxx", 0x83, 0, len(data))


def receive(action, identifier=1, length=512):
    return struct.pack(">BBB7xIxx", 0x84, action, identifier, length)


def reserve(initiator, kind, lun):
    key = b"12345678"
    initiator.run(struct.pack(">BBBxxIx", 0x5F, 0, 0, 24), bytes(8) + key + bytes(8), lun=lun)
    assert initiator.run(struct.pack(">BBBxxIx", 0x5F, 1, kind, 24), key + bytes(16), lun=lun).good
