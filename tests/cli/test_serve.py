"""``serve``: from options to a running server, what it prints, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.tools import needs

from iscsitools import __version__
from iscsitools.backstores.spec import FilterSpec, StackSpec
from iscsitools.cli.serve import greeting
from iscsitools.config import AuthConfig, AuthMethod, ChapUser, Config, LunConfig, PortalConfig, Secret, TargetConfig

SERVE = [sys.executable, "-m", "iscsitools.cli.main", "serve"]


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server and the lines that it printed once it listened."""
    with subprocess.Popen([*SERVE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines: list[str] = []
            assert process.stdout is not None
            while not lines or not lines[-1].startswith("Stop:"):
                line = process.stdout.readline()
                assert line, process.communicate()[1]
                lines.append(line.rstrip("\n"))
            yield process, lines
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_and_end(number: signal.Signals) -> None:
    with serving(
        "--portal", "127.0.0.1:0", "--iqn", "iqn.2026-11.example:a", "--lun", "1=ram:64M,block_size=4096",
        "--iqn", "iqn.2026-11.example:b", "--name", "n",
        "--lun", "ram:1M",
    ) as (process, lines):  # fmt: skip
        portal = lines[0].rpartition(" ")[2]
        host, _, port = portal.rpartition(":")
        assert lines[1:] == [
            "",
            "  iqn.2026-11.example:a",
            "    LUN 1: 64 MiB, 4096-byte blocks, ram:64M",
            "  iqn.2026-11.example:b",
            "    LUN 0: 1 MiB, 512-byte blocks, ram:1M",
            "",
            f"Look:    iscsi-ls -s iscsi://{portal}",
            f"Connect: qemu-img info iscsi://{portal}/iqn.2026-11.example:a/1",
            "Watch:   iscsitools top --name n",
            "Stop:    Ctrl-C",
        ]
        with socket.create_connection((host, int(port)), timeout=10):
            pass
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in err


def test_the_printed_line_lists_the_disks() -> None:
    program = needs("iscsi-ls", "libiscsi-bin")
    with serving("--portal", "127.0.0.1:0", "--lun", "ram:64M") as (_, lines):
        (look,) = (line for line in lines if line.startswith("Look:"))
        listed = subprocess.run([program, *look.split()[2:]], capture_output=True, text=True, timeout=60, check=True)
        target = lines[2].strip()
        assert f"Target:{target} Portal:{lines[0].rpartition(' ')[2]},1" in listed.stdout
        assert "Lun:0    Type:DIRECT_ACCESS (Size:" in listed.stdout  # iscsi-ls multiplies the last LBA, not the count


def test_the_default_disk_is_sparse_and_kept() -> None:
    disk = Path(os.environ["XDG_DATA_HOME"]) / "iscsitools" / "disk.img"
    for _ in range(2):
        with serving("--portal", "127.0.0.1:0") as (process, lines):
            assert f"    LUN 0: 1 GiB, 512-byte blocks, file:{disk}" in lines
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        status = disk.stat()
        assert (status.st_size, status.st_blocks < 1000) == (1 << 30, True)
        inode = status.st_ino
    assert disk.stat().st_ino == inode


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        'portals = ["127.0.0.1:1"]\n[[target]]\niqn = "iqn.2026-11.example:f"\nlun = [{ store = "ram:1M" }]\n'
    )
    with serving("--config", str(file), "--portal", "127.0.0.1:0", "--portal", "[::1]:0") as (_, lines):
        first, second = lines[0].removeprefix(f"iscsitools {__version__} listens on ").split(", ")
        assert PortalConfig.parse(first).host == "127.0.0.1"
        assert PortalConfig.parse(second).host == "::1"
        assert "  iqn.2026-11.example:f" in lines


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        portal = f"127.0.0.1:{taken.getsockname()[1]}"
        result = subprocess.run(
            [*SERVE, "--portal", portal, "--lun", "ram:1M"], capture_output=True, text=True, timeout=60, check=False
        )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"iscsitools: portal {portal}: Address already in use\n"


def test_a_disk_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(1024))
    result = subprocess.run(
        [*SERVE, "--portal", "127.0.0.1:0", "--iqn", "iqn.2026-11.example:a", "--lun",
         f"file:{tmp_path}/disk.img,size=512"], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"iscsitools: iqn.2026-11.example:a LUN 0: {tmp_path}/disk.img has 1024 bytes")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--lun", "ram:5"), "--lun ram:5: the size 5 is no multiple of the block size 512"),
        (("--iqn", "disk"), "--iqn disk: 'disk' is no iSCSI name: one begins with 'iqn.', 'eui.' or 'naa.'"),
        (("--lun", "file:/no/disk"), "--lun file:/no/disk: /no/disk does not exist; add size=SIZE to make it"),
        (("--lun", "ram+x:https://bob:secret@h/i"),
         "--lun ram+x:https://h/i: unknown filter 'x' (known: cow, crypt, delay, error, powerloss, readonly)"),
        (("--lun", "x:https://bob:secret@h/i,a"), "--lun x:https://h/i,a: 'x:https://h/i,a': 'a' is not key=value "
         "(a comma inside of a value is written \\,)"),
        (("--config", "x", "--lun", "ram:1M"),
         "--iqn and --lun cannot be given together with --config, which says the same"),
        (("--name", ""), "--name: '' is no name: up to 64 letters, digits, '.', '_' and '-', the first no sign"),
        (("--name", "a/b"), "--name: 'a/b' is no name: up to 64 letters, digits, '.', '_' and '-', the first no sign"),
    ],
)  # fmt: skip
def test_bad_options(iscsitools: Any, arguments: tuple[str, ...], line: str) -> None:
    result = iscsitools("serve", *arguments)
    assert (result.status, result.out, result.err) == (2, "", f"iscsitools: {line}\n")


def test_the_greeting_shows_names_and_no_secret() -> None:
    user = ChapUser("alice", Secret(b"correct horse battery"))
    stack = StackSpec("file", "d.img", {}, (FilterSpec("cow"),))
    image = StackSpec("http", "https://bob:p%40ss,w@rd@images.example:8443/a@b.img")
    luns = (LunConfig(2, stack, readonly=True), LunConfig(3, image))
    target = TargetConfig("iqn.2026-11.example:a", luns=luns, auth=AuthConfig(AuthMethod.CHAP, (user,)))
    sizes = {(target.iqn, 2): (3, 512), (target.iqn, 3): (256, 2048)}
    text = greeting(Config(targets=(target,)), [PortalConfig("::", 3260), PortalConfig("0.0.0.0", 3260)], sizes)
    assert "listens on [::]:3260, 0.0.0.0:3260\n" in text
    assert "    LUN 2: 1.5 KiB, 512-byte blocks, file+cow:d.img, readonly\n" in text
    assert "qemu-img info iscsi://alice%SECRET@[::1]:3260/iqn.2026-11.example:a/2\n" in text
    assert "    LUN 3: 512 KiB, 2048-byte blocks, http:https://images.example:8443/a@b.img\n" in text
    assert "horse" not in text


def test_the_greeting_names_a_program_that_is_not_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "venv" / "bin" / "iscsitools"
    own.parent.mkdir(parents=True)
    own.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(own), "serve"])
    monkeypatch.chdir(tmp_path)
    for path, program in (("/usr/bin", "venv/bin/iscsitools"), (f"/usr/bin:{own.parent}", "iscsitools")):
        monkeypatch.setenv("PATH", path)
        assert f"Watch:   {program} top\n" in greeting(Config(), [PortalConfig("127.0.0.1")], {})


def test_serve_by_main_of_a_program_that_calls_itself_iscsitools(tmp_path: Path) -> None:
    """There is no file of the name that it says, but another one is found by $PATH."""
    (tmp_path / "iscsitools").write_text("#!/bin/sh\n")
    (tmp_path / "iscsitools").chmod(0o755)
    arguments = ["iscsitools", "serve", "--portal", "127.0.0.1:0", "--lun", "null:1M", "--provider", "none"]
    code = f"import sys; from iscsitools.cli.main import main; sys.argv = {arguments}; main()"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        cwd="/",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "Stop:    Ctrl-C\n"))[:9]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "Watch:   iscsitools top\n" in lines, errors
    assert process.returncode == 0
