"""In the lab's guest: everything that needs a real dtrace, in one boot, one step after the other; the tests judge.

``python -m dtrace.steps OUT CYCLES``, with the folder above this one in PYTHONPATH.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from dtrace import scene
from dtrace.guest import BIN, HERE, PATIENCE, Guest
from dtrace.steady import Steady
from dtrace.threads import data_threads
from iscsitools.dtrace.variants import DSCRIPTS

TOOLS = str(BIN / "iscsitools")
(LIBRARIES,) = Path("/usr/lib").glob("*/dtrace")
BARE = Path("/tmp/bare")
"""What dtrace cannot do without: with nothing else to read it starts in half the time."""
# Name of the result, the stubs beside the library, its variant, and a module that is loaded here in stmf's place.
COMPILED = (
    ("illumos", "illumos", "illumos", ""),
    ("illumos-stmf", "illumos", "illumos-stmf", "vmlinux"),
    ("illumos-duplicate", "illumos", "illumos", "vmlinux"),
    ("illumos-missing", "illumos", "illumos-stmf", ""),
    ("freebsd", "freebsd", "freebsd", ""),
    ("macos", "macos", "macos", ""),
)
LOGINS = """
    BEGIN { printf("Tracing...\\n"); }
    iscsi*:::login-command { @[probeprov] = count(); }
    END { printa("%s %@d\\n", @); }
"""
SEEN = """
    iscsi*:::scsi-command, iscsi*:::data-send { @ = count(); }
    iscsi*:::scsi-command /!seen/ { seen = 1; printf("Tracing... a command was seen\\n"); }
"""
CYCLED = ("scsi-command", "data-send", "scsi-response", "xfer-start", "xfer-done")
CYCLE = "iscsi*:::%s { exit(0); } tick-60s { exit(1); }"
# iscsid ends its whole process group with itself, so it gets one of its own.
KERNEL_INITIATOR = f"""
modprobe iscsi_tcp; modprobe sd_mod; mkdir -p /run/lock/iscsi
setsid iscsid -f > /tmp/iscsid.log 2>&1 &
until pgrep iscsid > /dev/null; do sleep 0.2; done
sleep 2
iscsiadm -m node -o new -T {scene.TARGET} -p 127.0.0.1:PORT
iscsiadm -m node -T {scene.TARGET} -p 127.0.0.1:PORT --login
until [ -b /dev/sda ]; do sleep 0.5; done
dd if=/dev/urandom of=/tmp/random bs=64k count=32 2> /dev/null
dd if=/tmp/random of=/dev/sda bs=64k oflag=direct && dd if=/dev/sda of=/tmp/back bs=64k count=32 iflag=direct
cmp /tmp/random /tmp/back && echo same
iscsiadm -m node -T {scene.TARGET} -p 127.0.0.1:PORT --logout
kill $!
"""


def compile_variant(guest: Guest, name: str, stubs: str, variant: str, module: str) -> None:
    """Compile (-e) each variant as installed, beside its system's own types."""
    system = Path("/tmp", name)
    shutil.copytree(BARE, system)
    for file in (*(HERE / "stubs" / stubs).glob("*.d"), DSCRIPTS / "lib" / variant / "iscsitools.d"):
        text = file.read_text()
        (system / file.name).write_text(text.replace("module stmf", f"module {module or 'stmf'}"))
    guest.command(f"{name}.compiled", "dtrace", "-x", f"syslibdir={system}", "-e", "-s", str(HERE / "scripts/events.d"))


def library(guest: Guest, port: int) -> None:
    """The variants; a script by name with -L, before anything is installed; then plain dtrace with it installed."""
    guest.step("variants")
    BARE.mkdir()
    shutil.copy(LIBRARIES / "bpf_dlib.o", BARE)
    with ThreadPoolExecutor(2) as pool:  # as many as there are processors
        list(pool.map(lambda words: compile_variant(guest, *words), COMPILED))
    guest.step("run by name")
    with guest.traced("run", [port], TOOLS, "dtrace", "run", "iscsiio"):
        guest.load(port, 11, 7, "run")
        guest.command("enabled", TOOLS, "probes", "--name", "first")
    guest.step("install")
    guest.command("install", TOOLS, "dtrace", "install")
    guest.command("listed", "dtrace", "-lv", "-P", "iscsi*")
    guest.command("plain", "dtrace", "-e", "-s", str(DSCRIPTS / "iscsiio.d"))


def two_targets(guest: Guest, pid: int, port: int) -> None:
    """Each its own provider; a script for one of them; one of them killed while dtrace is attached."""
    guest.step("two targets")
    second, other = guest.serve("second")
    guest.note("two", {"first": f"iscsi{pid}", "second": f"iscsi{second.pid}"})
    with guest.traced("two", [port, other], "dtrace", "-x", f"syslibdir={BARE}", "-qn", LOGINS):
        guest.load(port, 1, 1)
        for _ in range(3):
            guest.load(other, 1, 1)
        guest.step("one of two targets")
        with guest.traced("one", [port, other], TOOLS, "dtrace", "run", "--pid", str(second.pid), "iscsixfer"):
            guest.load(port, 1, 1)
            guest.load(other, 3, 2)
        guest.step("target killed with dtrace attached")
        second.send_signal(signal.SIGKILL)
        second.wait()
        guest.load(port, 5, 3, "other-killed")


def cycle(probe: str) -> int:
    """Enable a probe until it fires, and disable it: 0 when it did fire."""
    words = ["dtrace", "-x", f"syslibdir={BARE}", "-qn", CYCLE % probe]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


@contextmanager
def few_symbols() -> Iterator[None]:
    """Most of what dtrace does at its start is to read the kernel's symbols; a process's probes need none of them."""
    few = Path("/tmp/kallsyms")
    with open("/proc/kallsyms") as symbols:
        few.write_text("".join(islice(symbols, 2000)))
    subprocess.run(["mount", "--bind", few, "/proc/kallsyms"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "/proc/kallsyms"], check=True)


def killed(guest: Guest, steady: Steady) -> None:
    """Kill dtrace while the target is under load and its probes are enabled."""
    guest.step("dtrace killed under load")
    tracer = scene.start(guest.out, "killed", ["dtrace", "-x", f"syslibdir={BARE}", "-qn", SEEN])
    scene.ready(guest.out, "killed", tracer)
    before = steady.done
    scene.wait_for(lambda: steady.done > before + 10 or steady.error, tracer)
    tracer.kill()
    tracer.wait()
    at = steady.done
    scene.wait_for(lambda: steady.done > at + 10 or steady.error)
    guest.note("killed", {"before": before, "killed": at, "after": steady.done})


def attached_again(guest: Guest, target: subprocess.Popen[bytes], steady: Steady, cycles: int) -> None:
    """Enable and disable probes many times."""
    held = [guest.held(target)]
    steady.pause = 0.02  # what is shown are the cycles: the processor is theirs
    statuses: list[int] = []
    with few_symbols(), ThreadPoolExecutor(2) as pool:
        for status in pool.map(cycle, (CYCLED[number % len(CYCLED)] for number in range(cycles))):
            if not len(statuses) % 10:
                guest.step(f"cycle {len(statuses)}")
            statuses.append(status)
    held.append(guest.held(target))
    steady.finish()
    guest.note("cycles", {"statuses": statuses, "rounds": steady.done, "error": steady.error, "held": held})


def disturbed(guest: Guest, target: subprocess.Popen[bytes], port: int, cycles: int) -> None:
    """What must not hurt a target under load, and how it is afterwards."""
    steady = Steady(port, scene.TARGET)
    steady.start()
    killed(guest, steady)
    attached_again(guest, target, steady, cycles)
    guest.load(port, 11, 7, "after-cycles")
    guest.command("after-cycles", TOOLS, "probes", "--name", "first")


def kernel_initiator(guest: Guest, port: int) -> None:
    """open-iscsi: a login, writes, reads and a logout, under plain dtrace."""
    guest.step("open-iscsi")
    with guest.traced("open-iscsi-io", [port], "dtrace", "-s", str(DSCRIPTS / "iscsiio.d")):
        guest.command("open-iscsi", "sh", "-c", KERNEL_INITIATOR.replace("PORT", str(port)))


def main() -> None:
    """All steps."""
    guest = Guest(Path(sys.argv[1]))
    guest.step("start")
    first, port = guest.serve("first")
    library(guest, port)
    two_targets(guest, first.pid, port)
    disturbed(guest, first, port, int(sys.argv[2]))
    kernel_initiator(guest, port)
    first.terminate()
    guest.note("first", first.wait(PATIENCE))
    data_threads(guest)  # alone: with a killed target beside it dtrace 2.0.7 once knew no argument of the probes
    guest.step("scene")
    guest.command("evidence", sys.executable, "-m", "dtrace.evidence", "--out", str(guest.out), "--revision", "")
    running = subprocess.run(["ps", "-e", "-o", "comm="], capture_output=True, text=True, check=True).stdout.split()
    guest.note("left", {"dtrace": running.count("dtrace"), "files": len([*Path("/tmp").glob("iscsitools-*")])})
    guest.command("uninstall", TOOLS, "dtrace", "install", "--uninstall")
    guest.step("end")


if __name__ == "__main__":
    main()
