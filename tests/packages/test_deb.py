"""The Debian package, and the service that it brings under a real systemd, in the lab's guest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lab.machine import Setup, run
from lab.testing import needs_lab
from support.tools import needs

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900.0
GUEST = r"""
exec 2>&1
said() { echo "$1: $2"; }
pid() { systemctl show -P MainPID iscsitools; }
another_than() { until [ "$(pid)" != "$1" ] && systemctl -q is-active iscsitools; do sleep 0.5; done; }
client() {
    PYTHONPATH=/usr/lib/iscsitools python3 -W ignore -c '
from iscsitools.initiator import Session
with Session.connect(("127.0.0.1", 3260), "iqn.2026-11.localhost:disks") as session:
    print("client:", session.read_capacity(0))
'
}
dpkg -i /host/iscsitools.deb >/tmp/dpkg.log 2>&1 || cat /tmp/dpkg.log
said active "$(systemctl is-active iscsitools)"
said enabled "$(systemctl is-enabled iscsitools)"
said status "$(systemctl show -P StatusText iscsitools)"
said user "$(stat -c %U "/proc/$(pid)")"
client
iscsitools sessions >/dev/null && said watched yes
systemctl reload iscsitools && said reloaded yes
# An upgrade: the new version takes over, and systemd follows it.
before=$(pid)
dpkg -i /host/iscsitools.deb >/tmp/dpkg.log 2>&1 || cat /tmp/dpkg.log
[ "$(pid)" = "$before" ] || said upgraded "$(systemctl is-active iscsitools)"
journalctl -u iscsitools -o cat | grep -o -m1 'another server has taken over'
said restarts "$(systemctl show -P NRestarts iscsitools)"
client
# A crash: the journal has the stacks, and systemd starts it again.
first=$(pid)
kill -SEGV "$first"
another_than "$first"
journalctl -u iscsitools -o cat | grep -m1 'Fatal Python error'
client
# An event loop that does not turn.
mkdir -p /run/systemd/system/iscsitools.service.d
printf '[Service]\nWatchdogSec=20\n' >/run/systemd/system/iscsitools.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart iscsitools
second=$(pid)
kill -STOP "$second"
another_than "$second"
said watchdog "$(journalctl -u iscsitools -o cat | grep -c -m1 'Watchdog timeout')"
rm -r /run/systemd/system/iscsitools.service.d
systemctl daemon-reload
# Its portal opened by systemd: the first client starts it.
systemctl stop iscsitools
systemctl start iscsitools.socket
said socket "$(systemctl is-active iscsitools)"
client
said socket "$(systemctl is-active iscsitools)"
dpkg -P iscsitools >/tmp/dpkg.log 2>&1 || cat /tmp/dpkg.log
said left "$(ls -d /usr/lib/iscsitools /etc/iscsitools /run/iscsitools /var/lib/iscsitools/disk.img 2>/dev/null)"
said unit "$(systemctl show -P LoadState iscsitools)"
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("dpkg-deb", "dpkg")
    pytest.importorskip("ziglang", reason="zig is not installed (Python package ziglang)")
    folder = tmp_path_factory.mktemp("deb")
    command = [sys.executable, str(ROOT / "packaging/deb/build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.deb")
    return made.rename(folder / "iscsitools.deb")


@pytest.mark.slow
def test_the_package_has_what_it_needs(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    entries = {line.split()[5]: line.split()[:2] for line in listed.splitlines()}
    assert entries["./etc/iscsitools/iscsitools.toml"][0] == "-rw-r-----"
    assert {owner for _, owner in entries.values()} == {"root/root"}
    library = "./usr/lib/iscsitools/"
    for python in ("311", "313"):
        assert f"{library}google_crc32c/_crc32c.cpython-{python}-x86_64-linux-gnu.so" in entries
    for file in ("_native.abi3.so", "_libusdt.so", "_libusdt.LICENCE"):
        assert f"{library}iscsitools/provider/{file}" in entries
    for file in ("doc/iscsitools/copyright", "man/man1/iscsitools-top.1.gz", "bash-completion/completions/iscsitools"):
        assert f"./usr/share/{file}" in entries
    for script in ("postinst", "prerm", "postrm"):
        text = (ROOT / "packaging/deb/debian" / script).read_text()
        assert (
            subprocess.run([needs("shellcheck", "shellcheck"), "-"], input=text, text=True, check=False).returncode == 0
        )


@pytest.mark.lab
def test_the_service_under_systemd(package: Path) -> None:
    result = run(Setup(GUEST, host=package.parent, systemd=True), LIMIT, needs_lab())
    assert result.output.splitlines() == [
        "active: active",
        "enabled: enabled",
        "status: 1 target on 127.0.0.1:3260; 0 sessions",
        "user: iscsitools",
        "client: (2097152, 512)",
        "watched: yes",
        "reloaded: yes",
        "upgraded: active",
        "another server has taken over",
        "restarts: 0",
        "client: (2097152, 512)",
        "Fatal Python error: Segmentation fault",
        "client: (2097152, 512)",
        "watchdog: 1",
        "socket: inactive",
        "client: (2097152, 512)",
        "socket: active",
        "left: /var/lib/iscsitools/disk.img",
        "unit: not-found",
    ], result.output + result.console
    assert result.status == 0
