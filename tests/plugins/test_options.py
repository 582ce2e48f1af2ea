"""Options of plugins themselves: registered, given in a file or on the command line, checked, and handed over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iscsitools.backstores import values
from iscsitools.backstores.base import Option
from iscsitools.config import Config, ConfigError, PluginConfig, load_config
from iscsitools.config.commandline import config_from_options
from iscsitools.config.plugins import plugin_tables
from iscsitools.errors import RunError, UsageError
from iscsitools.hookspecs import hookimpl
from iscsitools.plugins import PluginManager

OPTIONS = (
    Option("server", values.text, "localhost", "where the users are"),
    Option("wait", values.duration, 5.0, "how long"),
    Option("strict", values.yes_no, False, "whether"),
)
TARGET = '[[target]]\niqn = "iqn.2026-11.example:a"\nlun = [{ store = "null:1M" }]\n'


def plugin(got: list[Mapping[str, Any]] | None = None, options: tuple[Any, ...] = OPTIONS) -> Any:
    @hookimpl
    def register_options(register: Any) -> None:
        for option in options:
            register(option)

    @hookimpl
    def configure(options: Mapping[str, Any]) -> None:
        assert got is not None
        got.append(options)

    hooks = {"register_options": register_options} | ({} if got is None else {"configure": configure})
    return SimpleNamespace(ISCSITOOLS_API=1, **hooks)


@pytest.fixture
def manager() -> PluginManager:
    manager = PluginManager()
    manager.load()
    loaded = manager.register(plugin(), "vault")
    assert (loaded.status, loaded.provides) == ("loaded", ["option server", "option wait", "option strict"])
    return manager


def read(manager: PluginManager, folder: Path, text: str, *options: str) -> Config:
    file = folder / "t.toml"
    file.write_text(text + TARGET)
    overrides = {"plugin": plugin_tables(options)} if options else {}
    return load_config(file, manager.registry, (), overrides)[0]


def test_a_table_of_a_file_and_options_over_it(manager: PluginManager, tmp_path: Path) -> None:
    table = '[plugin.vault]\nserver = "ldap.example"\nstrict = true\n'
    assert read(manager, tmp_path, table).plugins == (
        PluginConfig("vault", {"server": "ldap.example", "strict": True}),
    )
    over = read(manager, tmp_path, table, r"vault,server=a\,b,wait=1m")
    assert over.plugins[0].options == {"server": "a,b", "strict": True, "wait": "1m"}
    assert read(manager, tmp_path, "", "vault").plugins == (PluginConfig("vault"),)
    config, _ = config_from_options(
        [("lun", "null:1M")], {"plugin": plugin_tables(["vault,wait=2s"])}, manager.registry
    )
    assert config.plugins == (PluginConfig("vault", {"wait": "2s"}),)


def test_no_text_of_a_configuration_shows_what_may_be_a_secret(manager: PluginManager, tmp_path: Path) -> None:
    config = read(manager, tmp_path, "", "vault,server=me:secret@host")
    assert "secret" not in repr(config)
    assert "vault" in repr(config)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("[plugin.valut]\n", (), [
            "1: plugin.valut: there is no plugin 'valut' that has options; did you mean 'vault'?",
        ]),
        ("[plugin.vault]\nwiat = 1\n", (), ["2: plugin.vault.wiat: vault has no option 'wiat'; did you mean 'wait'?"]),
        ("[plugin.vault]\n\nwait = 'soon'\nstrict = 'x'\n", (), [
            "3: plugin.vault.wait: vault: wait: 'soon' is no duration",
            "4: plugin.vault.strict: vault: strict: 'x' is neither yes nor no",
        ]),
        ("[plugin.vault]\nserver = ['a']\n", (), ["2: plugin.vault.server: an option's value cannot be an array"]),
        ("plugin = 1\n", (), ["1: plugin: a table was expected, not a whole number"]),
        ("plugin = 1\n", ("vault",), ["1: plugin: a table was expected, not a whole number"]),
        ("plugin.vault = 1\n", (), ["1: plugin.vault: a table was expected, not a whole number"]),
        ("[plugin.vault]\nwait = '1s'\n", ("vault,wait=x",), ["--plugin vault: vault: wait: 'x' is no duration"]),
        ("", ("vualt",), ["--plugin vualt: there is no plugin 'vualt' that has options; did you mean 'vault'?"]),
    ],
)  # fmt: skip
def test_problems_are_told_by_line_and_key(
    manager: PluginManager, tmp_path: Path, text: str, options: tuple[str, ...], expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(manager, tmp_path, text, *options)
    lines = [line.removeprefix(f"{tmp_path}/t.toml:") for line in caught.value.lines]
    assert len(lines) == len(expected), lines
    for line, begin in zip(lines, expected, strict=True):
        assert line.startswith(begin)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["vault,wait"], "--plugin: vault: 'wait' is not key=value"),
        (["vault,wait=1s,wait=2s"], "--plugin: vault: wait is given twice"),
        (["vault", "vault,wait=1s"], "--plugin: vault is given twice"),
    ],
)
def test_what_is_no_option_of_a_plugin(texts: list[str], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        plugin_tables(texts)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((OPTIONS[0], OPTIONS[0]), "the option 'server' is registered twice"),
        (("x",), "'x' is no iscsitools"),
    ],
)
def test_options_that_are_none_fail_the_plugin(options: tuple[Any, ...], complaint: str) -> None:
    manager = PluginManager()
    found = manager.register(plugin(options=options), "odd")
    assert (found.status, manager.registry.plugin_options) == ("failed", {})
    assert complaint in found.error


def test_a_plugin_gets_the_value_of_every_option() -> None:
    got: list[Mapping[str, Any]] = []
    manager = PluginManager()
    manager.register(plugin(got), "vault")
    manager.configure({"vault": {"wait": "250ms"}})
    assert got == [{"server": "localhost", "wait": 0.25, "strict": False}]


def test_a_plugin_that_refuses_its_options(caplog: pytest.LogCaptureFixture) -> None:
    @hookimpl
    def configure(options: Mapping[str, Any]) -> None:
        raise ValueError("no such\nserver")

    manager = PluginManager()
    manager.register(SimpleNamespace(ISCSITOOLS_API=1, configure=configure), "vault")
    with pytest.raises(RunError, match="plugin vault: ValueError: no such server"):
        manager.configure({"vault": {}})
    with caplog.at_level(logging.ERROR):
        manager.configure({})  # nobody wanted it: it must not keep the server from starting
    assert [r.getMessage() for r in caplog.records] == ["plugin vault: ValueError: no such server"]
