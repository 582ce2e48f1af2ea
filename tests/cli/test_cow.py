"""``iscsitools cow``: overlays looked at and ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iscsitools.backstores.base import Backstore
from iscsitools.backstores.spec import build, parse_spec
from iscsitools.cli.main import run
from iscsitools.plugins import PluginManager

MIB = 1 << 20


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.img"
    path.write_bytes(os.urandom(MIB + 512))
    return path


@contextmanager
def served(base: Path, overlay: Path) -> Iterator[Backstore]:
    manager = PluginManager()
    manager.load()
    store = build(parse_spec(f"file+cow:{base},cow.file={overlay}"), manager.registry)
    store.open()
    yield store
    store.flush()
    store.close()


@pytest.fixture
def changed(base: Path, tmp_path: Path) -> tuple[Path, bytes]:
    """An overlay with changes, and what its disk reads as."""
    content = bytearray(base.read_bytes())
    overlay = tmp_path / "overlay"
    with served(base, overlay) as store:
        store.write(512, memoryview(b"c" * 100 * 1024))
        content[512 : 512 + 100 * 1024] = b"c" * 100 * 1024
        store.discard(524288, 65536)
        content[524288 : 524288 + 65536] = bytes(65536)
        store.write(MIB, memoryview(b"e" * 512))
        content[MIB:] = b"e" * 512
    return overlay, bytes(content)


def disk(base: Path, overlay: Path) -> bytes:
    buffer = bytearray(MIB + 512)
    with served(base, overlay) as store:
        store.read_into(0, memoryview(buffer))
    return bytes(buffer)


def test_info(changed: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    overlay, _ = changed
    assert run(["cow", "info", "--json", str(overlay)]) == 0
    found = json.loads(capsys.readouterr().out)
    held = 26 * 4096 + 65536 + 4096
    assert (found["size"], found["held"], found["unflushed"]) == (MIB + 512, held, False)
    assert run(["cow", "info", str(overlay)]) == 0
    assert f"held       {held / 1024:.4g} KiB, {100 * held / (MIB + 512):.1f} % of it\n" in capsys.readouterr().out


@pytest.mark.parametrize("length", [0, MIB // 2, 2 * MIB])
def test_info_of_one_that_was_cut(changed: tuple[Path, bytes], capsys: pytest.CaptureFixture[str], length: int) -> None:
    """The disk's size is the map's, and that the file has another one is said."""
    overlay, _ = changed
    os.truncate(overlay, length)
    problem = f"{overlay} has {length} bytes, and its map is for {MIB + 512}"
    assert run(["cow", "info", str(overlay)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"disk       1 MiB ({MIB + 512} bytes)\n")
    assert err == f"iscsitools: {problem}\n"
    assert run(["cow", "info", "--json", str(overlay)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["problems"]) == (MIB + 512, [problem])


def test_info_of_one_that_is_served(
    base: Path, changed: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    overlay, _ = changed
    with served(base, overlay) as store:
        store.write(MIB // 4, memoryview(bytes(4096)))
        assert run(["cow", "info", str(overlay)]) == 0
        assert "flushed    not all of it" in capsys.readouterr().out
        for command in (["check", str(overlay)], ["commit", "--yes", str(overlay), str(base)],
                        ["discard", "--yes", str(overlay)]):  # fmt: skip
            assert run(["cow", *command]) == 1
            assert "overlay is in use by another server" in capsys.readouterr().err


def test_commit_makes_the_base_what_the_disk_was(
    base: Path, changed: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    overlay, content = changed
    assert run(["cow", "commit", "--yes", str(overlay), str(base)]) == 0
    assert base.read_bytes() == content
    assert disk(base, overlay) == content
    assert run(["cow", "info", "--json", str(overlay)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["held"] == 0
    assert overlay.stat().st_blocks * 512 <= 16384


def test_a_commit_that_ends_half_way_is_done_again(
    base: Path, changed: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay, content = changed
    from iscsitools.backstores.file import FileBackstore

    flush = FileBackstore.flush

    def fail(self: FileBackstore) -> None:
        if self.path == str(base):
            raise OSError(5, "Input/output error")
        flush(self)

    with monkeypatch.context() as patch:
        patch.setattr(FileBackstore, "flush", fail)
        assert run(["cow", "commit", "--yes", str(overlay), str(base)]) == 1
    assert disk(base, overlay) == content
    assert run(["cow", "commit", "--yes", str(overlay), str(base)]) == 0
    assert base.read_bytes() == content


def test_discard_brings_the_base_back(base: Path, changed: tuple[Path, bytes]) -> None:
    overlay, _ = changed
    before = base.read_bytes()
    assert run(["cow", "discard", "--yes", str(overlay)]) == 0
    assert disk(base, overlay) == before == base.read_bytes()


def test_nothing_is_done_without_a_yes(
    changed: tuple[Path, bytes], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay, content = changed
    monkeypatch.setattr("click.confirm", lambda text, abort: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(["cow", "discard", str(overlay)]) == 130
    assert run(["cow", "commit", str(overlay), str(base)]) == 130
    assert disk(base, overlay) == content


def test_check(changed: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    overlay, _ = changed
    assert run(["cow", "check", str(overlay)]) == 0
    assert "overlay: no error; it holds" in capsys.readouterr().out
    os.truncate(overlay, 50000)
    assert run(["cow", "check", str(overlay)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("overlay has 50000 bytes, and its map is for 1049088")
    assert "ends at byte 50000" in said[1]


@pytest.mark.parametrize("command", [["info"], ["check"], ["discard", "--yes"]])
def test_what_is_no_overlay(base: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run(["cow", *command, str(base)]) == 1
    assert capsys.readouterr().err == (
        f"iscsitools: {base}.map: No such file or directory; {base} is no overlay of the cow filter\n"
    )


def test_a_base_of_another_size_is_left_alone(
    changed: tuple[Path, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(MIB))
    assert run(["cow", "commit", "--yes", str(changed[0]), str(other)]) == 1
    assert "other has 1048576 bytes, and the map is for 1049088" in capsys.readouterr().err
    assert other.read_bytes() == bytes(MIB)


def test_the_manual_page_has_every_option(project: Path) -> None:
    page = (project / "docs" / "man" / "iscsitools-cow.1.md").read_text()
    for word in ("info", "check", "commit", "discard", "`--yes`", "`--json`", "## EXIT STATUS"):
        assert word in page
