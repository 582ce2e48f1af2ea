"""EXTENDED COPY as libiscsi's own tool asks for it: fifty at once, all of one list identifier."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.target import start_target
from support.tools import missing, needs

HERE = Path(__file__).resolve().parent
IQN = "iqn.2026-11.example:xcopy"
SIZE = 24 << 20


@pytest.fixture(scope="module")
def xcopy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, built with the library of Debian's libiscsi-dev."""
    compiler = needs("cc", "gcc")
    program = tmp_path_factory.mktemp("xcopy") / "xcopy"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-o", str(program), str(HERE / "xcopy.c"), "-liscsi"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        missing(f"libiscsi's library is not there (Debian package libiscsi-dev): {built.stderr.splitlines()[0]}")
    return str(program)


@pytest.mark.parametrize("data_path", ["auto", "python"])
@pytest.mark.parametrize(("blocks", "at_once"), [(200, 50), (2048, 1)])
def test_a_disk_is_copied(tmp_path: Path, xcopy: str, data_path: str, blocks: int, at_once: int) -> None:
    content = os.urandom(SIZE)
    (tmp_path / "a").write_bytes(content)
    luns = ["--lun", f"file:{tmp_path}/a", "--lun", f"file:{tmp_path}/b,size={SIZE}"]
    with start_target(tmp_path, "--iqn", IQN, "--data-path", data_path, *luns) as target:
        urls = [f"iscsi://{target.portal}/{IQN}/{lun}" for lun in (0, 1)]
        words = [xcopy, *urls, str(blocks), str(at_once)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{SIZE // 512} blocks\n", "")
    assert (tmp_path / "b").read_bytes() == content
