"""What is wrong with a store is found without opening or making it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.config import Config

Load = Callable[[str], tuple[Config, tuple[str, ...]]]
Problems = Callable[[str], tuple[str, ...]]

LUN = '[[target]]\niqn = "iqn.2026-11.example:a"\n[[target.lun]]\n'


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ('"ram"', [": 'ram': a backstore is written KIND:WHAT"]),
        ('"rma:1M"', [": unknown backstore 'rma'; did you mean 'ram'?"]),
        ('"ram:1000"', [".what: the size 1000 is no multiple of the block size 512"]),
        ('"ram:1M,sice=3"', [".sice: ram has no option 'sice'"]),
        ('"ram+dely:1M"', [".filters[0]: unknown filter 'dely'; did you mean 'delay'?"]),
        ('"ram+delay:1M,delay.read=x"', [".filters[0].read: delay: delay.read: 'x' is no dur"]),
        ('"file:absent.img"', [".what: absent.img does not exist; add size=SIZE to make it"]),
        ('"file:no/disk.img,size=1M"', [".what: the directory no does not exist"]),
        ('"file:.,size=1M"', [".what: . is a directory"]),
        ('"file:a.img,size=1000"', [".size: the size 1000 is no multiple of the block size 512"]),
        (r'"file:a\u0000b"', [".what: a path cannot contain a null character"]),
        ('"file:"', [": file: a path has to follow the colon"]),
        ("{ what = 1 }", [".what: a text was expected, not a whole number"]),
        ('{ what = "1M" }', [": the key 'kind' is missing"]),
        ('{ kind = "ram", what = "1M", x = [] }', [".x: an option's value cannot be an array"]),
        ('{ kind = "ram", filters = "cow" }', [".filters: an array was expected, not a text"]),
        ('{ kind = "ram", filters = [1] }', [".filters[0]: a filter is its name"]),
        ('{ kind = "ram", what = "1M", block_size = 4096, thin = true }', [
            ".block_size: this is a key of the LUN: it stands beside store, not in it",
            ".thin: this is a key of the LUN: it stands beside store, not in it",
        ]),
        ('{ kind = "file", what = "x", size = "1Q", y = 1 }', [
            ".size: file: size: '1Q' is no size",
            ".y: file has no option 'y'",
        ]),
    ],
)  # fmt: skip
def test_problems_of_stores(problems: Problems, store: str, expected: list[str]) -> None:
    found = problems(LUN + f"store = {store}\n")
    assert len(found) == len(expected), found
    for line, begin in zip(found, expected, strict=True):
        assert line.startswith(f"4: target[0].lun[0].store{begin}")


@pytest.mark.parametrize("options", ["", ",size=1M"])
def test_what_is_in_the_way_of_a_file_is_said_as_it_is(problems: Problems, tmp_path: Path, options: str) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").write_bytes(b"")
    for name, reason in (
        ("dangling", f" is a symbolic link to {tmp_path}/gone, which does not exist"),
        ("circle", ": its symbolic links go round in a circle"),
        ("file/disk.img", ": Not a directory"),
    ):
        (line,) = problems(LUN + f'store = "file:{tmp_path}/{name}{options}"\n')
        assert line.endswith(f".what: {tmp_path}/{name}{reason}")


def test_a_file_that_is_there_is_not_touched(load: Load, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"x" * 512)
    load(LUN + 'store = "file:disk.img"\n')
    load(LUN + 'store = "file:new.img,size=1M"\n')
    assert (tmp_path / "disk.img").read_bytes() == b"x" * 512
    assert not (tmp_path / "new.img").exists()
