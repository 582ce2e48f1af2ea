"""The session of docs/ha.md in a fresh Debian 12: every block of commands in their order, and what it prints.

    python3 tests/fresh/ha.py

It needs root and debootstrap, as fresh.py, whose root file system it uses. A block of text that follows one of commands
is what those have printed, or lines of the heads' logs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import fresh
from lab import chroot
from lab.home import LabError, need, need_root

PAGE: Final = fresh.PROJECT / "docs" / "ha.md"
LIMIT: Final = 1200
_SAID: Final = """
cat >/tmp/said <<'SAID'
{said}SAID
cat /tmp/block *.log >/tmp/shown
while read -r line; do
    grep -qF -- "$line" /tmp/shown || {{ cat /tmp/shown; echo "HA: not shown: $line"; exit 1; }}
done </tmp/said
echo 'HA: as the page says'
"""


def script(page: str) -> str:
    """The blocks of the page as one script, which stops where something fails or is not printed."""
    parts = ["cd ~/iscsitools"]
    session = page[page.index("## The session") : page.index("## How it works")]
    for kind, text in re.findall(r"^```(sh|text)\n(.*?)^```$", session, re.MULTILINE | re.DOTALL):
        if kind == "sh":
            parts.append(f"set -x\nexec 3>&1 >/tmp/block\n{text}set +x\nexec >&3\ncat /tmp/block")
        else:
            parts.append(_SAID.format(said=text))
    return "\n".join([*parts, "echo HA: done\n"])


def try_out(roots: Path) -> int:
    """All of it in a copy of the root; returns the status of what failed."""
    archive = fresh.root_of("bookworm", roots)
    with tempfile.TemporaryDirectory(dir=roots) as folder:
        root = Path(folder)
        root.chmod(0o755)
        subprocess.run(["tar", "-C", folder, "-xf", str(archive)], check=True)
        fresh.copy_project(root)
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # no services
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k.lower().endswith("_proxy")}
        kept |= {"HOME": f"/home/{fresh.USER}", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        kept |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        command = ["env", "-i", *(f"{k}={v}" for k, v in kept.items()), "sh", "-euc", script(PAGE.read_text())]
        return chroot.enter(root, command, writable=True, timeout=LIMIT)


def main() -> int:
    """Try it."""
    try:
        need_root("a fresh root")
        need({"debootstrap": "debootstrap", "unshare": "util-linux", "tar": "tar", "git": "git"})
        roots = Path(os.environ.get("FRESH_ROOTS") or "/var/tmp/fresh-roots").absolute()
        status = try_out(roots)
    except subprocess.TimeoutExpired:
        print(f"HA: not done within {LIMIT} s", file=sys.stderr)
        return 1
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        print(f"fresh: {error}", file=sys.stderr)
        return fresh.NOT_MADE
    print(f"HA: {'as docs/ha.md says' if not status else f'status {status}'}", flush=True)
    return min(1, status)


if __name__ == "__main__":
    sys.exit(main())
