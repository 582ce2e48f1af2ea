"""Install what `make wheels` and `make deb` made in fresh roots of Debian, serve from it, remove it again.

    python3 tests/fresh/packages.py                 # the wheel and the container's steps on 12; the .deb on 12, 13
    python3 tests/fresh/packages.py bookworm        # one release

It needs root, debootstrap, and dist/ as both have left it. Roots are kept and copied as for fresh.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fresh import PROJECT, SUITES, USER, root_of
from lab import chroot  # (fresh has set the path)

CLIENT: Final = """
import sys
from iscsitools.initiator import Session
from iscsitools.provider import _native
import google_crc32c
with Session.connect(("127.0.0.1", int(sys.argv[2])), sys.argv[1], digests="CRC32C") as session:
    session.read_capacity()
    session.write(5, bytes([7]) * 512)
    assert session.read(5, 1) == bytes([7]) * 512
print("CLIENT", session.agreed.data_digest, _native.HAVE_SDT, google_crc32c.implementation)
"""
WAIT: Final = """
wait_for() {
    for _ in $(seq 600); do
        if grep -q 'listens on' "$1"; then return; fi
        if ! kill -0 $server 2>/dev/null; then break; fi; sleep 0.5; done
    cat "$1"; exit 1
}
"""
WHEEL: Final = f"""{WAIT}
cd ~
python3 -m venv venv
venv/bin/pip install -q /packages/iscsitools-*-manylinux_2_17_x86_64.whl
[ -s venv/share/man/man1/iscsitools-top.1 ]
venv/bin/iscsitools serve --portal 127.0.0.1:0 --iqn iqn.2026-11.example:wheel --lun ram:1M >log 2>&1 & server=$!
wait_for log
venv/bin/python /packages/client.py iqn.2026-11.example:wheel $(sed -n 's/.*listens on 127.0.0.1://p' log)
venv/bin/iscsitools sessions
kill -INT $server
wait $server
"""
LOOPBACK: Final = "import fcntl, socket, struct; " + (
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH22x', b'lo', 0x41))"  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
)
DEB: Final = f"""
cat >/tmp/second <<'END'
{WAIT}
python3 -c "{LOOPBACK}"
dpkg -i /packages/iscsitools_*.deb
[ "$(stat -c '%a %U %G' /etc/iscsitools/iscsitools.toml)" = '640 root iscsitools' ]
cd /
serve='/usr/bin/iscsitools serve --config /etc/iscsitools/iscsitools.toml --name iscsitools'
runuser -u iscsitools -- $serve >/tmp/log 2>&1 & server=$!
wait_for /tmp/log
PYTHONPATH=/usr/lib/iscsitools python3 -sP /packages/client.py iqn.2026-11.localhost:disks 3260
iscsitools sessions
# The same package again is an upgrade; what systemd has its script do is done here by hand: the new version takes over.
dpkg -i /packages/iscsitools_*.deb
iscsitools --version
runuser -u iscsitools -- $serve --takeover >/tmp/second-log 2>&1 & second=$!
wait $server
grep -q 'another server has taken over' /tmp/log
server=$second
wait_for /tmp/second-log
PYTHONPATH=/usr/lib/iscsitools python3 -sP /packages/client.py iqn.2026-11.localhost:disks 3260
kill -INT $(cat /proc/$server/task/$server/children)
wait $server
dpkg -P iscsitools
for gone in /usr/lib/iscsitools /etc/iscsitools /usr/bin/iscsitools; do [ ! -e $gone ]; done
[ -s /var/lib/iscsitools/disk.img ]
[ -z "$(find / -xdev -path /packages -prune -o -path /var/lib/dpkg -prune -o -name '*iscsitools*' -print |
    grep -v '^/var/lib/iscsitools$')" ]
END
# A network of its own, where port 3260 is free.
unshare --net sh -eu /tmp/second
"""

CONTAINER: Final = PROJECT / "packaging" / "container"
IMAGE: Final = f"""
cp /packages/iscsitools-*-manylinux_2_17_x86_64.whl /tmp
install -D -m 644 /packages/container/iscsitools.toml /etc/iscsitools/iscsitools.toml
# What apt-get would bring is in the root already.
ln -s /bin/true /usr/local/bin/apt-get
PATH=/usr/local/bin:$PATH
%(run)s
[ ! -e /tmp/iscsitools-*.whl ]
cat >/tmp/second <<'END'
{WAIT}
python3 -c "{LOOPBACK}"
cd %(folder)s
as_user() {{ runuser -u %(user)s -- env %(env)s "$@"; }}
if as_user %(health)s; then echo 'healthy without a server'; exit 1; fi
runuser -u %(user)s -- env %(env)s %(cmd)s >/tmp/log 2>&1 & server=$!
wait_for /tmp/log
/opt/iscsitools/bin/python /packages/client.py iqn.2026-11.localhost:disks 3260
as_user %(health)s
kill -TERM $(cat /proc/$server/task/$server/children)
wait $server
END
# What was fetched is there: a network of its own from here on.
unshare --net sh -eu /tmp/second
"""


def image_script() -> str:
    """The steps of the Containerfile, as a script; the packages of its apt-get are in the root already."""
    text = (CONTAINER / "Containerfile").read_text().replace("\\\n", "")
    steps = dict(line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#"))
    health = json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])
    return IMAGE % {
        "run": steps["RUN"], "folder": steps["WORKDIR"], "user": steps["USER"], "env": steps["ENV"],
        "health": shlex.join(health), "cmd": shlex.join(json.loads(steps["CMD"])),
    }  # fmt: skip


def try_out(suite: str, script: str, user: str, packages: Path, roots: Path) -> int:
    """Run a script in a copy of the root; returns its status."""
    archive = root_of(suite, roots)
    with tempfile.TemporaryDirectory(dir=roots) as folder:
        Path(folder).chmod(0o755)
        subprocess.run(["tar", "-C", folder, "-xf", str(archive)], check=True)
        subprocess.run(["chroot", folder, "useradd", "-m", USER], check=True)
        kept = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        home = "/root" if user == "root" else f"/home/{user}"
        kept |= {"HOME": home, "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        own = Path.home() / ".config/pip/pip.conf"
        if own.is_file() and user != "root":
            place = Path(folder) / home[1:] / ".config/pip"
            place.mkdir(parents=True)
            shutil.copy(own, place)
        words = ["env", "-i", *(f"{key}={value}" for key, value in kept.items()), "sh", "-euc", script]
        command = words if user == "root" else ["runuser", "-u", user, "--", *words]
        return chroot.enter(Path(folder), command, writable=True, binds={"/packages": packages})


def main() -> int:
    """Try each package; 1 when one does not do what it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="RELEASE", help=" or ".join(SUITES))
    arguments = parser.parse_args()
    roots = Path(os.environ.get("FRESH_ROOTS") or "/var/tmp/fresh-roots").absolute()
    tries = [(suite, "the .deb", DEB, "root") for suite in arguments.suites]
    if "bookworm" in arguments.suites:
        tries.insert(0, ("bookworm", "the wheel", WHEEL, USER))
        tries.append(("bookworm", "the container's steps", image_script(), "root"))
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        packages.chmod(0o755)
        (packages / "client.py").write_text(CLIENT)
        shutil.copytree(CONTAINER, packages / "container")
        for made in (PROJECT / "dist").glob("iscsitools[-_]*"):
            shutil.copy(made, packages)
        for suite, what, script, user in tries:
            status = try_out(suite, script, user, packages, roots)
            print(f"PACKAGES: {suite}: {what}: {'served' if not status else f'status {status}'}", flush=True)
            if status:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
