"""The two data paths compared once more, the one in C built under sanitizers; and data threads."""

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
from array import array
from iscsitools.datapath import _native
from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo

def refused(call, *arguments):
    try:
        call(*arguments)
    except (TypeError, ValueError, OverflowError, RuntimeError, AttributeError, BufferError, OSError):
        return
    sys.exit(f"{call} takes {arguments}")

path = _native.DataPath(bytearray(262144), ConnectionInfo(1), Probes(lambda: 0))
refused(path.consume, 0, 48, 1)
class Chunk:
    data = bytearray(9 << 17)
    view = memoryview(data)
class Small:
    data = bytearray(100)
    view = memoryview(data)
for chunk in (Small, 1, object()):
    refused(setattr, path, "chunk", chunk)
path.chunk = Chunk
for arguments in ((-1, 48, 1), (48, 0, 1), (0, 262145, 1), (0,), (0, 1, "x")):
    refused(path.consume, *arguments)
assert path.turn(99, Chunk, 0, 1, 1) is False
path.chunk = None
for arguments in ((99, Chunk, 0, 1, 1), (-1, Chunk, 0, 1, 1), (0, Small, 0, 1, 1), (0, Chunk, 262145, 1, 1), (0,)):
    refused(path.turn, *arguments)
assert path.chunk is None
path.chunk = Chunk
path.tail = (9 << 17) + 1
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
words = array('q', [0, 64, 0, 0, 0, 0, 0, 0])
refused(_native.Gate, 0, object(), -1, 1, words)
refused(_native.Gate, 0, object(), 512, 1, words[:2])
refused(_native.Gate, 0)
class Store:
    def __init__(self, offer): self.offer = offer
    def shortcut(self): return self.offer
for offer in ((), ("file", bytearray(8), None, None), ("ram", bytearray(8), [], None), ("file", b"", 1, 2), 7):
    refused(_native.Gate, 0, Store(offer), 512, 8, words)
for tag in (-1, 1 << 32, "x"):
    refused(path.tags.add, tag)
numbers = [n * 2654435761 & 0xFFFFFFFF for n in range(3000)]
for n in numbers: path.tags.add(n)
for n in numbers[::2]: path.tags.discard(n)
assert [n in path.tags for n in numbers] == [False, True] * 1500 and len(path.tags) == 1500

from iscsitools.trace.sums.native import _OPERATIONS as operations
conn, nothing = ConnectionInfo(1), lambda *a: None
for marks in (path.marks,):
    for n in range(200): marks.append((n, 1, 2, 3, 4, 5))
    assert marks.popleft() == (0, 1, 2, 3, 4, 5) and len(marks) == 199 and marks[198][0] == 199
    refused(marks.append, (1, 2)); refused(marks.append, 5)
    marks.clear()
    for call in (marks.popleft, lambda: marks[0]):
        try: call()
        except IndexError: pass
        else: sys.exit("a mark that is none")
whole = bytearray(128)
for memory, offset in ((bytearray(128 * 3), 0), (whole, 1), (whole, -1), (bytes(128), 0), (bytearray(), 0)):
    refused(_native.RingTracer, memory, offset, nothing, nothing, nothing, None, None)
for kept in (((9, 0),), ((0, 9),), 5, ((0, 0),) * 17, (5,)):
    refused(_native.SumsTracer, operations, kept, nothing, nothing, nothing, None, None, None)
refused(_native.SumsTracer, b"", (), nothing, nothing, nothing, None, None, None)
refused(_native.ProviderTracer, object(), nothing)
refused(_native.Tracers, None, ((1, object()),))
refused(_native.Tracers, None, 5)
failures, grants = [], iter([256, 10, 1 << 60])
def ring(grant, introduce=lambda conn: True):
    return _native.RingTracer(bytearray(128 * 512), 0, introduce, grant, failures.append, None, None)
one = ring(lambda written: next(grants))
for n in range(300): one.pdu(6, conn, n, bytes(48), 0, bytes(40))
assert one.written == 256 and len(failures) == 1
for grant in (lambda written: 1 << 60, lambda written: "x", lambda written: 1 / 0):
    ring(grant).pdu(6, conn, 0, bytes(48))
ring(nothing, lambda conn: 1 / 0).pdu(6, conn, 0, bytes(48))
gone = ring(lambda written: 256)
gone.release(); gone.pdu(6, conn, 0, bytes(48)); gone.release()
kept, admit = ((0, 0), (1, 1), (2, 0), (3, 0)), lambda conn: True
for places in (5, (1,), (1, "x"), (1, 1 << 20)):
    lost = _native.SumsTracer(operations, kept, admit, nothing, failures.append, None, None, lambda *who: places)
    lost.pdu(6, conn, 0, bytes(48), 0, bytes(10))
    assert failures.pop() and lost.busy(3, False) == [0, 0, 0]
refused(lost.busy, -1); refused(lost.busy, 1 << 20); refused(lost.busy, "x")
def join(conn, lun): return lun, 100 * conn.ident + lun
sums = _native.SumsTracer(operations, kept, admit, nothing, failures.append, None, None, join)
whole = _native.Tracers(None, ((0xFFFFF, sums), (0xFFFFF, ring(lambda written: written + 256))))
import random, struct
rng = random.Random(1)
for n in range(20000):
    conn = ConnectionInfo(rng.randrange(1, 20), generation=rng.randrange(3))
    header = bytes([rng.choice((1, 0x21, 0x25)), rng.choice((0xC0, 0xA0, 0x81, 0x80)), 0, rng.choice((0, 0, 2))])
    header += rng.randbytes(4) + bytes(8) + struct.pack(">I", rng.randrange(300)) + rng.randbytes(28)
    cdb = rng.choice((b"", header[32:42], header[32:48], rng.randbytes(rng.randrange(1, 60))))
    whole.pdu(rng.choice((6, 6, 7, 8, 9, 11, 12, 3)), conn, rng.randrange(9), header, 0, cdb)
    if n % 501 == 0:
        sums.read(False); sums.close(rng.randrange(1, 20)); sums.under_way()
        sums.busy(3000, n % 2); sums.forget(rng.randrange(1, 20), 5)
        sums.forget_all(rng.randrange(1, 20), None); sums.forget_all(3, 4)
    if n % 5001 == 0: sums.read(True)
assert whole.pdu(99, conn, 0, bytes(48)) is None and sums.read(False) and len(failures) == 7, failures
del whole, sums
import gc; gc.collect()
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


def test_turns(project: Path, module: Sanitized) -> None:
    """Two sessions at random, over sockets that the data path receives from and sends to."""
    words = ("-q", "-p", "no:cacheprovider", "tests/engine/test_soak.py", "-k", "turns")
    done = module.run("import pytest\nsys.exit(pytest.main(sys.argv[1:]))", *words, cwd=project)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_what_makes_no_sense_is_refused(project: Path, module: Sanitized) -> None:
    done = module.run(MISUSE, cwd=project)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    assert b"__asan_report" in module.module.read_bytes()


THREADS = """
import pytest
sys.exit(pytest.main(["-q", "-x", "-s", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_data_threads_race_for_nothing(project: Path, tmp_path: Path) -> None:
    needs_data_path()
    module = sanitized.build("iscsitools.datapath._native", project, tmp_path, threads=True)
    names = ("test_threads.py", "test_threads_apart.py", "test_threads_data_out.py", "test_threads_segments.py",
             "test_threads_trace.py", "test_threads_flights.py", "test_threads_flights_served.py")  # fmt: skip
    tests = [str(Path(__file__).with_name(name)) for name in names]
    done = module.run(THREADS, *tests, cwd=project)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    assert " passed" in done.stdout
    assert b"__tsan_atomic64" in module.module.read_bytes()


def test_what_waits_for_the_disk(project: Path, module: Sanitized) -> None:
    """The tests of the ring, its commands, plugins in C, threads that fire, long data and the page cache, again."""
    names = ["datapath/test_flights.py", "datapath/test_long_flights.py", "datapath/test_carrier.py"]
    names += ["datapath/test_threads_trace.py", "datapath/test_threads_flights.py"]
    names += ["datapath/test_segments.py", "datapath/test_file_writes.py"]
    words = ("-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in (*names, "backstores/test_file_ring.py")))
    done = module.run("import pytest\nsys.exit(pytest.main(sys.argv[1:]))", *words, "-k", "not without", cwd=project)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
