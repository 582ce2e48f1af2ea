"""The lab's guest as a machine that is told what to do, a script at a time, while the target on the host changes."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Final

from lab.home import Home
from lab.machine import Machine, Setup

BOOT: Final = 600.0
"""Seconds for the guest to boot: twenty on an idle machine, and minutes on one that is not."""
LIMIT: Final = 300.0
"""Seconds for one script."""
_AGENT: Final = """
mkdir -p /run/lock/iscsi
for module in iscsi_tcp sd_mod sg; do modprobe $module; done
setsid iscsid -f >/dev/null 2>&1 &
cd /host
echo ready
number=0
while [ ! -e end ]; do
    if [ -e $number.sh ]; then
        sh $number.sh >$number.out 2>&1 </dev/null
        echo $? >$number.part
        mv $number.part $number.status
        number=$((number + 1))
    else
        sleep 0.1
    fi
done
"""


class Guest:
    """A guest with the kernel's initiator. It looks for the next script in the folder that it shares with the host."""

    def __init__(self, folder: Path, home: Home) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir(parents=True)
        self._machine = Machine(Setup(_AGENT, folder, systemd=True), home)

    def __enter__(self) -> Guest:
        self._machine.wait_for("ready", BOOT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._machine.close()

    def start(self, script: str) -> int:
        """Have the script run by sh; returns its number, which :meth:`result` takes."""
        part = self._folder / f"{self._number}.new"
        part.write_text(script)
        part.rename(self._folder / f"{self._number}.sh")
        self._number += 1
        return self._number - 1

    def result(self, number: int, limit: float = LIMIT) -> tuple[int, str]:
        """The status of a script and what it printed, when it has ended."""
        status = self._folder / f"{number}.status"
        end = time.monotonic() + limit
        while not (status.exists() and status.read_text()):  # a name may come before what is in the file
            assert self._machine.running, f"the guest ended:\n{self._machine.console[-2000:]}"
            assert time.monotonic() < end, f"no end in {limit} s: {(self._folder / f'{number}.sh').read_text()}"
            time.sleep(0.05)
        return int(status.read_text()), (self._folder / f"{number}.out").read_text(errors="replace")

    def run(self, script: str, limit: float = LIMIT) -> tuple[int, str]:
        """Run the script by sh; its status, and what it printed."""
        return self.result(self.start(script), limit)

    def sh(self, script: str, limit: float = LIMIT) -> str:
        """Run the script by sh, which has to end well; what it printed."""
        status, printed = self.run(script, limit)
        assert status == 0, f"{script}\nstatus {status}:\n{printed}\n{self._machine.console[-1000:]}"
        return printed

    def log_in(self, iqn: str, portal: str, initiator: str, luns: int = 1) -> list[str]:
        """Log in under this initiator name; the disks (``/dev/sdX``), in the order of their LUNs.

        I/O waits for a target that is away, as it does by default, for two minutes.
        """
        face = initiator.rpartition(":")[2]
        return self.sh(f"""
            set -e
            if ! iscsiadm -m iface -I {face} >/dev/null 2>&1; then
                iscsiadm -m iface -I {face} -o new
                iscsiadm -m iface -I {face} -o update -n iface.initiatorname -v {initiator}
            fi
            iscsiadm -m node -o new -T {iqn} -p {portal} -I {face}
            iscsiadm -m node -T {iqn} -p {portal} -I {face} --login
            before=$(date +%s)
            while :; do
                for session in /sys/class/iscsi_session/session*; do
                    [ "$(cat $session/initiatorname)" = {initiator} ] || continue
                    [ "$(cat $session/targetname)" = {iqn} ] || continue
                    connection=/sys/class/iscsi_connection/connection${{session##*session}}:0
                    address=$(cat $connection/persistent_address) port=$(cat $connection/persistent_port)
                    [ "$address:$port" = {portal} ] || continue
                    found=$(ls -d $session/device/target*/*/block/* 2>/dev/null || :)
                    [ "$(echo "$found" | grep -c .)" = {luns} ] && break 2
                done
                [ $(date +%s) -lt $((before + 60)) ]
                sleep 0.1
            done >&2
            udevadm settle
            echo "$found" | sort -t: -k 4 -n | while read -r path; do echo /dev/${{path##*/}}; done
        """).split()[-luns:]
