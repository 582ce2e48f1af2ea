"""Build a package for Debian 12 and 13 on amd64: python packaging/deb/build.py [FOLDER].

FOLDER is dist.

Debian 12 has older versions of what this project needs, and neither release has all of it, so the package has its own
copies, pinned in requirements.txt, below /usr/lib/iscsitools: nobody else sees them. They are wheels, and so is the
project itself (packaging/wheels). It needs dpkg-deb, and what the wheels need.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "packaging" / "wheels")]

import build as wheels  # noqa: E402  (packaging/wheels/build.py, found only with the path above)
from iscsitools import __version__  # noqa: E402

LIBRARY: Final = "usr/lib/iscsitools"
PYTHONS: Final = ("3.11", "3.13")
"""Debian 12's and 13's. The first one's files are all there; of the next, its form of the one module that needs one."""
FILES: Final = {
    "debian/iscsitools": ("usr/bin/iscsitools", 0o755),
    "debian/iscsitools.toml": ("etc/iscsitools/iscsitools.toml", 0o640),
    "../systemd/iscsitools.service": ("usr/lib/systemd/system/iscsitools.service", 0o644),
    "../systemd/iscsitools@.service": ("usr/lib/systemd/system/iscsitools@.service", 0o644),
    "../systemd/iscsitools.socket": ("usr/lib/systemd/system/iscsitools.socket", 0o644),
    "../systemd/take-over": ("usr/lib/iscsitools/take-over", 0o755),
    "../systemd/iscsitools.sysusers": ("usr/lib/sysusers.d/iscsitools.conf", 0o644),
    "../systemd/iscsitools.tmpfiles": ("usr/lib/tmpfiles.d/iscsitools.conf", 0o644),
    "../../CHANGELOG.md": ("usr/share/doc/iscsitools/changelog", 0o644),
    "debian/postinst": ("DEBIAN/postinst", 0o755),
    "debian/prerm": ("DEBIAN/prerm", 0o755),
    "debian/postrm": ("DEBIAN/postrm", 0o755),
    "debian/conffiles": ("DEBIAN/conffiles", 0o644),
}
CONTROL: Final = """\
Package: iscsitools
Version: {version}-1
Architecture: amd64
Maintainer: The iscsitools maintainers <maintainers@iscsitools.invalid>
Homepage: {home}
Depends: python3 (>= 3.11), libc6 (>= 2.17)
Recommends: systemd
Section: net
Priority: optional
Installed-Size: {size}
Description: iSCSI target that anyone can see into
 It serves files and memory as disks over iSCSI (RFC 7143, SPC-4, SBC-3), and
 shows live who does what to them, without a restart: by commands of its own,
 and by probes for DTrace and bpftrace.
"""


def install(wheel: Path, library: Path) -> None:
    """Put the project and what it needs below ``library``."""
    platform = ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64", "--implementation", "cp"]
    with tempfile.TemporaryDirectory() as folder:
        for python in PYTHONS:
            place = library if python == PYTHONS[0] else Path(folder)
            abis = [word for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
            for what in (["--require-hashes", "-r", str(HERE / "requirements.txt")], [str(wheel)]):
                if what[-1] == str(wheel) and place != library:
                    continue
                run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
                     "--no-deps", "--only-binary", ":all:", "--target", str(place), "--upgrade",
                     "--python-version", python, *abis, *platform, *what])  # fmt: skip
            for module in Path(folder).rglob("*.so*"):
                mine = library / module.relative_to(folder)
                if not mine.exists():
                    shutil.copy(module, mine)


def copyright_text(library: Path) -> str:
    """What is in the package, with the licence of each, as its own metadata and files say."""
    parts = ["iscsitools is under the Apache License 2.0, /usr/share/common-licenses/Apache-2.0.\n"]
    parts.append(f"It brings copies of these, below /{LIBRARY}:\n")
    for info in sorted(library.glob("*.dist-info")):
        said = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        if said["Name"] != "iscsitools":
            texts = [file for file in sorted((info / "licenses").rglob("*")) if file.is_file()]
            parts += [f"== {said['Name']} {said['Version']}\n", *(file.read_text(encoding="utf-8") for file in texts)]
    parts += ["== libusdt\n", (library / wheels.PROVIDER / "_libusdt.LICENCE").read_text(encoding="utf-8")]
    return "\n".join(parts)


def home() -> str:
    """The project's address."""
    project = tomllib.loads((wheels.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Homepage"])


def stage(wheel: Path, root: Path) -> None:
    """Lay out the package's files below ``root``."""
    library = root / LIBRARY
    library.mkdir(parents=True)
    install(wheel, library)
    shutil.rmtree(library / "bin", ignore_errors=True)
    shutil.move(library / "share", root / "usr/share")
    # Debian's zsh and fish look elsewhere than under /usr/local.
    (root / "usr/share/zsh/site-functions").rename(root / "usr/share/zsh/vendor-completions")
    for source, (place, mode) in FILES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / source, root / place)
        (root / place).chmod(mode)
    (root / "usr/share/doc/iscsitools/copyright").write_text(copyright_text(library), encoding="utf-8")
    for page in (root / "usr/share/man").rglob("*.[1-9]"):
        run(["gzip", "-9n", str(page)])
    run(["gzip", "-9n", str(root / "usr/share/doc/iscsitools/changelog")])
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) // 1024
    (root / "DEBIAN/control").write_text(CONTROL.format(version=__version__, size=size, home=home()))
    for folder in (folder for folder in (root, *root.rglob("*")) if folder.is_dir()):
        folder.chmod(0o755)


def run(command: list[str]) -> None:
    """Run a program; WheelError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise wheels.WheelError(f"{command[0]}: {(done.stdout + done.stderr).strip()}")


def main() -> int:
    """Build it, and say what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    if shutil.which("dpkg-deb") is None:
        parser.exit(1, "deb: dpkg-deb is missing (Debian package dpkg)\n")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = arguments.folder / f"iscsitools_{__version__}-1_amd64.deb"
    os.umask(0o022)
    try:
        target = wheels.TARGETS["gnu-x86_64"]
        wheel = wheels.build_wheel(target, arguments.folder)
        wheels.check(wheel, target)
        with tempfile.TemporaryDirectory() as root:
            stage(wheel, Path(root))
            run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, str(made)])
    except (wheels.WheelError, OSError) as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    print(f"{made}: {made.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
