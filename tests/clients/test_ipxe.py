"""iPXE boots a machine from our disk (sanboot): its first sector reads, writes and prints by the firmware's INT 13h.

iPXE (Debian package ipxe-qemu) is an initiator of its own, with nothing of open-iscsi or libiscsi in it, and CHAP.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from support.target import start_target
from support.tools import needs, needs_file

IQN = "iqn.2026-11.example:boot"
INITIATOR = "iqn.2026-11.example:ipxe"
BLOCK = 512
COUNT = 64
FROM, TO = 2048, 4096
"""LBAs of what is read and printed, and of where it is written to."""
LOADED, BUFFER = 0x7C00, 0x8000
LEFT = {1: "read, written and printed", 3: "the firmware's INT 13h failed"}
"""QEMU's exit status is twice the number that the program writes to the port of isa-debug-exit, and one."""


def boot_sector() -> bytes:
    """Read COUNT blocks, write them elsewhere, print them up to a zero on the serial line, and leave QEMU."""
    packets = LOADED + 64
    start = bytes.fromhex("31c0 8ed8 8ec0")  # ds = es = 0; dl is the disk
    read = b"\xbe" + struct.pack("<H", packets) + bytes.fromhex("b442 cd13 721c")  # extended read; to failed
    write = b"\xbe" + struct.pack("<H", packets + 16) + bytes.fromhex("b80043 cd13 7212")  # extended write
    show = b"\xbe" + struct.pack("<H", BUFFER)
    show += bytes.fromhex("ac 84c0 7406 baf803 ee ebf5")  # lodsb; at zero to done; out 3f8h, al; again
    leave = bytes.fromhex("b000 eb02 b001 e6f4 f4")  # done: 0; failed: 1; out f4h, al
    code = (start + read + write + show + leave).ljust(64, b"\0")
    addresses = b"".join(struct.pack("<BBHHHQ", 16, 0, COUNT, BUFFER, 0, lba) for lba in (FROM, TO))
    return (code + addresses).ljust(510, b"\0") + b"\x55\xaa"


CHAP = """
[target.auth]
method = "chap"
users = [{ name = "machine", secret = "in the firmware" }]
mutual = { name = "target", secret = "of the disk array" }
"""
SETTINGS = """set username machine
set password in the firmware
set reverse-username target
set reverse-password of the disk array
"""


@pytest.mark.slow
@pytest.mark.parametrize("chap", [False, True], ids=["open", "mutual CHAP"])
def test_a_machine_boots_from_a_disk(tmp_path: Path, chap: bool) -> None:
    qemu = needs("qemu-system-x86_64", "qemu-system-x86")
    needs_file("/usr/lib/ipxe/qemu/efi-virtio.rom", "ipxe-qemu")
    # Fewer blocks than a cylinder of 255 heads and 63 sectors are none to iPXE.
    shown = b"booted by iPXE " + b"0123456789abcdef" * (COUNT * BLOCK // 16 - 2)
    data = shown.ljust(COUNT * BLOCK, b"\0")
    disk = tmp_path / "disk"
    disk.write_bytes(boot_sector().ljust(FROM * BLOCK, b"\0") + data + bytes(16 << 20))
    site = tmp_path / "site.toml"
    site.write_text(f'[[target]]\niqn = "{IQN}"\nlun = [{{ store = "file:{disk}" }}]\n{CHAP if chap else ""}')
    with start_target(tmp_path, "--config", str(site), "--provider", "none") as target:
        script = f"#!ipxe\nset initiator-iqn {INITIATOR}\n{SETTINGS if chap else ''}"
        script += f"sanboot iscsi:10.0.2.2::{target.addresses[0][1]}:0:{IQN}\n"
        (tmp_path / "tftp").mkdir()
        (tmp_path / "tftp" / "boot.ipxe").write_text(script)
        serial = tmp_path / "serial"
        command = [
            qemu,
            "-nodefaults",
            "-display",
            "none",
            "-accel",
            "tcg",
            "-m",
            "256",
            "-M",
            "graphics=off",
            "-no-reboot",
        ]
        command += ["-netdev", f"user,id=net,tftp={tmp_path / 'tftp'},bootfile=boot.ipxe"]
        command += ["-device", "virtio-net-pci,netdev=net,bootindex=1", "-serial", f"file:{serial}"]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        done = subprocess.run(command, timeout=100, capture_output=True, text=True, check=False)
        assert LEFT.get(done.returncode) == LEFT[1], (done, serial.read_text(errors="replace"), target.output)
        assert serial.read_bytes().endswith(shown)
        assert disk.read_bytes()[TO * BLOCK :][: len(data)] == data
        assert target.says(INITIATOR)
