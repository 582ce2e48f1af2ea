"""Where the D library goes, which variant, and what the command says when it cannot be."""

from __future__ import annotations

import platform
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from iscsitools.cli.main import cli
from iscsitools.dtrace import library, system, variants
from iscsitools.dtrace.system import System, find_dtrace, this_system
from iscsitools.errors import RunError, UsageError

MODINFO = " Id         Loadaddr   Size Info Rev Module Name\n 12 fffffffff8001000   5c48   -   1 genunix ()\n"
STMF = "237 fffffffff8123000   1f2a8 312   1 stmf (COMSTAR STMF)\n"


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usr/lib/dtrace").mkdir(parents=True)
    return tmp_path


def make(root: Path, variant: variants.Variant = variants.FREEBSD) -> System:
    return System("here", variant, "", root / "usr/lib/dtrace")


@pytest.mark.parametrize(
    ("name", "variant"),
    [("Linux", variants.LINUX), ("FreeBSD", variants.FREEBSD), ("Darwin", variants.MACOS), ("SunOS", variants.ILLUMOS)],
)
def test_each_system_has_its_variant(
    monkeypatch: pytest.MonkeyPatch, root: Path, name: str, variant: variants.Variant
) -> None:
    on(monkeypatch, name)
    assert this_system(root).variant is variant


def test_another_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "Plan9")
    with pytest.raises(RunError, match="Plan9 has no DTrace"):
        this_system()


@pytest.mark.parametrize(("loaded", "variant"), [(MODINFO, "illumos"), (MODINFO + STMF, "illumos-stmf")])
def test_illumos_goes_by_the_module(
    monkeypatch: pytest.MonkeyPatch, root: Path, programs: Path, loaded: str, variant: str
) -> None:
    on(monkeypatch, "SunOS")
    (root / "usr/lib/dtrace/scsi.d").write_text("typedef struct scsicmd {\n} scsicmd_t;\n")
    program(programs / "modinfo", loaded)
    found = this_system(root)
    assert found.variant.name == variant
    assert "stmf" in found.reason
    assert f"the variant {variant} (the module stmf is " in library.install(found)


def test_linux_has_its_libraries_in_a_folder_of_folders(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    on(monkeypatch, "Linux")
    folder = root / "usr/lib/x86_64-linux-gnu/dtrace"
    (folder / "6.10").mkdir(parents=True)
    (folder / "6.10/net.d").write_text("")
    assert this_system(root).folder == folder


def test_install_and_uninstall(root: Path) -> None:
    here = make(root)
    assert library.install(here) == f"installed {here.installed}, the variant freebsd"
    assert here.installed.read_text() == variants.FREEBSD.file.read_text()
    assert library.uninstall(here) == f"removed {here.installed}"
    assert library.uninstall(here) == f"{here.installed} is not there"


def test_macos_gets_the_option_and_nothing_is_written(root: Path) -> None:
    here = make(root, variants.MACOS)
    assert f"dtrace -L {variants.MACOS.folder} -s SCRIPT" in library.install(here)
    assert list(here.folder.iterdir()) == []


def test_a_type_that_the_system_has_is_not_added_to_it(root: Path) -> None:
    here = make(root)
    (here.folder / "net.d").write_text("typedef struct conninfo {\n\tstring ci_local;\n} conninfo_t;\n")
    with pytest.raises(RunError, match=r"net\.d defines conninfo_t too"):
        library.install(here)


def test_a_system_with_the_provider_s_own_library_gets_no_second_one(root: Path) -> None:
    here = make(root)
    (here.folder / "iscsi.d").write_text("typedef struct uiscsiproto {\n\tuint64_t x;\n} uiscsiproto_t;\n")
    assert "nothing to install" in library.install(here)
    assert not here.installed.exists()
    assert library.library_arguments(here) == []


def test_scsi_d_counts_only_while_its_module_is_loaded(root: Path) -> None:
    (root / "usr/lib/dtrace/scsi.d").write_text("typedef struct scsicmd {\n} scsicmd_t;\n")
    library.install(make(root, variants.ILLUMOS))
    library.install(make(root, variants.ILLUMOS_STMF))


def test_run_names_the_library_unless_the_same_is_installed(root: Path) -> None:
    here = make(root)
    given = ["-L", str(variants.FREEBSD.folder)]
    assert library.library_arguments(here) == given
    library.install(here)
    assert library.library_arguments(here) == []
    here.installed.write_text("/* another version */\n")
    assert library.library_arguments(here) == given


def test_linux_takes_no_library_beside_an_installed_one(root: Path) -> None:
    here = make(root, variants.LINUX)
    here.installed.write_text("/* another version */\n")
    with pytest.raises(RunError, match="another version"):
        library.library_arguments(here)


def test_a_script_is_found_by_name_or_path(tmp_path: Path) -> None:
    assert library.script_file("iscsiio") == library.script_file("iscsiio.d") == variants.DSCRIPTS / "iscsiio.d"
    own = tmp_path / "own.d"
    own.write_text("")
    assert library.script_file(str(own)) == own
    with pytest.raises(UsageError, match="there is no script 'iscsifoo'"):
        library.script_file("iscsifoo")


def test_run_for_one_target_gives_dtrace_a_script_of_its_probes_only(
    project: Path, tmp_path: Path, programs: Path
) -> None:
    own = tmp_path / "own.d"
    own.write_text("iscsi*:::scsi-command, iscsi*:::data-send { @ = count(); }\n")
    program(programs / "dtrace", "D 2.0.7\n")
    with open(programs / "dtrace", "a") as file:
        file.write('echo "$@"; [ "$1" = -V ] || cat /dev/stdin\n')
    command = [sys.executable, "-m", "iscsitools", "dtrace", "run", "--pid", "42", str(own), "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=project)
    assert "-s /dev/stdin 7\n" in done.stdout
    assert done.stdout.endswith("iscsi42:::scsi-command, iscsi42:::data-send { @ = count(); }\n")


def test_every_script_says_what_it_does() -> None:
    assert all(about for _, about in library.scripts().values())


def test_without_dtrace_the_error_names_bpftrace_s_scripts(monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    on(monkeypatch, "Linux")
    monkeypatch.setattr(system, "_SYSTEM_PATHS", str(programs))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(RunError, match="there is no dtrace") as caught:
        find_dtrace()
    assert "bpftrace" in caught.value.lines[1]


def test_systemtap_s_dtrace_is_not_taken_for_dtrace(monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    on(monkeypatch, "Linux")
    program(programs / "dtrace", "Usage /usr/bin/dtrace [--help] [-h | -G] [-C [-I<Path>]] -s File.d\n")
    with pytest.raises(RunError, match="is not DTrace"):
        find_dtrace()
    program(programs / "dtrace", "dtrace: D 2.0.7\n")
    assert find_dtrace() == str(programs / "dtrace")


def test_print_prints_the_library_and_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "FreeBSD")
    result = CliRunner().invoke(cli, ["dtrace", "install", "--print"], catch_exceptions=False)
    assert result.output == variants.FREEBSD.file.read_text()


def test_list_names_every_script() -> None:
    result = CliRunner().invoke(cli, ["dtrace", "list"], catch_exceptions=False)
    assert all(name in result.output for name in library.scripts())
    assert str(variants.DSCRIPTS) in result.output
