"""sg3-utils' tools and smartctl on disks of the kernel's initiator: each ends well and prints what is true.

sg_turs is not among them: the version in the guest has an empty CDB for TEST UNIT READY.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.machine import HOST
from lab.testing import needs_lab
from support.target import start_target
from support.tools import needs

from .guest import Guest

IQN = "iqn.2026-11.example:tools"
TOOLS = {
    "sg_inq A": (r"SPC-4", r"3PC=1", r"CmdQue=1", r"ISCSITLS"),
    "sg_vpd -a A": (r"0x3111111111111111", r"Provisioning type: thin provisioned", r"Optimal transfer length: 0x1000"),
    "sg_readcap -16 A": (r"lbpme=1, lbprz=1", r"Number of logical blocks=131072", r"physical block length=4096"),
    "sg_readcap A": (r"Last LBA=131071",),
    "sg_luns A": (r"Lun list length = 16",),
    "sg_modes -a A": (r"DpoFua=1", r">> Caching", r">> Informational exceptions control"),
    "sg_logs -a A": (
        r"Total uncorrected errors = 0",
        r"[Ss]elf-test results",
        r"General [Ss]tatistics and [Pp]erformance",
    ),
    "sg_opcodes A": (r"Extended copy", r"Write atomic\(16\)", r"Sanitize, overwrite", r"Report target port groups"),
    "sg_requests A": (r"No Sense",),
    "sg_rtpg -d A": (r"active/optimized", r"target port count : 01"),
    "sg_get_lba_status --lba=0 A": (r"LBA: 0x0 +blocks: +\d+  deallocated",),
    "sg_persist -i -c A": (r"Persist Through Power Loss Capable\(PTPL_C\): 1", r"All Target Ports Capable\(ATP_C\): 1"),
    "sg_persist -i -s A": (r"No full status descriptors",),
    "sg_senddiag -t A": (r"GOOD",),
    "sg_start --start A": (),
    "sg_read_buffer -m desc A": (r"BUFFER CAPACITY: 65536",),
    "sg_timestamp A": (r"^\d{13}$",),
    # What writes, with what is read back.
    "sg_dd if=/dev/urandom of=A bs=512 count=256 oflag=dsync": (r"256\+0 records out",),
    "sg_xcopy if=A of=B bs=512 count=128": (r"128 blocks, 1 command",),
    "cmp -n 65536 A B": (),
    "sg_get_lba_status --lba=0 B": (r"LBA: 0x0 +blocks: +128  mapped",),
    "dd if=/dev/zero of=B bs=512 count=1024 oflag=direct": (),
    "ddpt --xcopy if=A of=B bs=512 count=64 bpt=64": (r"^1 xcopy commands? done",),
    "cmp -n 32768 A B": (),
    "sg_verify --lba=0 --count=64 A": (),
    "sg_sync A": (),
    "sg_unmap --force --lba=0 --num=64 A": (),
    "cmp -n 32768 A /dev/zero": (),
    "sg_write_same --lba=64 --num=64 --in=/dev/zero A": (),
    "sg_compare_and_write --lba=64 --num=1 --xferlen=1024 --in=/dev/zero A": (),
    "cmp -n 65536 A /dev/zero": (),
    "sg_sanitize --overwrite --zero --quick --wait B": (),
    "sgp_dd if=B of=/dev/null bs=512 count=1024": (r"1024\+0 records in",),
    "cmp -n 65536 B /dev/zero": (),
    # Its status is 0 only where no SMART command has failed.
    "smartctl -t short A": (),
    "smartctl -a A": (
        r"Transport protocol: +iSCSI",
        r"SMART Health Status: OK",
        r"LU is thin provisioned, LBPRZ=1",
        r"Logical Unit id: +0x3111111111111111",
        r"# 1  Background short +Completed",
    ),
    "smartctl -x A": (r"Writeback Cache is: +Enabled", r"General statistics and performance"),
}
"""By command, what its output has to have; A and B are the disks."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, str]]]:
    """The status and the output of each command, run one after the other in one guest."""
    home = needs_lab()
    ddpt = needs("ddpt", "ddpt")
    folder: Path = tmp_path_factory.mktemp("tools")
    words = ["--iqn", IQN, "--provider", "none"]
    for number, name in enumerate("ab"):
        words += ["--lun", f"{number}=file:{folder}/{name},size=64M,thin=yes,naa=311111111111111{number + 1}"]
    with start_target(folder, *words) as target, Guest(folder / "host", home) as guest:
        disks = guest.log_in(IQN, f"{HOST}:{target.addresses[0][1]}", "iqn.2026-11.example:tools", 2)
        paths = dict(zip("AB", disks, strict=True))
        shutil.copy(ddpt, folder / "host" / "ddpt")  # it needs nothing but the C library
        found = {}
        for command in TOOLS:
            # What the kernel has read before is not what is there after an UNMAP past it.
            guest.sh("echo 3 >/proc/sys/vm/drop_caches")
            found[command] = guest.run(
                re.sub(r"\b[AB]\b", lambda match: paths[match[0]], command.replace("ddpt ", "/host/ddpt "))
            )
        yield found


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("command", TOOLS)
def test_a_tool_is_content(printed: dict[str, tuple[int, str]], command: str) -> None:
    status, output = printed[command]
    assert status == 0, output
    for pattern in TOOLS[command]:
        assert re.search(pattern, output, re.MULTILINE), f"no {pattern!r} in\n{output}"
