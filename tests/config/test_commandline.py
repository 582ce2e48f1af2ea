"""A configuration from ``serve``'s options."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from iscsitools.config import Config, ConfigError, PortalConfig, iscsi_name
from iscsitools.config.commandline import config_from_options, default_disk, default_iqn
from iscsitools.errors import RunError, UsageError
from iscsitools.plugins import PluginManager

A = ("iqn", "iqn.2026-11.example:a")
B = ("iqn", "iqn.2026-11.example:b")


def lun(text: str) -> tuple[str, str]:
    return "lun", text


def shape(config: Config) -> list[tuple[str, list[tuple[int, str]]]]:
    return [(t.iqn[-1], [(n.number, f"{n.stack.kind}:{n.stack.what}") for n in t.luns]) for t in config.targets]


def test_a_lun_belongs_to_the_iqn_before_it(plugins: PluginManager) -> None:
    ordered = [A, lun("ram:1M"), lun("ram:2M"), B, lun("5=ram:3M"), lun("ram:4M")]
    config, warnings = config_from_options(ordered, {}, plugins.registry)
    assert warnings == ()
    assert shape(config) == [("a", [(0, "ram:1M"), (1, "ram:2M")]), ("b", [(0, "ram:4M"), (5, "ram:3M")])]


def test_a_number_may_have_zeros_before_it(plugins: PluginManager) -> None:
    config, _ = config_from_options([A, lun("007=ram:1M"), lun("0=ram:1M"), lun("00001=ram:1M")], {}, plugins.registry)
    assert [each.number for each in config.targets[0].luns] == [0, 1, 7]


def test_options_of_the_lun_in_its_text(plugins: PluginManager) -> None:
    text = "3=ram+delay:1M,block_size=4K,cache=writethrough,serial=S1,removable=yes,delay.read=1ms"
    config, _ = config_from_options([A, lun(text)], {"portals": ["[::1]:0"], "name": "n"}, plugins.registry)
    assert (config.portals, config.name) == ((PortalConfig("::1", 0),), "n")
    (unit,) = config.targets[0].luns
    assert (unit.number, unit.block_size, unit.write_cache, unit.serial, unit.removable) == (3, 4096, False, "S1", True)
    assert unit.stack.lun_options == {}
    assert [(f.name, f.options) for f in unit.stack.filters] == [("delay", {"read": "1ms"})]


def test_luns_without_an_iqn(plugins: PluginManager) -> None:
    config, _ = config_from_options([lun("ram:1M")], {}, plugins.registry)
    assert [t.iqn for t in config.targets] == [default_iqn()]


def test_a_lun_before_the_first_iqn(plugins: PluginManager) -> None:
    with pytest.raises(UsageError, match="--lun ram:1M stands before the first --iqn"):
        config_from_options([lun("ram:1M"), A], {}, plugins.registry)


def test_without_anything_a_disk_in_the_data_directory_is_served(plugins: PluginManager) -> None:
    config, _ = config_from_options([], {}, plugins.registry)
    (unit,) = config.targets[0].luns
    disk = Path(os.environ["XDG_DATA_HOME"]) / "iscsitools" / "disk.img"
    assert (unit.number, unit.stack.kind, unit.stack.what, unit.stack.options) == (0, "file", str(disk), {"size": "1G"})
    assert disk.parent.is_dir()
    disk.write_bytes(bytes(1 << 20))
    config, _ = config_from_options([A], {}, plugins.registry)
    assert config.targets[0].luns[0].stack.options == {}


def test_the_default_disk_without_a_data_directory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert default_disk() == Path.home() / ".local" / "share" / "iscsitools" / "disk.img"


def test_a_user_without_a_home(plugins: PluginManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 0x7FFFFFF0)
    with pytest.raises(RunError, match="this user has no home directory; set XDG_DATA_HOME, or use --lun"):
        config_from_options([], {}, plugins.registry)


def test_a_data_directory_that_cannot_be_made(plugins: PluginManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/dev/null")
    with pytest.raises(RunError, match="/dev/null/iscsitools: Not a directory"):
        config_from_options([], {}, plugins.registry)


@pytest.mark.parametrize(
    ("host", "iqn"),
    [
        ("db1", "iqn.2026-11.db1:disks"),
        ("DB1.Example.com", "iqn.2026-11.com.example.db1:disks"),
        ("my_host..x-", "iqn.2026-11.x.myhost:disks"),
        ("", "iqn.2026-11.localhost:disks"),
    ],
)
def test_default_iqn(monkeypatch: pytest.MonkeyPatch, host: str, iqn: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert default_iqn() == iqn == iscsi_name(iqn)


@pytest.mark.parametrize(
    ("ordered", "top", "expected"),
    [
        ([A, lun("rma:1M"), lun("ram:5")], {}, [
            "--lun rma:1M: unknown backstore 'rma'; did you mean 'ram'? (known: ",
            "--lun ram:5: the size 5 is no multiple of the block size 512",
        ]),
        ([A, A], {}, ["--iqn iqn.2026-11.example:a: the target iqn.2026-11.example:a is given twice"]),
        ([("iqn", "x")], {}, ["--iqn x: 'x' is no iSCSI name: one begins with 'iqn.', 'eui.' or 'naa.'"]),
        ([A, lun("0=ram:1M"), lun("0=ram:1M")], {}, ["--lun 0=ram:1M: LUN 0 is given twice"]),
        ([A, lun("-1=ram:1M")], {}, ["--lun -1=ram:1M: -1 is not between 0 and 16383"]),
        ([A, lun("one=ram:1M")], {}, ["--lun one=ram:1M: 'one' is no whole number"]),
        ([A, lun("=ram:1M")], {}, ["--lun =ram:1M: '' is no whole number"]),
        ([A, lun("99999=ram:1M")], {}, ["--lun 99999=ram:1M: 99999 is not between 0 and 16383"]),
        ([A, lun("9" * 5000 + "=ram:1M")], {}, [f"--lun {'9' * 5000}=ram:1M: '{'9' * 5000}' is no whole number"]),
        ([A, lun("ram:1M,block_size=1")], {}, ["--lun ram:1M,block_size=1: 1 is no power of two from 512 to 4096"]),
        ([A, lun("ram:1M,thin=x")], {}, ["--lun ram:1M,thin=x: 'x' is neither yes nor no"]),
        ([A], {"portals": ["h:x"]}, ["--portal: 'h:x': 'x' is no port number (0 to 65535)"]),
        ([A], {"log_level": "loud"}, ["--log-level: 'loud' is none of debug, info, warning, error"]),
    ],
)  # fmt: skip
def test_problems_name_the_option(
    plugins: PluginManager, ordered: list[tuple[str, str]], top: dict[str, object], expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_options(ordered, top, plugins.registry)
    assert len(caught.value.lines) == len(expected)
    for line, begin in zip(caught.value.lines, expected, strict=True):
        assert line.startswith(begin)


def test_a_target_without_luns_and_a_disk_that_no_memory_holds_get_a_word(plugins: PluginManager) -> None:
    _, warnings = config_from_options([A, lun("ram:1M"), lun("ram+delay:4P"), B], {}, plugins.registry)
    large, empty = warnings
    assert large.startswith("--lun ram+delay:4P: 4P is more than this machine's memory, ")
    assert empty == f"--iqn {B[1]}: the target {B[1]} has no LUN: whoever logs in finds no disk"
