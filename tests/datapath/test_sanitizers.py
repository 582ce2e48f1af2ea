"""The two data paths compared once more, the one in C built under the address and undefined behaviour sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import sanitized
from support.native import needs_data_path
from support.sanitized import Sanitized

COMPARE = """
import runpy
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MISUSE = """
from iscsitools.datapath import _native
from iscsitools.probes.firing import ConnectionInfo, Probes

def refused(call, *arguments):
    try:
        call(*arguments)
    except (TypeError, ValueError, OverflowError, RuntimeError, AttributeError, BufferError):
        return
    sys.exit(f"{call} takes {arguments}")

path = _native.DataPath(bytearray(262144), ConnectionInfo(1), Probes(lambda: 0))
refused(path.consume, 0, 48, 1)
class Chunk:
    data = bytearray(1 << 20)
    view = memoryview(data)
class Small:
    data = bytearray(100)
    view = memoryview(data)
for chunk in (Small, 1, object()):
    refused(setattr, path, "chunk", chunk)
path.chunk = Chunk
for arguments in ((-1, 48, 1), (48, 0, 1), (0, 262145, 1), (0,), (0, 1, "x")):
    refused(path.consume, *arguments)
path.tail = (1 << 20) + 1
refused(path.consume, 0, 48, 1)
refused(path.write_in_place, bytes(48), memoryview(bytes(512)), 0)
path.tail = 0
refused(path.write_in_place, bytes(47), memoryview(bytes(512)), 0)
refused(path.header_intact, 262144, 0)
refused(path.header_intact, 262100, 48)
refused(path.open_gate, 0, object())
for name, value in (("exp_cmdsn", 1 << 32), ("statsn", -1), ("tail", 1 << 64), ("window", None)):
    refused(setattr, path, name, value)
    refused(delattr, path, name)
refused(_native.DataPath)
refused(_native.DataPath, b"", None, None)
refused(_native.Gate, 0, object(), -1, 1)
refused(_native.Gate, 0)
class Store:
    def __init__(self, offer): self.offer = offer
    def shortcut(self): return self.offer
for offer in ((), ("file", bytearray(8), None, None), ("ram", bytearray(8), [], None), ("file", b"", 1, 2), 7):
    refused(_native.Gate, 0, Store(offer), 512, 8)
for tag in (-1, 1 << 32, "x"):
    refused(path.tags.add, tag)
numbers = [n * 2654435761 & 0xFFFFFFFF for n in range(3000)]
for n in numbers: path.tags.add(n)
for n in numbers[::2]: path.tags.discard(n)
assert [n in path.tags for n in numbers] == [False, True] * 1500 and len(path.tags) == 1500
"""


@pytest.fixture(scope="module")
def module(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Sanitized:
    needs_data_path()
    return sanitized.build("iscsitools.datapath._native", project, tmp_path_factory.mktemp("sanitized"))


def test_no_difference(project: Path, module: Sanitized) -> None:
    compare = str(Path(__file__).with_name("differential.py"))
    done = module.run(COMPARE, compare, "--seconds", "15", cwd=project)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    assert "no difference" in done.stdout


def test_what_makes_no_sense_is_refused(project: Path, module: Sanitized) -> None:
    done = module.run(MISUSE, cwd=project)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    assert b"__asan_report" in module.module.read_bytes()
