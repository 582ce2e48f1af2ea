"""``backstores``, ``plugins``, ``config`` and the generated page of commands."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest

from iscsitools.backstores import values
from iscsitools.backstores.base import Option
from iscsitools.backstores.null import NullBackstore
from iscsitools.cli.output import size_text
from iscsitools.cli.reference import commands_page
from iscsitools.plugins import LoadedPlugin, PluginManager


def test_backstores_table(iscsitools: Any) -> None:
    result = iscsitools("backstores")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["BACKSTORE,", "OPTIONS", "DEFAULT", "WHAT", "IT", "IS"]
    assert any(line.startswith("  direct=YES_NO") for line in lines)
    assert any(line.startswith("ram:SIZE") for line in lines)
    (delay,) = (line for line in lines if "delay.read=DURATION" in line)
    assert delay.split()[1] == "0"


def test_backstores_json(iscsitools: Any) -> None:
    entries = {entry["name"]: entry for entry in json.loads(iscsitools("backstores", "--json").out)}
    assert entries["file"]["type"] == "backstore"
    assert entries["file"]["spec"] == "file:PATH"
    options = {option["name"]: option for option in entries["file"]["options"]}
    assert options["direct"]["default"] == "no"
    assert options["size"]["value"] == "SIZE"
    assert entries["cow"]["type"] == "filter"


def test_a_parser_without_a_word_for_its_value(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(NullBackstore):
        kind = "odd"
        options = (
            Option("a", lambda text: text, "", ""),
            Option("b", partial(int, base=3), 0, ""),
            Option("c", values.choice("fast", "safe"), "fast", ""),
        )

    def load(manager: PluginManager) -> None:
        manager.registry.add_backstore(Odd)

    monkeypatch.setattr(PluginManager, "load", load)
    (entry,) = json.loads(iscsitools("backstores", "--json").out)
    assert [option["value"] for option in entry["options"]] == ["VALUE", "VALUE", "fast|safe"]


def test_plugins_table_and_json(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(manager: PluginManager) -> None:
        manager.plugins = [
            LoadedPlugin("good", "good-dist", "1.0", provides=["backstore x", "filter y"]),
            LoadedPlugin("bad", "", "", "failed", "it is for plugin API 9, this is API 1"),
        ]

    monkeypatch.setattr(PluginManager, "load", load)
    lines = iscsitools("plugins").out.splitlines()
    assert lines[1].split() == ["good", "good-dist", "1.0", "loaded", "backstore", "x,", "filter", "y"]
    assert lines[2].split(None, 4) == ["bad", "-", "-", "failed", "it is for plugin API 9, this is API 1"]
    assert len(lines) == 3
    entries = json.loads(iscsitools("plugins", "--json").out)
    assert [entry["status"] for entry in entries] == ["loaded", "failed"]
    assert entries[1]["error"] == "it is for plugin API 9, this is API 1"


@pytest.mark.parametrize("command", [("plugins",), ("backstores",), ("dtrace", "list"), ("probes",)])
def test_listings_are_of_80_columns(iscsitools: Any, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """Those with a text in the last column, which goes on below itself; an item of it stays in one line."""
    load = PluginManager.load

    def load_more(manager: PluginManager) -> None:
        load(manager)
        names = ("configuration_changing", "session_opened", "server_started")
        provides = [f"hook {name}" for name in names]
        manager.plugins.append(LoadedPlugin("prometheus2", "iscsitools-prometheus", "0.2.0", provides=provides))
        manager.plugins.append(LoadedPlugin("bad", "iscsitools-bad", "1", "failed", error="it raised this " * 20))
        manager.registry.add_plugin_option("bad", Option("wait", values.duration, 5.0, "how long to wait " * 20))

    monkeypatch.setattr(PluginManager, "load", load_more)
    lines = [line for line in iscsitools(*command).out.splitlines() if "/" not in line or line.startswith(" ")]
    assert [line for line in lines if len(line) > 80] == []
    assert not [line for line in lines if "\ue000" in line]
    assert command != ("plugins",) or any("hook configuration_changing," in line for line in lines)


def test_scripts_table_and_json(iscsitools: Any) -> None:
    entries = {entry["name"]: entry for entry in json.loads(iscsitools("dtrace", "list", "--json").out)}
    lines = iscsitools("dtrace", "list").out.splitlines()
    assert {line.split()[0] for line in lines[1:] if line.startswith("iscsi")} == set(entries) > {"iscsiio"}
    assert any(line.split(None, 1) == ["iscsiio", entries["iscsiio"]["summary"]] for line in lines)
    assert Path(entries["iscsiio"]["file"]).name == "iscsiio.d"
    assert Path(entries["iscsiio"]["file"]).is_file()


def test_config_check(iscsitools: Any, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(iscsitools("config", "example").out)
    result = iscsitools("config", "check", str(file))
    assert (result.status, result.out, result.err) == (0, f"{file}: no error; 1 target(s), 1 LUN(s)\n", "")
    file.write_text("a = 1\nb = 2\n")
    result = iscsitools("config", "check", str(file))
    assert result.status == 2
    assert [line.partition(": unknown")[0] for line in result.err.splitlines()] == [
        f"iscsitools: {file}:1: a",
        f"iscsitools: {file}:1: the key 'target' is missing",
        f"iscsitools: {file}:2: b",
    ]
    result = iscsitools("config", "check", str(tmp_path / "absent"))
    assert result.status == 1
    assert result.err == f"iscsitools: {tmp_path}/absent: No such file or directory\n"


def test_config_check_shows_warnings(iscsitools: Any, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        '[[target]]\niqn = "iqn.2026-11.example:a"\n[target.auth]\nmethod = "chap"\n'
        'users = [{ name = "a", secret = "short" }]\n[[target.lun]]\nstore = "null:1M"\n'
    )
    file.chmod(0o600)
    result = iscsitools("config", "check", str(file))
    assert result.status == 0
    assert result.err.startswith(
        f"iscsitools: warning: {file}:5: target[0].auth.users[0].secret: the secret has 5 bytes"
    )


def test_the_options_of_plugins_are_listed(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(manager: PluginManager) -> None:
        manager.plugins = [LoadedPlugin("vault", "vault-dist", "1.0", provides=["option wait"])]
        manager.registry.add_plugin_option("vault", Option("wait", values.duration, 5.0, "how long to wait"))

    monkeypatch.setattr(PluginManager, "load", load)
    text = iscsitools("plugins").out
    assert text.splitlines()[-1].split(None, 3) == ["vault", "wait=DURATION", "5", "how long to wait"]
    (entry,) = json.loads(iscsitools("plugins", "--json").out)
    assert entry["options"] == [
        {"name": "wait", "value": "DURATION", "default": "5", "help": "how long to wait"},
    ]  # fmt: skip


def test_a_plugin_whose_command_is_taken_keeps_its_row(iscsitools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(manager: PluginManager) -> None:
        manager.plugins = [LoadedPlugin("p", "p-dist", "1.0", provides=["backstore x", "command serve"])]
        manager.commands = {"serve": click.Command("serve")}

    monkeypatch.setattr(PluginManager, "load", load)
    row = " ".join(iscsitools("plugins").out.splitlines()[1:])
    assert " ".join(row.split()) == "p p-dist 1.0 loaded backstore x, there is already a command named 'serve'"


def test_what_contradicts_itself(iscsitools: Any) -> None:
    for arguments, options in (
        (("sessions", "--json", "--csv"), "--json and --csv"),
        (("who", "--csv", "--json"), "--json and --csv"),
        (("dtrace", "install", "--print", "--uninstall"), "--print and --uninstall"),
    ):
        result = iscsitools(*arguments)
        assert (result.status, result.out) == (2, "")
        assert result.err == f"iscsitools: {options} cannot be given together\n"


def test_the_page_of_commands_is_up_to_date(project: Path) -> None:
    assert (project / "docs" / "commands.md").read_text() == commands_page(), "run make docs"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1 << 30, "1 GiB"),
        (1 << 52, "4096 TiB"),
        (1000 << 20, "1000 MiB"),
    ],
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text
