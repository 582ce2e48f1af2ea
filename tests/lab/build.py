"""Builds the lab's machine: a root file system from Debian's packages, a kernel, and an initial RAM disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from lab import chroot, image, recipe
from lab.home import HERE, Home, LabError, key, need, need_root

TOOLS: Final = {
    "debootstrap": "debootstrap", "unshare": "util-linux", "mke2fs": "e2fsprogs",
    "busybox": "busybox-static", "cpio": "cpio", "xz": "xz-utils", "qemu-system-x86_64": "qemu-system-x86",
}  # fmt: skip


def build(home: Home, *, anew: bool = False) -> bool:
    """Build the machine where it is not built, or ``anew``; returns whether it was. LabError when that fails.

    It is made beside the old one, which then goes: a build that fails leaves nothing that could be taken for whole.
    """
    if home.is_built and not anew:
        return False
    need_root("building the lab")
    need(TOOLS)
    with home.used(exclusive=True):
        if home.is_built and not anew:  # somebody else was faster
            return False
        new = home.folder / "new"
        _clear(new)
        new.mkdir()
        log = home.folder / "build.log"
        try:
            with open(log, "wb") as output:
                _make(new, output)
        except BaseException as error:
            _clear(new)
            if isinstance(error, (OSError, subprocess.CalledProcessError, LabError)):
                raise LabError(f"the build failed: {error}\n{_tail(log)}".rstrip()) from None
            raise
        for old in ("machine", "installed", "root", "initrd", "initrd.gz"):  # the last three: of the lab before this
            _clear(home.folder / old)
        new.rename(home.machine)
    return True


def _make(new: Path, log: IO[bytes]) -> None:
    root = new / "root"
    uri = mirror()
    base = ["debootstrap", "--variant=minbase", f"--include={','.join(recipe.BASE)}"]
    _step("the base system")
    _run([*base, recipe.DTRACE_SUITE, str(root), uri], log)
    suites = (recipe.DTRACE_SUITE, recipe.KERNEL_SUITE)
    (root / "etc/apt/sources.list").write_text("".join(f"deb {uri} {suite} main\n" for suite in suites))
    (root / "etc/apt/apt.conf.d/90host").write_text(_acquire())
    # Both releases have most packages: the newer one's are wanted, which is apt's default.
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    _step("DTrace, the initiator, the kernel")
    status = chroot.enter(root, ["sh", "-euc", recipe.INSTALL], writable=True, log=log)
    if status:
        raise LabError(f"the packages' installation ended with status {status}")
    (root / "usr/sbin/policy-rc.d").unlink()
    _step("the disk image")
    shutil.copy(root / "boot/vmlinuz", new)
    _initrd(root, new, log)
    image.make(root, new / "root.img", recipe.SPARE)
    (new / "key").write_text(key())


def mirror() -> str:
    """``DEBIAN_MIRROR``, or the one that this machine's apt uses."""
    if given := os.environ.get("DEBIAN_MIRROR"):
        return given
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        found = []
    if not found:
        raise LabError("this machine's apt has no Debian mirror: set DEBIAN_MIRROR to the address of one")
    return found[0]


def _acquire() -> str:
    """How this machine's apt gets files: its proxy, certificates, patience."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-", "Acquire::ForceIPv")
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(wanted))


def _initrd(root: Path, new: Path, log: IO[bytes]) -> None:
    """BusyBox, the modules that the root's disk needs, in their order, and a script."""
    tree = new / "initrd.tree"
    for folder in ("bin", "lib", "dev", "proc", "sys", "newroot"):
        (tree / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, tree / "bin/busybox")
    shutil.copy(HERE / "guest/initrd.sh", tree / "init")
    (tree / "init").chmod(0o755)
    for number, file in enumerate(modules(root, recipe.ROOT_MODULES)):
        name = file.name.partition(".")[0]
        with open(tree / f"lib/{number:02}-{name}.ko", "wb") as module:
            subprocess.run(["xz", "-dc", file], stdout=module, check=True)
    archive = f"cd {tree} && find . | cpio --quiet -o -H newc | gzip > {new}/initrd"
    _run(["sh", "-euc", archive], log)
    shutil.rmtree(tree)


def modules(root: Path, names: Sequence[str]) -> list[Path]:
    """The files of kernel modules and of those that they need, in the order in which they can be loaded.

    By the kernel's modules.dep, which names what a module needs from the last to the first. A name that it does not
    have is of a part that is built in; LabError when it is not.
    """
    folder = root / "usr/lib/modules" / (root / "boot/release").read_text().strip()
    needed = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needed[Path(file).name.partition(".")[0].replace("-", "_")] = [*reversed(others.split()), file]
    builtin = {Path(line).stem.replace("-", "_") for line in (folder / "modules.builtin").read_text().splitlines()}
    found: dict[Path, None] = {}
    for name in names:
        if name not in needed and name not in builtin:
            raise LabError(f"this kernel has no module {name}")
        found |= dict.fromkeys(folder / file for file in needed.get(name, ()))
    return list(found)


def _run(command: list[str], log: IO[bytes]) -> None:
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=True)
    except subprocess.CalledProcessError as error:
        raise LabError(f"{command[0]} ended with status {error.returncode}") from None


def _step(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def _clear(path: Path) -> None:
    """Remove it, and nothing that is mounted in it."""
    if path.is_dir() and not path.is_symlink():
        subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)
    else:
        path.unlink(missing_ok=True)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-8:])
