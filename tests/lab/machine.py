"""Boots the lab's guest with a script: what a test of the lab works with (README.md has examples)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from lab.disk import Cache, Disk, check_names
from lab.home import HERE, Home, LabError, need

HOST: Final = "10.0.2.2"
"""The guest's name for the host's 127.0.0.1."""
NO_END: Final = 124
"""The status of a guest whose script did not come to its end."""
EMULATION: Final = "Oops: int3"
"""The guest's kernel patches its own code by way of this trap. QEMU's emulation of several processors lets one of them
run into it when the patch is over: seen once, in do_user_addr_fault."""
_TOOLS: Final = {"qemu-system-x86_64": "qemu-system-x86", "setpriv": "util-linux"}
_GUEST_FILES: Final = ("boot.sh", "go.sh", "lab.service")
# What ends a guest at its first fault; what costs time under emulation and shows nothing; RCU's grace periods, for
# which each change of a probe waits, made short; the network's name as the kernel gives it, whatever udev thinks; and
# no check that the timer ticks while the kernel counts: beside other work it may not ("IO-APIC + timer doesn't work!").
_KERNEL: Final = (
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off apparmor=0 audit=0 rcupdate.rcu_expedited=1 "
    "net.ifnames=0 no_timer_check systemd.unit=lab.service systemd.show_status=0"
)


@dataclass(frozen=True, slots=True)
class Result:
    """How a guest ended: its script's status (or NO_END), what the script printed, what the kernel said."""

    status: int
    output: str
    console: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What a guest is made of.

    ``script``: run by sh as root, in /tmp. ``host``: a folder of the host that is /host in the guest, to write as well.
    ``images``: read-only disk images (:mod:`lab.image`) by the path where they are mounted. ``disks``: those that a
    power cut hurts. ``systemd``: what the first process is; else a shell. ``forward``: ports of the guest by the port
    of the host's 127.0.0.1 that leads there. ``memory``: MiB.
    """

    script: str
    host: Path | None = None
    images: Mapping[str, Path] | None = None
    disks: tuple[Disk, ...] = ()
    systemd: bool = False
    forward: Mapping[int, int] | None = None
    memory: int = 3072


class Machine:
    """A running guest. As a context manager, it is gone at the end of the block, whatever happens there.

    What it changes in its root is gone with it, so several can run at once. It belongs to the thread that made it.
    """

    def __init__(self, setup: Setup, home: Home | None = None) -> None:
        home = home or Home.of_environment()
        home.require()
        need(_TOOLS | ({"nbdkit": "nbdkit"} if setup.disks else {}))
        check_names(setup.disks)
        self._folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self._caches: list[Cache] = []
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._share = _share(self._folder, setup)
            for disk in setup.disks:
                self._caches.append(Cache(disk, self._folder))
            with home.used():
                self._process = self._start(home, setup)
        except BaseException:
            self.close()
            raise

    def _start(self, home: Home, setup: Setup) -> subprocess.Popen[bytes]:
        files = [f"file:{self._folder / name}" for name in ("console", "output")]
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config"]
        command += ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(setup.memory), "-no-reboot"]
        command += ["-display", "none", "-serial", files[0], "-serial", files[1]]
        command += ["-kernel", str(home.machine / "vmlinuz"), "-initrd", str(home.machine / "initrd")]
        command += ["-append", _KERNEL, *_folder("lab", self._share)]
        command += _image("lab-root", home.machine / "root.img", "snapshot=on,cache=unsafe")
        for number, image in enumerate((setup.images or {}).values()):
            command += _image(f"lab-image-{number}", image, "readonly=on")
        for cache in self._caches:
            command += cache.arguments
        if setup.host:
            command += _folder("host", setup.host)
        ports = "".join(f",hostfwd=tcp:127.0.0.1:{port}-:{inside}" for port, inside in (setup.forward or {}).items())
        command += ["-nic", f"user,model=virtio-net-pci{ports}"]
        with open(self._folder / "qemu", "wb") as said:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def output(self) -> str:
        """What the script has printed so far."""
        return self._read("output")

    @property
    def console(self) -> str:
        """What the guest's kernel, and QEMU, have said so far."""
        return self._read("console") + self._read("qemu")

    @property
    def running(self) -> bool:
        """Whether the guest has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait_for(self, line: str, limit: float) -> None:
        """Wait until the script prints a line that begins so; LabError when it ends before, or after ``limit`` s."""
        end = time.monotonic() + limit
        while True:
            running = self.running
            if any(found.startswith(line) for found in self.output.splitlines()):
                return
            if not running or time.monotonic() > end:
                why = f"did not print {line!r} within {limit:.0f} s" if running else f"ended without {line!r}"
                raise LabError(f"the guest {why}:\n{self.output}\n{self.console}")
            time.sleep(0.05)

    def wait(self, limit: float) -> Result:
        """Wait for the guest's end, at most ``limit`` seconds: then it is switched off."""
        if self._process is not None:
            try:
                self._process.wait(limit)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        written = self._read("share/status").strip()
        return Result(int(written) if written else NO_END, self.output, self.console)

    def cut(self) -> Result:
        """The power goes: what the disks had not flushed is lost, and the guest with it."""
        for cache in self._caches:
            cache.kill()
        if self._process is not None:
            self._process.kill()
        return self.wait(0)

    def close(self) -> None:
        """Switch it off, and remove what it had on the host."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for cache in self._caches:
            cache.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""


def run(setup: Setup, limit: float, home: Home | None = None) -> Result:
    """Boot, run the script to its end, at most ``limit`` seconds, and return how it ended.

    A run that the emulation ended is begun again, once, where there are no disks that it may have changed: a script
    begins with removing what it left in /host.
    """
    begun = time.monotonic()
    with Machine(setup, home) as machine:
        result = machine.wait(limit)
    if result.status and EMULATION in result.console and not setup.disks:
        print(f"{result.console}\nthe emulation failed ({EMULATION}): once more", flush=True)
        with Machine(setup, home) as machine:
            result = machine.wait(limit - (time.monotonic() - begun))
    return result


def _share(folder: Path, setup: Setup) -> Path:
    """Write what the guest finds in /run/lab."""
    share = folder / "share"
    share.mkdir()
    for name in _GUEST_FILES:
        shutil.copy(HERE / "guest" / name, share)
    (share / "script").write_text(setup.script)
    init, host = "systemd" if setup.systemd else "plain", "yes" if setup.host else "no"
    (share / "settings").write_text(f"init={init} host={host}\n")
    images = [f"lab-image-{number} {path}\n" for number, path in enumerate(setup.images or {})]
    (share / "images").write_text("".join(images))
    return share


def _folder(tag: str, folder: Path) -> Sequence[str]:
    device = f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"
    return ["-fsdev", f"local,id={tag},path={folder},security_model=none,multidevs=remap", "-device", device]


def _image(serial: str, file: Path, options: str) -> Sequence[str]:
    drive = f"file={file},format=raw,if=none,id={serial},{options}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
