"""A real file system survives the trip: written, compared and read back by clients that nobody here wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.target import RunningTarget, start_target
from support.tools import needs

from iscsitools.initiator import Session

from .disk import digest, make_image, needs_iscsi_driver, round_trip, run

IQN = "iqn.2026-11.example:disk"
MEGABYTES = 64
TEST_UNIT_READY = bytes(6)
SYNCHRONIZE_CACHE = b"\x35" + bytes(9)

CHAP = """\
[[target]]
iqn = "{iqn}"

[target.auth]
method = "chap"
users = [{{ name = "alice", secret = "open-sesame-1234" }}]
mutual = {{ name = "cave", secret = "who-goes-there-99" }}

[[target.lun]]
store = "file:{disk},size={size}M"
"""


def chap_target(directory: Path, disk: Path) -> RunningTarget:
    """A target that wants CHAP and proves itself too."""
    file = directory / "target.toml"
    file.touch(mode=0o600)
    file.write_text(CHAP.format(iqn=IQN, disk=disk, size=MEGABYTES))
    return start_target(directory, "--config", str(file))


def test_a_file_system_survives_the_trip(tmp_path: Path) -> None:
    image = make_image(tmp_path, MEGABYTES)
    disk = tmp_path / "disk.img"
    with start_target(tmp_path, "--iqn", IQN, "--lun", f"file:{disk},size={MEGABYTES}M") as target:
        round_trip(f"iscsi://{target.portal}/{IQN}/0", image, tmp_path)
    assert digest(disk) == digest(image)


def test_the_same_with_chap_and_header_digest(tmp_path: Path) -> None:
    image = make_image(tmp_path, MEGABYTES)
    with chap_target(tmp_path, tmp_path / "disk.img") as target:
        secret = tmp_path / "secret"
        secret.write_text("open-sesame-1234")
        options = f"driver=iscsi,transport=tcp,portal={target.portal},target={IQN},lun=0,user=alice"
        options += ",password-secret=s,header-digest=crc32c"
        objects = ("--object", f"secret,id=s,file={secret}")
        qemu_img = needs("qemu-img", "qemu-utils")
        needs_iscsi_driver()
        run(qemu_img, "convert", *objects, "-n", "-f", "raw", "--target-image-opts", str(image), options)
        back = tmp_path / "back.ext4"
        run(qemu_img, "convert", *objects, "--image-opts", "-O", "raw", options, str(back))
    assert digest(back) == digest(image)
    run(needs("e2fsck", "e2fsprogs"), "-fn", str(back))


def test_the_same_with_mutual_chap_and_both_digests(tmp_path: Path) -> None:
    """With the tests' own initiator: qemu-img has neither mutual CHAP nor data digests."""
    image = make_image(tmp_path, MEGABYTES)
    content = image.read_bytes()
    back = tmp_path / "back.ext4"
    step = 256 << 10
    with chap_target(tmp_path, tmp_path / "disk.img") as target:
        login = {"chap": ("alice", "open-sesame-1234"), "mutual": ("cave", "who-goes-there-99"), "digests": "CRC32C"}
        with Session.connect(target.addresses[0], IQN, **login) as session:
            session.command(TEST_UNIT_READY)  # takes the unit attention of a new nexus
            assert (session.agreed.header_digest, session.agreed.data_digest) == (True, True)
            for offset in range(0, len(content), step):
                session.write(offset // 512, content[offset : offset + step])
            assert session.command(SYNCHRONIZE_CACHE).good
        with Session.connect(target.addresses[0], IQN, **login) as session, back.open("wb") as out:
            session.command(TEST_UNIT_READY)
            for offset in range(0, len(content), step):
                out.write(session.read(offset // 512, step // 512))
    assert digest(back) == digest(image)
    run(needs("e2fsck", "e2fsprogs"), "-fn", str(back))


def test_listing_shows_the_target_and_its_luns(tmp_path: Path) -> None:
    iscsi_ls = needs("iscsi-ls", "libiscsi-bin")
    luns = ("--lun", "ram:16M", "--lun", "7=ram:32M,block_size=4096")
    with start_target(tmp_path, "--iqn", IQN, *luns) as target:
        shown = run(iscsi_ls, "-s", f"iscsi://{target.portal}")
    assert f"Target:{IQN} Portal:{target.portal},1" in shown
    assert re.search(r"Lun:0 +Type:DIRECT_ACCESS", shown)
    assert re.search(r"Lun:7 +Type:DIRECT_ACCESS", shown)


@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
def test_larger_blocks_survive_the_trip(tmp_path: Path, block_size: int) -> None:
    image = make_image(tmp_path, 16)
    lun = f"file:{tmp_path / 'disk.img'},size=16M,block_size={block_size}"
    with start_target(tmp_path, "--iqn", IQN, "--lun", lun) as target:
        round_trip(f"iscsi://{target.portal}/{IQN}/0", image, tmp_path)


def test_a_crash_after_a_flush_loses_nothing(tmp_path: Path) -> None:
    qemu_io = needs("qemu-io", "qemu-utils")
    disk = tmp_path / "disk.img"
    arguments = ("--iqn", IQN, "--lun", f"file:{disk},size=16M")
    target = start_target(tmp_path, *arguments)
    url = f"iscsi://{target.portal}/{IQN}/0"
    run(qemu_io, "-f", "raw", "-c", "write -P 0x5a 1M 3M", "-c", "flush", url)
    target.kill()
    with start_target(tmp_path, *arguments) as target:
        url = f"iscsi://{target.portal}/{IQN}/0"
        shown = run(qemu_io, "-f", "raw", "-c", "read -P 0x5a 1M 3M", "-c", "read -P 0 4M 1M", url)
    assert "verification failed" not in shown
