"""A fresh Debian: python3, python3-venv, make and nothing else, where a normal user does what README says.

    python3 tests/fresh/fresh.py bookworm                 # make run, the lines under Install, make check
    python3 tests/fresh/fresh.py trixie --check test      # make run, the lines under Install, make test

It needs root and debootstrap. The root file system is made once a week and kept in ``FRESH_ROOTS``
(/var/tmp/fresh-roots); each try has a copy of its own, which is removed. Nothing that is mounted for it outlives the
process.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from lab import chroot  # noqa: E402  (found only with the path above)
from lab.build import mirror  # noqa: E402
from lab.home import LabError, need, need_root  # noqa: E402

PACKAGES: Final = ("ca-certificates", "make", "python3", "python3-venv")
"""What README asks for; the certificates are this machine's own, the package makes their folder."""
SUITES: Final = ("bookworm", "trixie")
NOT_MADE: Final = 3
"""The exit status when nothing could be tried: no root file system, as when the mirror is broken."""
USER: Final = "ada"
PORT: Final = 3260
RUN: Final = r"""
cd ~/iscsitools
trap 'kill $server 2>/dev/null || true' EXIT
make run {args} >~/run.log 2>&1 & server=$!
for _ in $(seq 600); do
    if grep -q 'listens on' ~/run.log; then break; fi
    if ! kill -0 $server 2>/dev/null; then break; fi
    sleep 0.5
done
cat ~/run.log
grep -q 'listens on 127.0.0.1:{port}' ~/run.log
# There is no compiler, and one line says what that costs.
[ "$(grep -c 'the data path in C was not built: .*processor time' ~/run.log)" = 1 ]
# The greeting is printed whole, its commands are the user's own, and a target answers at the portal.
python3 - <<'PROGRAM'
import socket
socket.create_connection(("127.0.0.1", {port}), 10).close()
PROGRAM
.venv/bin/iscsitools sessions
# A shell without a terminal has what it started in the background ignore SIGINT, and make waits for its child.
kill -TERM $(cat /proc/$server/task/$server/children)
wait $server
echo FRESH: make run served and ended
# Installed, as README says, in a shell as people have it.
cat >~/installed <<'PROGRAM'
set -eu
{install}
cd ~
{serve} {portal} >~/serve.log 2>&1 & server=$!
for _ in $(seq 600); do
    if grep -q 'listens on' ~/serve.log; then break; fi
    if ! kill -0 $server 2>/dev/null; then break; fi
    sleep 0.5
done
cat ~/serve.log
[ "$(grep -c 'the data path in C was not built: .*processor time' ~/serve.log)" = 1 ]
iscsitools top --batch 1 1
set +u
{completion}
complete -p iscsitools
kill -TERM $server
wait $server
PROGRAM
bash ~/installed
echo FRESH: installed, it served
make {check}
echo FRESH: make {check} passed
"""


def lines_of_readme() -> dict[str, str]:
    """What README tells to type once, by the word that stands for it in the script."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    begin = {"install": "python3 -m venv", "serve": "iscsitools serve", "completion": 'eval "$(_ISCSITOOLS_COMPLETE'}
    found = {}
    for word, start in begin.items():
        (line,) = re.findall(rf"^{re.escape(start)}.*$", text, re.MULTILINE)
        found[word] = line.partition("  #")[0].rstrip()
    return found


def root_of(suite: str, roots: Path) -> Path:
    """The archive of a root file system of ``suite``, made this week."""

    def make(folder: Path) -> None:
        made = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite]
        subprocess.run([*made, str(folder / "root"), mirror()], check=True)

    return kept_for_a_week(suite, PACKAGES, make, roots)


def kept_for_a_week(name: str, packages: Sequence[str], make: Callable[[Path], None], roots: Path) -> Path:
    """An archive of the folder ``root`` that ``make`` makes in a folder; of another week, it is made anew."""
    archive = roots / f"{name}-{time.strftime('%G-%V')}-{'-'.join(packages)}.tar"
    if archive.exists():
        return archive
    roots.mkdir(parents=True, exist_ok=True)
    for old in roots.glob(f"{name}-*.tar"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=roots) as folder:
        make(Path(folder))
        unfinished = Path(folder) / "root.tar"
        packed = ["tar", "-C", f"{folder}/root", "--one-file-system", "-cf", str(unfinished), "."]
        subprocess.run(packed, check=True)
        unfinished.rename(archive)
    return archive


def copy_project(root: Path) -> None:
    """Put the checkout, as git knows it, into the user's home."""
    home = root / "home" / USER
    place = home / "iscsitools"
    place.mkdir(parents=True)
    listed = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True).stdout
    packed = ["tar", "-C", str(PROJECT), "--null", "-T", "-", "-cf", "-"]
    archive = subprocess.run(packed, input=names, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-C", str(place), "-xf", "-"], input=archive, check=True)
    own = Path.home() / ".config/pip/pip.conf"
    if own.is_file():
        (home / ".config/pip").mkdir(parents=True)
        shutil.copy(own, home / ".config/pip/pip.conf")


def free_port() -> int:
    """The port that `make run` takes, or another one where something listens there already."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port of 127.0.0.1 is free")


def try_out(suite: str, check: str, roots: Path) -> int:
    """Do in a copy of the root what README says; returns the status of the first thing that failed."""
    archive = root_of(suite, roots)
    with tempfile.TemporaryDirectory(dir=roots) as folder:
        root = Path(folder)
        root.chmod(0o755)
        subprocess.run(["tar", "-C", folder, "-xf", str(archive)], check=True)
        subprocess.run(["chroot", folder, "useradd", "-m", USER], check=True)
        copy_project(root)
        subprocess.run(["chroot", folder, "chown", "-R", f"{USER}:{USER}", f"/home/{USER}"], check=True)
        port = free_port()
        portal = "" if port == PORT else f"--portal 127.0.0.1:{port}"
        words = {"check": check, "args": f'ARGS="{portal}"', "port": str(port), "portal": portal} | lines_of_readme()
        script = re.sub(r"\{(\w+)\}", lambda word: words[word[1]], RUN)
        # Nothing of this process's surroundings but where packages come from: make's own variables least of all.
        kept = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k.lower().endswith("_proxy")}
        kept |= {"HOME": f"/home/{USER}", "USER": USER, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        user = ["runuser", "-u", USER, "--", "env", "-i", *(f"{k}={v}" for k, v in kept.items()), "sh", "-euc", script]
        return chroot.enter(root, user, writable=True)


def main() -> int:
    """Try each release that was asked for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="RELEASE", help=f"{' or '.join(SUITES)}  [default: both]")
    parser.add_argument("--check", default="check", help="what make does behind make run  [default: check]")
    arguments = parser.parse_args()
    for suite in arguments.suites:
        if not re.fullmatch(r"[a-z]+", suite):
            parser.error(f"{suite!r} is no release of Debian")
    try:
        need_root("a fresh root")
        need({"debootstrap": "debootstrap", "unshare": "util-linux", "tar": "tar", "git": "git"})
        roots = Path(os.environ.get("FRESH_ROOTS") or "/var/tmp/fresh-roots").absolute()
        for suite in arguments.suites or SUITES:
            status = try_out(suite, arguments.check, roots)
            print(f"FRESH: {suite}: {'as README says' if not status else f'status {status}'}", flush=True)
            if status:
                return 1
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        print(f"fresh: {error}", file=sys.stderr)
        return NOT_MADE
    return 0


if __name__ == "__main__":
    sys.exit(main())
