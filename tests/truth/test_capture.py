"""A capture that cannot be made leaves nothing behind; a socket would fail a later test, wherever it is collected."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from .capture import Capture


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files in /proc")
@pytest.mark.parametrize("there", [(), ("tshark",), ("tshark", "dumpcap")])
def test_a_capture_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]) -> None:
    """No tshark; no dumpcap; a dumpcap that may not capture."""
    monkeypatch.delenv("ISCSITOOLS_REQUIRE_TOOLS", raising=False)
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\necho no permission >&2\nexit 2\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("support.tools.PLACES", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    before = open_files()
    with pytest.raises(pytest.skip.Exception, match=r"tshark|dumpcap"), Capture(tmp_path / "packets", 3260):
        pass
    gc.collect()
    assert open_files() == before
