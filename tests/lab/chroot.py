"""Runs a command in a root file system, in namespaces of its own: what is mounted for it vanishes with it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

# $1: the root; $2: ro or rw; then SOURCE PATH pairs, "--", and the command.
_ENTER: Final = """
root=$1 mode=$2
shift 2
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 dev dev
for node in null zero full random urandom tty; do : > dev/$node; mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for folder in tmp run root dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
# The network's settings are this machine's: name servers, certificates, where pip looks.
for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    if [ -s $file ]; then [ -e .$file ] || : > .$file; mount --bind $file .$file; fi
done
if [ -f ~/.config/pip/pip.conf ]; then mkdir -p root/.config/pip; cp ~/.config/pip/pip.conf root/.config/pip/; fi
while [ "$1" != -- ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    shift 2
done
shift
if [ "$mode" = ro ]; then mount -o remount,bind,ro "$root"; fi
HOME=/root exec chroot "$root" "$@"
"""


def enter(
    root: Path,
    command: Sequence[str],
    *,
    binds: Mapping[str, Path] | None = None,
    writable: bool = False,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    log: IO[bytes] | None = None,
    timeout: float | None = None,
) -> int:
    """Run ``command`` as root in ``root``, which it may change only when ``writable``; returns its status.

    ``binds``: folders of this machine by their path in the root; they can be written. What the command prints goes to
    ``log``, or where this program's output goes. When ``timeout`` seconds are over, TimeoutExpired, and nothing of it
    is left running: the processes have a name space that ends with the first of them.
    """
    pairs = [word for path, folder in (binds or {}).items() for word in (str(folder), path)]
    unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    words = ["sh", "-euc", _ENTER, "sh", str(root), "rw" if writable else "ro", *pairs, "--", *command]
    output = None if log is None else subprocess.STDOUT
    return subprocess.run(
        [*unshare, *words], stdin=stdin, stdout=log, stderr=output, timeout=timeout, check=False
    ).returncode
