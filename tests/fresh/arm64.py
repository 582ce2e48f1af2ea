"""Load the aarch64 wheel that `make wheels` made by Debian's Python for arm64, under QEMU's user emulation, and serve.

    python3 tests/fresh/arm64.py

No chroot and no handler of the kernel's: qemu-aarch64-static runs that Python out of a folder with the packages' files.
It needs root for debootstrap, which fetches them, and what PyPI has for aarch64 of what the wheel depends on. The
client is this machine's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fresh import PROJECT, kept_for_a_week
from lab.build import mirror  # (fresh has set the path)
from lab.home import LabError, need

PYTHON: Final = "3.11"
LOADED: Final = """
import ctypes
from iscsitools.datapath import _native as path
from iscsitools.provider import _native as probes
ctypes.CDLL(probes.__file__.replace("_native.abi3.so", "_libusdt.so"))
print("LOADED", probes.HAVE_SDT, path.__name__)
"""
CLIENT: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from iscsitools.initiator import Session
with Session.connect(("127.0.0.1", int(sys.argv[2])), "iqn.2026-11.example:arm", digests="CRC32C") as session:
    session.read_capacity()
    session.write(5, bytes([7]) * 512)
    assert session.read(5, 1) == bytes([7]) * 512
print("CLIENT", session.agreed.data_digest)
"""


def make_root(folder: Path) -> None:
    """Fetch the packages that Python needs, and unpack them: nothing of them is run."""
    include = "--include=python3-minimal,libpython3-stdlib"
    fetch = ["debootstrap", "--download-only", "--arch=arm64", "--variant=minbase", include, "bookworm"]
    subprocess.run([*fetch, str(folder / "fetched"), mirror()], check=True, stdout=subprocess.DEVNULL)
    for package in sorted((folder / "fetched/var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)


def install(wheel: Path, site: Path) -> None:
    """The wheel and what it depends on, for that Python."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(site)]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON]
    command += [word for abi in ("cp311", "abi3", "none") for word in ("--abi", abi)]
    command += [word for glibc in ("2014", "_2_17", "_2_28") for word in ("--platform", f"manylinux{glibc}_aarch64")]
    subprocess.run([*command, str(wheel)], check=True)


def try_out(wheel: Path, roots: Path) -> int:
    """Load it and serve from it; 0 when all went well."""
    archive = kept_for_a_week("arm64", ("python3-minimal",), make_root, roots)
    with tempfile.TemporaryDirectory() as folder:
        root, site = Path(folder) / "root", Path(folder) / "site"
        root.mkdir()
        subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)
        install(wheel, site)
        python = ["qemu-aarch64-static", "-L", str(root), f"{root}/usr/bin/python{PYTHON}", "-P"]
        here = os.environ | {"PYTHONPATH": str(site), "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": folder, "LC_ALL": "C"}
        loaded = subprocess.run([*python, "-c", LOADED], env=here, capture_output=True, text=True, check=False)
        print(loaded.stdout + loaded.stderr, end="")
        if loaded.stdout.split() != ["LOADED", "1", "iscsitools.datapath._native"]:
            return 1
        serve = ["-m", "iscsitools", "serve", "--portal", "127.0.0.1:0", "--iqn", "iqn.2026-11.example:arm"]
        with subprocess.Popen(
            [*python, *serve, "--lun", "ram:1M"], env=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as server:
            try:
                return _serve(server)
            finally:
                server.terminate()


def _serve(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="")
        if " listens on " in line:
            port = line.rpartition(":")[2].strip()
            client = [sys.executable, "-c", CLIENT, str(PROJECT), port]
            return subprocess.run(client, check=False, timeout=300).returncode
    return 1


def main() -> int:
    """Try the wheel of dist/; 3 when nothing could be tried, 1 when it does not do what it should."""
    roots = Path(os.environ.get("FRESH_ROOTS") or "/var/tmp/fresh-roots").absolute()
    wheels = list((PROJECT / "dist").glob("iscsitools-*-manylinux_2_17_aarch64.whl"))
    try:
        need({"debootstrap": "debootstrap", "dpkg": "dpkg", "qemu-aarch64-static": "qemu-user-static"})
        if len(wheels) != 1:
            raise LabError("there is no aarch64 wheel in dist: make wheels")
        status = try_out(wheels[0], roots)
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        print(f"arm64: {error}", file=sys.stderr)
        return 3
    print(f"PACKAGES: arm64: the wheel: {'served' if not status else f'status {status}'}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
