"""The commented example and the documentation know every key, and the example is right."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.cli.main import run
from iscsitools.cli.reference import configuration_page
from iscsitools.config import Config, TargetConfig
from iscsitools.config.example import all_keys, example
from iscsitools.config.key_tables import Table
from iscsitools.config.model import Limits, LunConfig, MapConfig
from iscsitools.config.schema import AUTH, CONFIG, LIMITS, LUN, MAP, TARGET

Load = Callable[[str], tuple[Config, tuple[str, ...]]]

COMMENTED = re.findall(r"^#(\w+ = .*)$", example(), re.MULTILINE)


def test_the_example_is_right_and_all_defaults(load: Load) -> None:
    config, warnings = load(example())
    assert warnings == ()
    assert config.limits == Limits()
    (target,) = config.targets
    lun = LunConfig(0, target.luns[0].stack)
    assert config == Config(targets=(TargetConfig(target.iqn, luns=(lun,), maps=(MapConfig("web"),)),))


def test_the_example_shows_every_key() -> None:
    shown = set(re.findall(r"^#? *(\w+) = ", example(), re.MULTILINE))
    shown |= set(re.findall(r"^\[+(?:target\.)?(\w+)\]", example(), re.MULTILINE))
    assert all_keys() <= shown


@pytest.mark.parametrize("line", sorted(set(COMMENTED)))
def test_each_commented_line_is_right_without_the_sign(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    for name in ("alice", "target"):
        (tmp_path / f"{name}.secret").write_text(f"a secret for {name}")
        (tmp_path / f"{name}.secret").chmod(0o600)
    text = example().replace(f"#{line}\n", f"{line}\n")
    if re.match(r"users|mutual|authenticator", line):
        text = text.replace('#method = "none"', 'method = "chap"')
        if line.startswith("mutual"):
            text = text.replace("#users", "users")
    text = text.replace('"ldap"', '"vault"')
    tomllib.loads(text)
    _, warnings = load(text)
    assert warnings == ()


@pytest.mark.parametrize("table", [CONFIG, LIMITS, AUTH, TARGET, LUN, MAP], ids=lambda t: t.model.__name__)
def test_every_field_has_a_key(table: Table) -> None:
    fields = set(table.model.__slots__)  # type: ignore[attr-defined]
    assert {key.field or key.name for key in table.keys} == fields


def test_the_page_is_up_to_date(project: Path) -> None:
    page = (project / "docs" / "configuration.md").read_text()
    assert page == configuration_page(page), "run make docs"
    for key in all_keys():
        assert f"| `{key}` |" in page


def test_the_page_shows_what_config_check_prints(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    target = '[[target]]\niqn = "iqn.2026-11.example:a"\n[[target.lun]]\nstore = "ram:1M"\nblocksize = 4096\n'
    Path("target.toml").write_text('name = "a"\n\nportals = ["1.2.3:3260"]\n\n' + target)
    assert run(["config", "check", "target.toml"]) == 2
    page = (project / "docs" / "configuration.md").read_text()
    assert f"$ iscsitools config check target.toml\n{capsys.readouterr().err}```\n" in page
