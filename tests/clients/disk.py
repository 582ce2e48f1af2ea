"""A file-system image of real files, and the commands that carry it over iSCSI."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path

from support.tools import needs


def make_tree(directory: Path) -> Path:
    """Files of many sizes, deep folders, odd names, a hard link and a symbolic link, the same ones each time."""
    rng = random.Random(7143)
    tree = directory / "tree"
    tree.mkdir()
    for number, size in enumerate((0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 262144, 262145, 3_000_017)):
        folder = tree / f"d{number % 3}" / f"e{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file {number} ä.bin").write_bytes(rng.randbytes(size))
    (tree / "link").symlink_to("d0/e0")
    (tree / "hard").hardlink_to(tree / "d0" / "e0" / "file 0 ä.bin")
    return tree


def make_image(directory: Path, megabytes: int) -> Path:
    """An ext4 image with such a tree in it."""
    mkfs = needs("mkfs.ext4", "e2fsprogs")
    image = directory / "image.ext4"
    subprocess.run(
        [mkfs, "-q", "-F", "-d", str(make_tree(directory)), str(image), f"{megabytes}M"], check=True, timeout=60
    )
    return image


def run(*command: str, timeout: float = 120) -> str:
    """Run a client to a good end and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(command)}\nstatus {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def round_trip(url: str, image: Path, directory: Path) -> None:
    """Write the image to a LUN, compare it there, read it back, and let e2fsck look at what came back."""
    qemu_img = needs("qemu-img", "qemu-utils")
    needs_iscsi_driver()
    back = directory / "back.ext4"
    run(qemu_img, "convert", "-n", "-f", "raw", "-O", "raw", str(image), url)
    run(qemu_img, "compare", "-f", "raw", "-F", "raw", str(image), url)
    run(qemu_img, "convert", "-f", "raw", "-O", "raw", url, str(back))
    assert digest(back) == digest(image)
    run(needs("e2fsck", "e2fsprogs"), "-fn", str(back))


def needs_iscsi_driver() -> None:
    """End the test unless qemu-img has its iSCSI driver."""
    from support.tools import missing

    text = subprocess.run(["qemu-img", "info", "iscsi://127.0.0.1:1/x/0"], capture_output=True, text=True).stderr
    if "Unknown protocol" in text:
        missing("qemu-img has no iSCSI driver (Debian package qemu-block-extra)")
