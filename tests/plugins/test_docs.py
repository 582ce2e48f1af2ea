"""The documentation is complete, and what it shows runs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.guide import examples, module_of

from iscsitools import hookspecs
from iscsitools.backstores import values
from iscsitools.backstores.base import Backstore, Capabilities, Filter, Operation, Request
from iscsitools.backstores.filters.cow import CowFilter
from iscsitools.backstores.registry import LUN_OPTION_NAMES, Registry
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.errors import RunError
from iscsitools.observers import ObserverFeed
from iscsitools.plugins import PluginManager
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.probes.table import Probe
from iscsitools.testing.model import check_model

HOOKS = [
    name for name, value in vars(hookspecs).items() if inspect.isfunction(value) and hasattr(value, "iscsitools_spec")
]


def builtin() -> Registry:
    manager = PluginManager()
    manager.load()
    names = next(p.provides for p in manager.plugins if p.name == "builtin")
    registry = Registry()
    registry.backstores = {k: c for k, c in manager.registry.backstores.items() if f"backstore {k}" in names}
    registry.filters = {k: c for k, c in manager.registry.filters.items() if f"filter {k}" in names}
    return registry


def section(page: str, title: str) -> str:
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert match is not None, f"docs/backstores.md has no section {title!r}"
    return match[1]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_paragraph(project: Path, hook: str) -> None:
    page = (project / "docs/plugins.md").read_text()
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert re.search(rf"^## .*\b{hook}\({arguments}\)", page, re.MULTILINE), f"docs/plugins.md says nothing of {hook}"


def test_every_backstore_filter_and_option_has_its_paragraph(project: Path) -> None:
    page = (project / "docs/backstores.md").read_text()
    registry = builtin()
    assert len(registry.backstores) >= 3
    titles = [(c, k) for k, c in registry.backstores.items()] + [
        (f, f"Filter {k}") for k, f in registry.filters.items()
    ]
    for cls, title in titles:
        text = section(page, title)
        for option in cls.options:
            assert f"\n- `{option.name}`: " in text, f"docs/backstores.md: {title} says nothing of {option.name}"
    for name in LUN_OPTION_NAMES:
        assert f"`{name}`" in page


def test_the_guide_names_every_method(project: Path) -> None:
    page = (project / "docs/writing-a-backstore.md").read_text()
    for name in [*vars(Backstore), *Filter.__annotations__]:
        if not name.startswith("_"):
            assert re.search(rf"`(self\.)?{name}\b", page), f"docs/writing-a-backstore.md says nothing of {name}"


def test_the_guide_names_every_capability(project: Path) -> None:
    page = (project / "docs/writing-a-backstore.md").read_text()
    for field in dataclasses.fields(Capabilities):
        assert re.search(rf"^\| `{field.name}` \| `{field.default}` \| ", page, re.MULTILINE), field.name


def test_the_guides_watching_filter_runs(project: Path) -> None:
    module = module_of(next(code for code in examples(project, "writing-a-backstore.md") if "WatchingFilter" in code))
    registry = builtin()
    registry.add_filter(module.Count)
    store = build(parse_spec("ram+count:64K"), registry)
    store.open()
    store.write(0, memoryview(bytes(512)))
    assert store.try_write(0, memoryview(bytes(512)))
    assert store.try_read_into(0, memoryview(bytearray(1024)))
    store.discard(0, 4096)
    assert store.calls == {"write": 2, "read_into": 1, "discard": 1}  # type: ignore[attr-defined]
    assert store.bytes["read_into"] == 1024  # type: ignore[attr-defined]
    store.close()


def test_the_guides_adjustable_filter_runs(project: Path) -> None:
    module = module_of(next(code for code in examples(project, "writing-a-backstore.md") if "OneAtATime" in code))
    registry = builtin()
    registry.add_filter(module.OneAtATime)
    store = build(parse_spec("ram+one-at-a-time:64K"), registry)
    store.open()
    assert isinstance(store, Filter)
    buffer = memoryview(bytearray(512))
    assert store.try_read_into(0, buffer)
    store.configure({"on": "yes"})
    assert not store.try_read_into(0, buffer)
    store.read_into(0, buffer)
    store.clear(["on"])
    assert store.try_read_into(0, buffer)
    store.close()


def test_the_guides_backstore_runs(project: Path) -> None:
    code = examples(project, "writing-a-backstore.md")[0]
    assert len(code.splitlines()) <= 60, "it has to fit on a screen"
    manager = PluginManager()
    plugin = manager.register(module_of(code), "sketch")
    assert (plugin.status, plugin.provides) == ("loaded", ["backstore sketch"]), plugin.error
    manager.registry.add_filter(CowFilter)
    store = build(parse_spec("sketch+cow:64K,fill=255"), manager.registry)
    store.open()
    store.write(512, memoryview(b"ab" * 512))
    store.discard(1024, 512)
    buffer = bytearray(2048)
    assert store.try_read_into(0, memoryview(buffer))
    assert buffer == b"\xff" * 512 + b"ab" * 256 + bytes(512) + b"\xff" * 512
    store.close()


def test_the_guides_asynchronous_backstore_runs(project: Path) -> None:
    module = module_of(examples(project, "writing-a-backstore.md")[1])
    submit, submitted = module.Pooled.submit, []

    class Counted(module.Pooled):  # type: ignore[misc,name-defined]
        def submit(self, request: Request) -> None:
            submitted.append(request.operation)
            submit(self, request)

    check_model(lambda: Counted("1M"), 1)
    assert set(submitted) == {Operation.READ, Operation.WRITE}


def test_the_guides_filter_runs(project: Path) -> None:
    module = module_of(examples(project, "writing-a-backstore.md")[3])
    registry = builtin()
    registry.add_filter(module.Invert)
    store = build(parse_spec("ram+invert:64K"), registry)
    store.open()
    store.write_zeroes(0, 512)
    buffer = bytearray(1024)
    store.read_into(0, memoryview(buffer))
    assert buffer == bytes(512) + b"\xff" * 512
    store.close()


def test_the_guides_filter_with_an_option_runs(project: Path) -> None:
    module = module_of(examples(project, "writing-a-backstore.md")[4])
    registry = builtin()
    registry.add_filter(module.SlowReads)
    buffer = memoryview(bytearray(512))
    for options, at_once in (("", True), (",slow-reads.wait=1us", False)):
        store = build(parse_spec(f"ram+slow-reads:64K{options}"), registry)
        store.open()
        store.write(0, memoryview(b"ab" * 256))
        assert store.try_read_into(0, buffer) is at_once
        store.read_into(0, buffer)
        assert buffer == b"ab" * 256
        store.close()


def test_the_plugin_pages_examples_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hello, greet, directory, options, logins, few, report = examples(project, "plugins.md")
    manager = PluginManager()
    assert manager.register(module_of(hello), "hello").provides == ["hook session_opened"]
    assert manager.register(module_of(greet), "greet").provides == ["command greet"]
    assert manager.register(module_of(directory), "directory").provides == ["authenticator directory"]
    assert manager.register(module_of(logins), "logins").status == "loaded"
    module = module_of(options)
    provided = manager.register(module, "mine").provides
    assert sorted(provided) == ["hook configure", "hook session_opened", "option greeting", "option wait"]
    manager.configure({"mine": {"greeting": "welcome", "wait": "5ms"}})
    assert module.chosen == {"greeting": "welcome", "wait": 0.005}
    assert manager.register(module_of(report), "report").provides == ["hook server_started", "hook server_stopped"]
    assert manager.register(module_of(few), "few").provides == ["hook configuration_changing"]
    manager.agree({"target": [{"lun": [{}] * 8}]})
    with pytest.raises(RunError, match="plugin few: ValueError: a target of ours has 8 disks at the most"):
        manager.agree({"target": [{"lun": []}, {"lun": [{}] * 9}]})
    greeted = CliRunner().invoke(manager.commands["greet"], ["ada"])
    assert (greeted.exit_code, greeted.output) == (0, "hello, ada\n")
    assert CliRunner().invoke(manager.commands["greet"], ["\n"]).exit_code == 1
    assert manager.authenticators["directory"].secret_for("iqn.i", "../passwd") is None
    probes = Probes(lambda: 0)
    feeds = [ObserverFeed(observer, plugin, probes) for plugin, observer in manager.observers()]
    probes.pdu(Probe.LOGIN_RESPONSE, ConnectionInfo(1, remote="192.0.2.1:5", initiator="iqn.i"), 0, bytes(48))
    for feed in feeds:
        feed.close(10)
    assert capsys.readouterr().out == "login-response iqn.i 192.0.2.1:5\n"


def test_the_guide_lists_every_parser(project: Path) -> None:
    page = (project / "docs/writing-a-backstore.md").read_text()
    own = [f for f in vars(values).values() if inspect.isfunction(f) and f.__module__ == values.__name__]
    parsers = [f for f in own if not f.__name__.startswith("_")]
    assert len(parsers) > 8
    assert [f.__name__ for f in parsers if not re.search(rf"^\| .*`{f.__name__}\b", page, re.MULTILINE)] == []


def test_the_guides_way_to_test_runs(project: Path) -> None:
    assert module_of(examples(project, "writing-a-backstore.md")[-2]).store.size == 1 << 20


def test_the_guides_tests_pass(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "test_example.py"
    file.write_text(examples(project, "writing-a-backstore.md")[-1])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
