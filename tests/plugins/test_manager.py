from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import click
import pytest

from iscsitools.backstores.base import Backstore, Filter
from iscsitools.hookspecs import hookimpl
from iscsitools.plugins import LoadedPlugin, PluginManager

GOOD = """
    from iscsitools.backstores.null import NullBackstore
    from iscsitools.hookspecs import hookimpl
    ISCSITOOLS_API = 1
    class Void(NullBackstore):
        kind = "{kind}"
    @hookimpl
    def register_backstores(register):
        register(Void)
"""


class Distributions:
    """Makes installed distributions in a folder on sys.path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, code: str, entry: str | None = None) -> None:
        module = name.replace("-", "_")
        (self.folder / f"{module}.py").write_text(dedent(code))
        info = self.folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[iscsitools]\n{entry or name} = {module}\n")


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Distributions(tmp_path)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def loaded() -> tuple[PluginManager, dict[str, LoadedPlugin]]:
    importlib.invalidate_caches()
    manager = PluginManager()
    manager.load()
    return manager, {p.name: p for p in manager.plugins}


def test_built_in_backstores_are_a_plugin_like_any_other() -> None:
    manager, plugins = loaded()
    assert plugins["builtin"].status == "loaded"
    assert {"backstore file", "backstore ram", "backstore null"} <= set(plugins["builtin"].provides)
    assert set(manager.registry.backstores) >= {"file", "ram", "null"}
    assert set(manager.registry.filters) >= {"readonly", "delay", "error", "cow"}


def test_a_plugin_of_another_distribution_is_found(distributions: Distributions) -> None:
    distributions.add("void-plugin", GOOD.format(kind="void"))
    manager, plugins = loaded()
    assert plugins["void-plugin"].as_dict() == {
        "name": "void-plugin", "distribution": "void-plugin", "version": "1.2", "status": "loaded", "error": "",
        "provides": ["backstore void"],
    }  # fmt: skip
    assert manager.registry.backstore("void").__module__ == "void_plugin"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("raise RuntimeError('boom\\nbang')", "importing bad failed: RuntimeError: boom bang"),
        ("import nosuchmodule_at_all", "ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): ...\nraise Odd('neither')", "importing bad failed: Odd: neither"),
        (GOOD.replace("register(Void)", "raise GeneratorExit").format(kind="v"), "GeneratorExit"),
        ("x = 1", "does not say ISCSITOOLS_API = 1"),
        ("ISCSITOOLS_API = 2", "for plugin API 2, this is API 1"),
        ("ISCSITOOLS_API = '1'", "for plugin API '1'"),
        (GOOD.format(kind="ram"), "there is already a backstore named 'ram'"),
        (GOOD.format(kind="Not A Name"), "Void.kind is 'Not A Name'"),
        (GOOD.replace("register(Void)", "register(Void()())").format(kind="v"), "TypeError"),
        (GOOD.replace("register(Void)", "register(7)").format(kind="v"), "7 is no subclass of"),
        (GOOD.replace("_backstores(", "_backstore(").format(kind="v"), "no hook named 'register_backstore'"),
        (GOOD.replace("(register)", "(registrar)").format(kind="v"), "registrar"),
    ],
)  # fmt: skip
def test_a_bad_plugin_is_named_and_the_others_work(
    distributions: Distributions, caplog: pytest.LogCaptureFixture, code: str, complaint: str
) -> None:
    distributions.add("bad", code)
    distributions.add("good", GOOD.format(kind="void"))
    manager, plugins = loaded()
    assert plugins["bad"].status == "failed"
    assert complaint in plugins["bad"].error
    assert "\n" not in plugins["bad"].error
    assert plugins["bad"].provides == []
    assert plugins["good"].status == "loaded"
    assert {"void", "ram"} <= set(manager.registry.backstores)
    assert any("plugin bad of bad 1.2 is not loaded" in r.getMessage() for r in caplog.records)


def test_a_plugin_that_fails_half_way_leaves_nothing(distributions: Distributions) -> None:
    distributions.add("half", GOOD.format(kind="void") + "        raise KeyError('late')\n")
    manager, plugins = loaded()
    assert "KeyError" in plugins["half"].error
    assert "void" not in manager.registry.backstores
    assert "half" not in [name for name, _ in manager.calls("register_backstores")]


def test_of_two_plugins_of_one_name_the_second_is_refused(distributions: Distributions) -> None:
    distributions.add("one", GOOD.format(kind="first"), entry="same")
    distributions.add("two", GOOD.format(kind="second"), entry="same")
    manager, _ = loaded()
    same = [p for p in manager.plugins if p.name == "same"]
    assert sorted(p.status for p in same) == ["failed", "loaded"]
    winner = next(p for p in same if p.status == "loaded")
    assert f"already a plugin of this name, from {winner.distribution}" in next(
        p.error for p in same if p is not winner
    )


def test_all_kinds_of_registration() -> None:
    class Vault:
        name = "vault"

        def secret_for(self, initiator: str, user: str) -> bytes | None:
            return b"secret of " + user.encode()

    class Plugin:
        ISCSITOOLS_API = 1

        @hookimpl
        def register_authenticators(self, register) -> None:  # type: ignore[no-untyped-def]
            register(Vault())

        @hookimpl
        def register_commands(self, register) -> None:  # type: ignore[no-untyped-def]
            register(click.Command("hello"))

        @hookimpl
        def session_opened(self) -> None: ...

    manager = PluginManager()
    plugin = manager.register(Plugin(), "all")
    assert plugin.status == "loaded", plugin.error
    assert sorted(plugin.provides) == ["authenticator vault", "command hello", "hook session_opened"]
    assert manager.authenticators["vault"].secret_for("iqn.x", "me") == b"secret of me"
    group = click.Group()
    manager.add_commands(group)
    assert list(group.commands) == ["hello"]
    again = manager.register(Plugin(), "again")
    assert again.status == "failed"
    assert "already" in again.error


NOT_AN_AUTHENTICATOR = "is no authenticator: it has not both name and secret_for"


@pytest.mark.parametrize(
    ("hook", "item", "complaint"),
    [
        ("register_commands", SimpleNamespace(name="hello"), "is no click command"),
        ("register_authenticators", SimpleNamespace(name="vault"), NOT_AN_AUTHENTICATOR),
        ("register_authenticators", SimpleNamespace(secret_for=bytes), NOT_AN_AUTHENTICATOR),
        ("register_authenticators", SimpleNamespace(name="My Vault", secret_for=bytes), "name is a-z, 0-9, _ and -"),
        ("register_authenticators", SimpleNamespace(name=7, secret_for=bytes), "name is a-z, 0-9, _ and -"),
        (
            "register_filters",
            type("Odd", (Filter,), {"kind": "odd", "options": ("x",)}),
            "Odd.options: 'x' is no",
        ),
        ("register_filters", type("Odd", (Filter,), {"kind": None}), "Odd.kind is None"),
        ("register_backstores", type("Odd", (Backstore,), {"kind": "odd", "options": 7}), "TypeError"),
    ],
)
def test_what_is_registered_has_to_be_what_it_says(hook: str, item: object, complaint: str) -> None:
    """Otherwise it would fail when it is used, and nobody would know whose fault that is."""

    @hookimpl(specname=hook)
    def register_it(register) -> None:  # type: ignore[no-untyped-def]
        register(item)

    manager = PluginManager()
    plugin = manager.register(SimpleNamespace(ISCSITOOLS_API=1, register_it=register_it), "odd")
    assert plugin.status == "failed"
    assert complaint in plugin.error
    assert (manager.commands, manager.authenticators, manager.registry.filters) == ({}, {}, {})


def test_ctrl_c_while_a_plugin_is_imported_is_no_fault_of_the_plugin(distributions: Distributions) -> None:
    distributions.add("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        loaded()


def test_a_command_whose_name_is_taken_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    @hookimpl
    def register_commands(register) -> None:  # type: ignore[no-untyped-def]
        register(click.Command("serve"))

    manager = PluginManager()
    plugin = manager.register(SimpleNamespace(ISCSITOOLS_API=1, register_commands=register_commands), "usurper")
    serve = click.Command("serve")
    group = click.Group(commands={"serve": serve})
    with caplog.at_level(logging.ERROR):
        manager.add_commands(group)
    assert group.commands["serve"] is serve
    assert plugin.error == "there is already a command named 'serve'"
    assert plugin.status == "loaded"
    assert "plugin usurper" in caplog.text
