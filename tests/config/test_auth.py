"""CHAP in the configuration: where secrets come from, and that they never show."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.config import AuthMethod, ChapAlgorithm, Config

Load = Callable[[str], tuple[Config, tuple[str, ...]]]
Problems = Callable[[str], tuple[str, ...]]

HEAD = '[[target]]\niqn = "iqn.2026-11.example:a"\n[target.auth]\nmethod = "chap"\n'
DISK = '[[target.lun]]\nstore = "null:1M"\n'
ODD = 'p\u00e4ss "w\'ord" \\,%@:=\t#'


def test_secrets_from_the_three_places(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB_SECRET", ODD + "env")
    (tmp_path / "carol").write_bytes(ODD.encode() + b"\xff\x01\n\n")
    (tmp_path / "carol").chmod(0o600)
    (tmp_path / "target").write_bytes(ODD.encode() + b"target\r\n")
    (tmp_path / "target").chmod(0o600)
    config, warnings = load(
        HEAD
        + "users = [{ name = 'alice', secret = '''"
        + ODD
        + "''' }, { name = 'bob', secret_env = 'BOB_SECRET' }, { name = 'c\u00e4rol', secret_file = 'carol' }]\n"
        + "mutual = { name = 'target', secret_file = 'target' }\nalgorithms = ['sha1', 'sha3-256']\n"
        + DISK
    )
    auth = config.targets[0].auth
    assert warnings == ()
    assert auth.method is AuthMethod.CHAP
    assert [(user.name, user.secret.value) for user in auth.users] == [
        ("alice", ODD.encode()),
        ("bob", ODD.encode() + b"env"),
        ("c\u00e4rol", ODD.encode() + b"\xff\x01\n"),
    ]
    assert auth.mutual is not None
    assert auth.mutual.secret.value == ODD.encode() + b"target"
    assert auth.algorithms == (ChapAlgorithm.SHA1, ChapAlgorithm.SHA3_256)


def test_a_secret_shows_nowhere(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    config, _ = load(HEAD + "users = [{ name = 'alice', secret = 'correct horse battery' }]\n")
    logging.getLogger("test").warning("%s %r", config, config.targets[0].auth.users[0].secret)
    for text in (repr(config), str(config), f"{config}", caplog.text):
        assert "alice" in text
        assert "horse" not in text


def test_configurations_differ_when_a_secret_does(load: Load) -> None:
    first, _ = load(HEAD + "users = [{ name = 'alice', secret = 'correct horse battery' }]\n")
    second, _ = load(HEAD + "users = [{ name = 'alice', secret = 'correct horse batterz' }]\n")
    assert first != second


def test_unwise_secrets_are_warnings(load: Load, tmp_path: Path) -> None:
    (tmp_path / "open").write_text("x" * 11)
    (tmp_path / "open").chmod(0o644)
    _, warnings = load(HEAD + "users = [{ name = 'alice', secret_file = 'open' }]\n" + DISK)
    assert len(warnings) == 2
    assert warnings[0].startswith("t.toml:5: target[0].auth.users[0].secret_file: others may read open")
    assert "has 11 bytes, fewer than the 12 that RFC 7143 12.1.3" in warnings[1]


def test_a_secret_in_a_file_that_others_may_read(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", lambda self, mode: None)
    (tmp_path / "t.toml").touch(0o644)
    _, warnings = load(HEAD + "users = [{ name = 'alice', secret = 'correct horse battery' }]\n" + DISK)
    assert [w for w in warnings if "others may read t.toml" in w] == list(warnings) != []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["3: target[0].auth: method is chap, and there are no users"]),
        ("users = []", ["5: target[0].auth.users: at least 1 is needed"]),
        ("users = [{ name = 'a' }]", ["5: target[0].auth.users[0]: one of secret, secret_file and secret_env"]),
        ("users = [{ secret = 'x' }]", ["5: target[0].auth.users[0]: the key 'name' is missing"]),
        (
            "users = [{ name = 'a', secret = 'x', secret_env = 'X' }]",
            ["5: target[0].auth.users[0]: one of secret, secret_file and secret_env is needed, secret and"],
        ),
        (
            "users = [{ name = 'a', secret_env = 'ABSENT' }]",
            ["5: target[0].auth.users[0].secret_env: the environment variable ABSENT is not set"],
        ),
        (
            "users = [{ name = 'a', secret_file = 'absent' }]",
            ["5: target[0].auth.users[0].secret_file: absent cannot be read: No such file or directory"],
        ),
        (
            "users = [{ name = 'a', secret_file = '~no such user/secret' }]",
            ["5: target[0].auth.users[0].secret_file: ~no such user/secret cannot be read: No such file or directory"],
        ),
        (
            "users = [{ name = 'a', secret = 'x' },\n{ name = 'a', secret = 'y' }]",
            ["5: target[0].auth.users: the user 'a' is given twice"],
        ),
        (
            "users = [{ name = 'a', secret = 'x' }]\nmutual = { name = 't', secret = 'x' }",
            ["6: target[0].auth.mutual: its secret is that of the user 'a' too"],
        ),
        ("authenticator = 'vaul'", ["5: target[0].auth.authenticator: unknown authenticator 'vaul'; did you mean"]),
        (
            "authenticator = 'vault'\nusers = [{ name = 'a', secret = 'x' }]",
            ["6: target[0].auth.users: an authenticator is given too"],
        ),
        (
            "algorithms = ['sha1', 'sha3-256', 'sha3-256']\nauthenticator = 'vault'",
            ["5: target[0].auth.algorithms: sha3-256 is given twice"],
        ),
        ("algorithms = ['md4']\nauthenticator = 'vault'", ["5: target[0].auth.algorithms[0]: 'md4' is none of md5, "]),
    ],
)  # fmt: skip
def test_problems(problems: Problems, text: str, expected: list[str]) -> None:
    found = problems(HEAD + text + "\n")
    assert len(found) == len(expected), found
    for line, begin in zip(found, expected, strict=True):
        assert line.startswith(begin)


def test_users_without_chap(problems: Problems) -> None:
    text = HEAD.replace('"chap"', '"none"') + "users = [{ name = 'a', secret = 'x' }]\n"
    assert problems(text) == ('5: target[0].auth.users: this has no effect without method = "chap"',)


def test_an_authenticator_needs_no_users(load: Load) -> None:
    config, _ = load(HEAD + "authenticator = 'vault'\n")
    assert config.targets[0].auth.authenticator == "vault"
