"""The commands that change a running server, as a person calls them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import iscsitools as iscsitools
from server.harness import IQN, Running, one_target, running
from support.target import start_target

from iscsitools.config import load_config
from iscsitools.config.document import document_of, toml_text
from iscsitools.initiator.session import Session
from iscsitools.plugins import PluginManager

Run = Callable[..., Any]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, one_target("ram:1M", more='name = "cmd"')) as server:
        yield server


def test_apply_of_what_get_prints_changes_nothing(served: Running, iscsitools: Run, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(iscsitools("get").out)
    assert iscsitools("apply", "-f", str(file)).out == "nothing to change\n"
    document = json.loads(iscsitools("get", "-o", "json").out)
    assert document["document"]["target"][0]["lun"] == [{"number": 0, "store": {"kind": "ram", "what": "1M"}}]


def test_diff_says_it_and_changes_nothing(served: Running, iscsitools: Run, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    text = f'[[target]]\niqn = "{IQN}"\nlun = [{{ store = "ram:2M" }}, {{ store = "ram:1M" }}]\n'
    file.write_text(text)
    lines = f"LUN 1 of {IQN} is added: ram:1M\nLUN 0 of {IQN} grows from 1M to 2M\n"
    result = iscsitools("apply", "-f", str(file), "--diff")
    assert (result.status, result.out, result.err) == (1, lines, "")
    result = iscsitools("apply", "-f", str(file), "--dry-run", "--json")
    told = json.loads(result.out)
    assert (result.status, told["applied"], [c["kind"] for c in told["changes"]]) == (
        0, False, ["lun-added", "lun-resized"],
    )  # fmt: skip
    assert iscsitools("apply", "-f", str(file)).out == lines
    result = iscsitools("apply", "-f", str(file), "--diff")
    assert (result.status, result.out) == (0, "nothing to change\n")


def test_what_is_wrong_is_told_by_line(served: Running, iscsitools: Run, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(f'[[target]]\niqn = "{IQN}"\nlun = [{{ store = "rum:2M" }}]\n')
    result = iscsitools("apply", "-f", str(file))
    assert result.status == 2
    assert result.err.startswith(f"iscsitools: {file}:3: target[0].lun[0].store: unknown backstore 'rum'")
    result = iscsitools("apply", "-f", str(tmp_path / "none"))
    assert (result.status, result.err) == (1, f"iscsitools: {tmp_path / 'none'}: No such file or directory\n")


def test_the_commands_for_one_thing(served: Running, iscsitools: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "iqn.2026-11.example:o"
    for arguments, out in (
        (("target", "add", other, "--lun", "ram:1M"), f"target {other} is added, with 1 LUN"),
        (("lun", "add", other, "5=ram:1M"), f"LUN 5 of {other} is added: ram:1M"),
        (("lun", "add", other, "null:1M"), f"LUN 1 of {other} is added: null:1M"),
        (("lun", "resize", other, "5", "2M"), f"LUN 5 of {other} grows from 1M to 2M"),
        (("lun", "move", other, "5", "6"), f"LUN 5 of {other} becomes LUN 6"),
        (("lun", "remove", other, "6", "--drain"), f"LUN 6 of {other} (ram:2M) is removed"),
        (("acl", "add", other, "iqn.a*", "iqn.b*"), "initiator iqn.a* is let in"),
        (("acl", "remove", other, "iqn.a*"), "initiator iqn.a* is no longer let in"),
        (("acl", "clear", other), "initiator iqn.b* is no longer let in"),
        (("limit", "set", "nop_interval=5s", "initial_r2t=yes"), "limit nop_interval goes from 30 to 5"),
        (("portal", "add", "[::1]:0"), "portal [::1]:0 is added"),
        (("portal", "remove", "[::1]:0", "--force"), "portal [::1]:0 is removed"),
        (("target", "remove", other, "--force"), f"target {other} is removed, with 2 LUNs"),
    ):
        result = iscsitools(*arguments, "--name", "cmd")
        assert (result.status, result.err) == (0, ""), arguments
        assert result.out.startswith(out), result.out


def test_users(served: Running, iscsitools: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    assert "user bob of" in iscsitools("user", "set", IQN, "bob", "--secret-file", str(secret)).out
    assert iscsitools("get").out.count(str(secret)) == 1
    Session.connect(served.address, IQN, chap=("bob", "correct horse battery")).close()
    result = iscsitools("user", "remove", IQN, "eve")
    assert (result.status, result.err) == (1, f"iscsitools: there is no user eve of {IQN}\n")


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (("lun", "remove", IQN, "7"), 1, f"there is no LUN 7 of {IQN} (there are: 0)"),
        (("lun", "add", "iqn.2026-11.example:none", "ram:1M"), 1, "there is no target iqn.2026-11.example:none"),
        (("lun", "add", IQN, "0=ram:1M"), 2, f"there is a LUN 0 of {IQN} already"),
        (("lun", "remove", IQN, "0", "--drain", "--force"), 2, "--drain and --force cannot be given together"),
        (("limit", "set", "max_sessions"), 2, "'max_sessions' is not KEY=VALUE"),
        (("limit", "set", "max_sesions=3"), 2, "limits.max_sesions: unknown key"),
        (("portal", "add", "127.0.0.1:0"), 2, "there is a portal 127.0.0.1:0 already"),
        (("portal", "remove", "192.0.2.1:3260"), 1, "there is no portal 192.0.2.1:3260"),
        (("portal", "add", "192.0.2.1:3260"), 1, "portal 192.0.2.1:3260: Cannot assign requested address"),
        (("acl", "remove", IQN, "iqn.a*"), 1, f"iqn.a* is not in the access list of {IQN}"),
        (("target", "remove", IQN), 2, "target: at least 1 is needed"),
        (("get", "--name", "nobody"), 1, "no running server is named 'nobody' (running: cmd)"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    served: Running, iscsitools: Run, arguments: tuple[str, ...], status: int, error: str
) -> None:
    result = iscsitools(*arguments)
    assert (result.status, result.out) == (status, "")
    assert result.err.startswith(f"iscsitools: {error}")
    assert result.err.count("\n") == 1


def test_the_environment_names_the_server(
    served: Running, iscsitools: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = {"XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]}
    with start_target(tmp_path, "--lun", "ram:1M", "--name", "second", env=here):
        assert iscsitools("get").status == 2
        monkeypatch.setenv("ISCSITOOLS_NAME", "second")
        assert 'name = "second"' in iscsitools("get").out
        assert 'name = "cmd"' in iscsitools("get", "--name", "cmd").out
        assert iscsitools("sessions").out == "No sessions.\n"
        for words in (["record", "0.01", "-o", str(tmp_path / "trace")], ["probes"], ["sessions"], ["io", "0.01", "1"]):
            assert iscsitools(*words).status == 0, words
        monkeypatch.setenv("ISCSITOOLS_NAME", "nobody")
        for words in (["record", "0.01", "-o", str(tmp_path / "trace")], ["probes"], ["sessions"], ["io", "0.01", "1"]):
            assert iscsitools(*words).status == 1, words
        assert iscsitools("sessions").status == 1
        assert "nobody" in iscsitools("get").err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("alua", "set", IQN, "1=standby", "1=optimized"), 2, "portal group 1 is given twice"),
        (("alua", "set", IQN, "1"), 2, "'1' is not GROUP=STATE, as 2=standby"),
        (("alua", "set", IQN, "1=foo"), 2, "iscsitools: access: 'foo' is none of optimized, "),
        (("portal", "add", "127.0.0.1:0,0"), 2, "iscsitools: portals: '127.0.0.1:0,0': '0' is no portal group"),
        (("lun", "add", IQN, "rum:1M"), 2, "iscsitools: store: unknown backstore 'rum'"),
        (("limit", "set", "max_sessions=1", "max_sessions=2"), 2, "max_sessions is given twice"),
        (("portal", "add", "127.0.0.1:0,advertise=a,advertise=b"), 2, "one portal group and one advertise=ADDRESS"),
        (("acl", "add", IQN, "10.0.0.1/8"), 2, "'10.0.0.1/8' is no network"),
        (("acl", "add", IQN, "::/129"), 2, "'::/129' is no network"),
        (("user", "set", IQN, "alice", "--secret-file", "/dev/zero"), 2, "/dev/zero: more than 64 KiB"),
        (("apply", "-f", "zeros"), 2, "apply is longer than 4 MiB"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_changes_nothing(
    served: Running, iscsitools: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], status: int, text: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zeros").write_bytes(bytes(2 << 20))
    before = iscsitools("get").out
    result = iscsitools(*words)
    assert (result.status, result.out) == (status, "")
    assert text in result.err
    assert result.err.count("\n") == 1
    assert iscsitools("get").out == before


def test_a_secret_that_is_empty_is_one_line(
    served: Running, iscsitools: Run, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    result = iscsitools("user", "set", IQN, "alice")
    assert (result.status, result.err) == (2, "iscsitools: the secret is empty\n")


def test_portal_groups_are_those_of_the_portals_that_stay(tmp_path: Path, iscsitools: Run) -> None:
    portals = 'name = "groups"\nportals = ["127.0.0.1:0", "127.0.0.1:0,2"]\n'
    target = f'[[target]]\niqn = "{IQN}"\nportal_groups = [2]\naccess = ["2=standby"]\nlun = [{{ store = "ram:1M" }}]\n'
    file = tmp_path / "site.toml"
    with running(tmp_path, portals + target):
        file.write_text(target)
        result = iscsitools("apply", "-f", str(file))
        assert (result.status, result.out, result.err) == (0, "nothing to change\n", "")
        file.write_text(target.replace("[2]", "[2, 3]"))
        result = iscsitools("apply", "-f", str(file))
        assert (result.status, result.err.count("no portal is in portal group 3")) == (2, 1)


def test_what_was_changed_is_kept_and_served_again(tmp_path: Path, iscsitools: Run) -> None:
    state = tmp_path / "state"
    arguments = ("--state", str(state), "--name", "kept", "--provider", "none")
    with start_target(tmp_path, "--iqn", IQN, "--lun", "ram:1M", *arguments) as target:
        socket = str(target.runtime / "iscsitools" / "kept.watch")
        assert iscsitools("lun", "add", IQN, "ram:3M", "--socket", socket).status == 0
        target.kill()
    kept = state / "config.toml"
    assert kept.stat().st_mode & 0o777 == 0o600
    with start_target(tmp_path, *arguments) as target:
        with Session.connect(target.addresses[0], IQN) as session:
            assert session.read_capacity(1) == (6144, 512)
        assert "overrides" not in target.stop()
    with start_target(tmp_path, "--iqn", IQN, "--lun", "ram:2M", *arguments) as target:
        output = target.stop()
    assert f"overrides what was kept in {kept}: LUN 1 of {IQN} (ram:3M) is removed" in output
    assert f"overrides what was kept in {kept}: LUN 0 of {IQN} grows from 1M to 2M" in output
    assert 'what = "2M"' in kept.read_text()


def test_every_document_reads_back(project: Path, tmp_path: Path) -> None:
    plugins = PluginManager()
    plugins.load()
    (tmp_path / "alice").write_text("x" * 16)
    text = f"""
name = "all"
portals = ["[::1]:0", "127.0.0.1:0"]
log_level = "debug"
threads = "auto"
[limits]
nop_interval = 2.5
initial_r2t = true
[[target]]
iqn = "iqn.2026-11.example:a"
alias = "quote \\" backslash \\\\ tab\\t ü \U0001f600 del \\u007f"
initiators = ["iqn.1993-08.org.debian:*"]
[target.auth]
method = "chap"
algorithms = ["sha3-256", "md5"]
users = [{{ name = "a b", secret_file = "{tmp_path}/alice" }}, {{ name = "c", secret = 'y"y\\yyyyyyyyyyy' }}]
mutual = {{ name = "m", secret = "zzzzzzzzzzzzzz" }}
[[target.lun]]
number = 3
store = "ram+delay+error:1M,delay.read=5ms,error.write=0.1"
cache = "writethrough"
naa = "3000000000000001"
serial = "1"
[[target.lun]]
store = {{ kind = "ram", what = "1M", filters = ["cow"] }}
thin = false
[[target]]
iqn = "iqn.2026-11.example:b"
"""
    file = tmp_path / "all.toml"
    file.write_text(text)
    file.chmod(0o600)
    config, _ = load_config(file, plugins.registry)
    written = toml_text(document_of(config))
    file.write_text(written)
    again, _ = load_config(file, plugins.registry)
    assert toml_text(document_of(again)) == written
    assert again == config
