"""The command line of the lab."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import chroot, project
from lab.build import build
from lab.disk import Disk
from lab.home import Home, LabError, need, need_root
from lab.machine import Machine, Setup

_ABOUT = """\
A small virtual machine with DTrace for Linux, the kernel's iSCSI initiator and systemd, under software emulation.
It is kept in DTRACE_LAB (now {home})."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its status: 1 for an error of the lab's own, which is one line on standard error."""
    home = Home.of_environment()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what is half made is cleared away
    arguments = _parser(home).parse_args(words)
    try:
        status: int = arguments.run(home, arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser(home: Home) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "lab", description=_ABOUT.format(home=home.folder), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("build", help="build the machine where it is not built (root; minutes)")
    one.add_argument("--anew", action="store_true", help="build it even so: with the packages of today")
    one.set_defaults(run=_build)
    one = commands.add_parser("info", help="say where the machine is, and whether it is of this checkout's recipe")
    one.set_defaults(run=_info)
    one = commands.add_parser("chroot", help="run a command in the root file system, with the network (root)")
    one.add_argument("--bind", action="append", default=[], metavar="DIR:PATH", help="a folder that it can write to")
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    one.set_defaults(run=_chroot)
    one = commands.add_parser("run", help="boot, run a script, power off; the status is the script's")
    one.add_argument("script", type=Path, metavar="SCRIPT", help="run by sh as root")
    one.add_argument("-t", "--limit", type=float, default=300, metavar="SECONDS", help="then it is over (default 300)")
    one.add_argument("-m", "--host", type=Path, metavar="DIR", help="a folder that is /host in the guest")
    one.add_argument("-p", "--project", action="store_true", help=f"this checkout, installed: {project.BIN}/iscsitools")
    one.add_argument("-s", "--systemd", action="store_true", help="boot systemd, not a plain shell")
    one.add_argument("--disk", action="append", default=[], metavar="FILE[:MIB]", help="a disk; with a size: a new one")
    one.add_argument("--cut", metavar="LINE", help="cut the power when the script prints a line that begins so")
    one.add_argument("--forward", action="append", default=[], metavar="PORT:PORT", help="127.0.0.1's to the guest's")
    one.add_argument("--memory", type=int, default=3072, metavar="MIB", help="(default 3072)")
    one.add_argument("--console", action="store_true", help="print what the kernel said, at the end")
    one.set_defaults(run=_run)
    return parser


def _build(home: Home, arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    if build(home, anew=arguments.anew):
        print(f"built in {home.folder}, in {time.monotonic() - begun:.0f} s")
    else:
        print(f"the machine in {home.folder} is of this recipe")
    return 0


def _info(home: Home, _arguments: argparse.Namespace) -> int:
    print(f"home {home.folder}")
    home.require()
    print(f"kernel {(home.root / 'boot/release').read_text().strip()}")
    versions = ["dpkg-query", "-W", f"--admindir={home.root}/var/lib/dpkg"]
    return subprocess.run([*versions, "dtrace", "open-iscsi", "systemd", "python3"], check=False).returncode


def _chroot(home: Home, arguments: argparse.Namespace) -> int:
    home.require()
    need_root("the lab's chroot")
    need({"unshare": "util-linux"})
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    binds = {}
    for pair in arguments.bind:
        folder, _, path = pair.rpartition(":")
        if not Path(folder).is_dir() or not path.startswith("/"):
            raise LabError(f"--bind {pair}: DIR:PATH, with a folder that exists and an absolute path")
        binds[path] = Path(folder).absolute()
    with home.used():
        return chroot.enter(home.root, words or ["bash"], binds=binds, stdin=sys.stdin.fileno())


def _run(home: Home, arguments: argparse.Namespace) -> int:
    setup = _setup(home, arguments)
    end = time.monotonic() + arguments.limit
    shown = 0
    with Machine(setup, home) as machine:
        while True:
            running = machine.running and time.monotonic() < end
            output = machine.output
            sys.stdout.write(output[shown:])
            sys.stdout.flush()
            shown = len(output)
            if arguments.cut and any(line.startswith(arguments.cut) for line in output.splitlines()):
                machine.cut()
                print("lab: the power was cut", file=sys.stderr)
                return 0
            if not running:
                break
            time.sleep(0.1)
        result = machine.wait(0)
    if arguments.console or result.status == 124:
        sys.stderr.write(result.console)
    if result.status == 124:
        print(f"lab: the script did not come to its end ({arguments.limit:.0f} s were allowed)", file=sys.stderr)
    return result.status


def _setup(home: Home, arguments: argparse.Namespace) -> Setup:
    try:
        script = arguments.script.read_text()
    except OSError as error:
        raise LabError(f"{arguments.script}: {error.strerror}") from None
    if arguments.host and not arguments.host.is_dir():
        raise LabError(f"{arguments.host} is not a folder")
    return Setup(
        script,
        host=arguments.host and arguments.host.absolute(),
        images={project.MOUNT: project.installed(home)} if arguments.project else {},
        disks=tuple(_disk(word) for word in arguments.disk),
        systemd=arguments.systemd,
        forward=dict(_ports(word) for word in arguments.forward),
        memory=arguments.memory,
    )


def _disk(word: str) -> Disk:
    """``FILE`` as it is, or ``FILE:MIB``, made anew; its name is the file's."""
    name, colon, size = word.rpartition(":")
    file = Path(name if colon else word).absolute()
    if not colon:
        return Disk(file.stem, file)
    if not size.isdigit():
        raise LabError(f"--disk {word}: FILE or FILE:MIB")
    try:
        return Disk.create(file.stem, file, int(size) << 20)
    except OSError as error:
        raise LabError(f"{file}: {error.strerror}") from None


def _ports(word: str) -> tuple[int, int]:
    outside, _, inside = word.partition(":")
    if not (outside.isdigit() and inside.isdigit()):
        raise LabError(f"--forward {word}: PORT:PORT")
    return int(outside), int(inside)
