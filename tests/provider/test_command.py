"""``iscsitools probes``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.native import needs_native
from support.target import start_target

from iscsitools.cli.main import cli
from iscsitools.probes.table import PROVIDER_PROBES, Probe
from iscsitools.provider import backend
from iscsitools.provider.errors import ProviderError
from iscsitools.trace import attach


def _absent() -> None:
    raise ProviderError("the native module was not built")


def test_lists_all_probes_and_backends() -> None:
    out = CliRunner().invoke(cli, ["probes"]).output.splitlines()
    assert out[0].split() == ["PROBE", "ENABLED", "ARGUMENTS"]
    assert [line.split()[:2] for line in out[1:19]] == [[p.label, "-"] for p in PROVIDER_PROBES]
    assert out[1 + Probe.SCSI_COMMAND].endswith("conninfo_t *, iscsiinfo_t *, scsicmd_t *")
    assert out[20].split() == ["BACKEND", "FOUND", "WHY", "NOT"]
    backends = out[21 : out.index("", 21)]
    assert [line.split()[0] for line in backends if line[:1] != " "] == ["dtrace", "sdt"]  # a reason may take two lines
    assert all(len(line) <= 80 for line in backends)


def test_says_which_are_enabled_in_the_server(tmp_path: Path) -> None:
    with start_target(tmp_path, "--lun", "ram:1M", "--name", "probed", "--provider", "none") as target:
        watch = str(target.runtime / "iscsitools" / "probed.watch")
        with attach(socket=watch, probes=["data-send"]):
            found = json.loads(CliRunner().invoke(cli, ["probes", "--json", "--socket", watch]).output)
    assert [p["name"] for p in found["probes"] if p["enabled"]] == ["data-send"]
    assert found["provider"] == "iscsi"


def test_a_named_server_that_is_not_there_is_an_error() -> None:
    result = CliRunner().invoke(cli, ["probes", "--name", "nobody"])
    assert result.exit_code == 1
    assert "nobody" in str(result.exception)


def test_path_is_the_native_module() -> None:
    needs_native()
    path = Path(CliRunner().invoke(cli, ["probes", "--path"]).output.strip())
    assert path.is_file()
    assert path.name.startswith("_native")


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "native_module", _absent)
    found = json.loads(CliRunner().invoke(cli, ["probes", "--json"]).output)
    assert [b["available"] for b in found["backends"]] == [False, False]
    assert found["path"] is None
    result = CliRunner().invoke(cli, ["probes", "--path"])
    assert result.exit_code == 1
    assert "the native module was not built" in str(result.exception)
