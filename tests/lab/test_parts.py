"""The parts of the lab that need no machine: its command line, what is built again, names, images."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.tools import needs

from lab import build, chroot, command, home, image, machine, project
from lab.disk import Disk, check_names
from lab.home import Home, LabError
from lab.machine import EMULATION, NO_END, Result, Setup, run


def built(folder: Path) -> Home:
    """A home with what looks like a machine."""
    found = Home(folder)
    found.machine.mkdir(parents=True)
    (found.machine / "key").write_text(home.key())
    return found


def test_only_this_recipe_s_machine_is_taken(tmp_path: Path) -> None:
    found = Home(tmp_path)
    with pytest.raises(LabError, match=r"is not built: make lab"):
        found.require()
    built(tmp_path).require()
    (found.machine / "key").write_text("another")
    with pytest.raises(LabError, match="was built by another recipe"):
        found.require()


@pytest.mark.parametrize("name", home.MADE_OF)
def test_the_key_changes_with_what_a_machine_is_made_of(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home.key()
    for part in home.MADE_OF:
        copy = tmp_path / part
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((home.HERE / part).read_bytes() + (b"#" if part == name else b""))
    monkeypatch.setattr(home, "HERE", tmp_path)
    assert home.key() != before


def fails(_new: Path, _log: object) -> None:
    raise LabError("debootstrap ended with status 1")


def test_a_build_that_fails_leaves_the_old_machine_and_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("debootstrap", "debootstrap")
    found = built(tmp_path)
    (found.machine / "key").write_text("another")
    monkeypatch.setattr(build, "_make", fails)
    monkeypatch.setattr(build, "need_root", lambda what: None)
    with pytest.raises(LabError, match="the build failed: debootstrap ended with status 1"):
        build.build(found)
    assert (found.machine / "key").read_text() == "another"
    assert not (tmp_path / "new").exists()


def makes(new: Path, _log: object) -> None:
    (new / "key").write_text(home.key())


def test_a_build_takes_the_place_of_an_old_machine_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("debootstrap", "debootstrap")
    found = built(tmp_path)
    (found.machine / "key").write_text("another")
    (found.machine / "old").touch()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "half").touch()  # of a build that was killed
    (tmp_path / "root" / "proc").mkdir(parents=True)  # of a lab before there were recipes
    (tmp_path / "initrd.gz").touch()
    monkeypatch.setattr(build, "_make", makes)
    monkeypatch.setattr(build, "need_root", lambda what: None)
    assert build.build(found)
    assert [file.name for file in found.machine.iterdir()] == ["key"]
    assert {file.name for file in tmp_path.iterdir()} == {"machine", "lock", "build.log"}
    assert not build.build(found)


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/modules/6.0"
    folder.mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/release").write_text("6.0\n")
    (folder / "modules.dep").write_text(
        "k/ext4.ko.xz: k/jbd2.ko.xz k/mb-cache.ko.xz\nk/jbd2.ko.xz:\nk/mb-cache.ko.xz:\n"
    )
    (folder / "modules.builtin").write_text("kernel/virtio_pci.ko\n")
    found = build.modules(tmp_path, ("virtio_pci", "jbd2", "ext4", "mb_cache"))
    assert [file.name for file in found] == ["jbd2.ko.xz", "mb-cache.ko.xz", "ext4.ko.xz"]
    with pytest.raises(LabError, match="no module xfs"):
        build.modules(tmp_path, ("xfs",))


def test_an_image_has_the_folder_s_files(tmp_path: Path) -> None:
    needs("mke2fs", "e2fsprogs")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("contents")
    image.make(tmp_path / "tree", tmp_path / "made.img", 1 << 20)
    command = ["debugfs", "-R", "cat /file", str(tmp_path / "made.img")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == "contents"


@pytest.mark.parametrize("names", [["a", "a"], [""], ["lab-root"], ["x" * 21]])
def test_disks_have_names_that_tell_them_apart(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(LabError, match="is no name for a disk"):
        check_names(tuple(Disk.create(name, tmp_path / "file", 512) for name in names))


def test_a_disk_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is not a file that can be written"):
        check_names((Disk("data", tmp_path / "none"),))


class Guest:
    """In a machine's place: ends as ``results`` say, one boot after the other."""

    results: Sequence[Result] = ()
    limits: Sequence[float] = ()

    def __init__(self, setup: Setup, home: Home | None) -> None:
        pass

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self, limit: float) -> Result:
        Guest.limits = [*Guest.limits, limit]
        return Guest.results[len(Guest.limits) - 1]


OOPS = f"[  285.282953] {EMULATION}: 0000 [#1]"


@pytest.mark.parametrize(
    ("console", "disks", "boots"), [(OOPS, 0, 2), (OOPS, 1, 1), ("[  285.282953] Oops: 0002 [#1]", 0, 1), ("", 0, 1)]
)
def test_only_the_emulation_s_own_fault_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, console: str, disks: int, boots: int
) -> None:
    Guest.results, Guest.limits = [Result(NO_END, "", console), Result(0, "good", "")], []
    monkeypatch.setattr(machine, "Machine", Guest)
    setup = Setup("true", disks=(Disk("data", tmp_path),) * disks)
    assert run(setup, 1000) == Guest.results[boots - 1]
    assert len(Guest.limits) == boots
    assert all(limit <= 1000 for limit in Guest.limits)


def test_the_command_line_s_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DTRACE_LAB", str(tmp_path))
    script = tmp_path / "script"
    script.write_text("true")
    lines = (
        (["run", str(tmp_path / "none")], f"{tmp_path / 'none'}: No such file or directory"),
        (["run", str(script)], f"the machine in {tmp_path} is not built: make lab (or tests/lab/lab build)"),
        (["run", "-m", str(script), str(script)], f"{script} is not a folder"),
        (["run", "--forward", "a:b", str(script)], "--forward a:b: PORT:PORT"),
        (["run", "--disk", "a:b", str(script)], "--disk a:b: FILE or FILE:MIB"),
        (
            ["run", "--disk", str(tmp_path / "no/disk:1"), str(script)],
            f"{tmp_path / 'no/disk'}: No such file or directory",
        ),
    )
    for words, said in lines:
        assert command.main(words) == 1
        assert capsys.readouterr() == ("", f"lab: {said}\n")


def test_the_project_s_image_is_made_once_per_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("mke2fs", "e2fsprogs")
    source = tmp_path / "source"
    (source / "iscsitools").mkdir(parents=True)
    for part in project.PARTS:
        if not (source / part).exists():
            (source / part).write_text(part)
    calls: list[object] = []

    def enter(*words: object, **more: object) -> int:
        calls.append(words)
        return 0

    monkeypatch.setattr(project, "need_root", lambda what: None)
    monkeypatch.setattr(chroot, "enter", enter)
    found = built(tmp_path / "home")
    (tmp_path / "linked").mkdir()
    (source / "iscsitools" / "scripts").symlink_to(tmp_path / "linked")
    first = project.installed(found, source)
    assert project.installed(found, source) == first
    (source / "iscsitools" / "made.so").write_text("built, not source")
    assert project.installed(found, source) == first
    assert len(calls) == 1
    (tmp_path / "linked" / "new.d").write_text("source")
    assert project.installed(found, source) != first
    assert len(calls) == 2


def test_an_installation_that_fails_says_why_and_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = built(tmp_path)
    monkeypatch.setattr(project, "need_root", lambda what: None)
    monkeypatch.setattr(chroot, "enter", lambda *words, log, **more: log.write(b"no such package\n") and 1)
    with pytest.raises(LabError, match="ended with status 1:\nno such package"):
        project.installed(found)
    assert not list(found.installed.iterdir())
