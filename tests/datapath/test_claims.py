"""Who moves bytes at the same time excludes those that overlap, whatever else each of them has claimed."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.tools import needs

HERE = Path(__file__).parent
DATAPATH = HERE.parent.parent / "datapath"
STORE, OTHER = 0x1000, 0x2000
PIECE = 4096
MOST = 7
A_MOMENT = 0.01
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="data threads need epoll")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    file = tmp_path_factory.mktemp("claims") / "claims.so"
    headers = [f"-I{DATAPATH}", f"-I{sysconfig.get_path('include')}", "-DPy_LIMITED_API=0x030b0000"]
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-shared", "-fPIC", "-pthread"]
    sources = [str(HERE / "claims.c"), str(DATAPATH / "users.c")]
    subprocess.run([needs("gcc", "gcc"), *flags, *headers, *sources, "-o", str(file)], check=True)
    return ctypes.CDLL(str(file))


@pytest.fixture
def claims(built: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    built.begin()
    yield built
    for number in range(3):
        built.release(number)
    built.end()


def claim(library: ctypes.CDLL, number: int, pieces: Sequence[int], changes: bool = True, store: int = STORE) -> None:
    ends = [edge for piece in pieces for edge in (piece * PIECE, piece * PIECE + PIECE)]
    ranges = (ctypes.c_uint64 * len(ends))(*ends)
    library.claim(number, ctypes.c_size_t(store), ranges, len(pieces), changes)


class Later(threading.Thread):
    """Claims in a thread of its own."""

    def __init__(self, library: ctypes.CDLL, number: int, pieces: Sequence[int], changes: bool = True) -> None:
        super().__init__(target=claim, args=(library, number, pieces, changes))
        self.start()

    def waits(self) -> bool:
        """Whether it has not got it after a moment."""
        self.join(A_MOMENT)
        return self.is_alive()


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1), (0, 2), (1, 0)])
def test_each_range_is_excluded_wherever_it_stands(claims: ctypes.CDLL, first: int, second: int) -> None:
    for here, there in itertools.product((0, 3, MOST - 1), repeat=2):
        mine, others = list(range(MOST)), list(range(100, 100 + MOST))
        others[there] = mine[here]
        claim(claims, first, mine)
        later = Later(claims, second, others)
        assert later.waits(), (here, there)
        claims.release(first)
        later.join()
        claims.release(second)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_reads_and_writes_wait_for_each_other(claims: ctypes.CDLL, first: bool, second: bool) -> None:
    for _ in range(3):
        claim(claims, 1, [5], changes=first)
        later = Later(claims, 2, [4, 5], changes=second)
        assert later.waits()
        claims.release(1)
        later.join()
        claims.release(2)


def test_what_does_not_overlap_waits_for_nobody(claims: ctypes.CDLL) -> None:
    claim(claims, 1, [0, 2, 4])
    claim(claims, 2, [1, 3, 5])  # neighbours
    claim(claims, 0, [0, 2, 4], store=OTHER)
    claim(claims, 1, [7], changes=False)  # instead of what it had
    claim(claims, 2, [0, 2, 4, 7], changes=False)  # both read


def test_masks_that_were_emptied_hide_nobody(claims: ctypes.CDLL) -> None:
    """A user's masks are emptied now and then; whatever it claims just then is seen."""
    for _ in range(5000):
        claim(claims, 1, [0])
        claims.release(1)
        claim(claims, 2, [0], changes=False)
        claims.release(2)
    for count in range(1, 4100):
        claim(claims, 1, [0], changes=False)
        claims.release(1)
        if count % 256 == 0:
            claim(claims, 1, [0])
            later = Later(claims, 2, [0], changes=False)
            assert later.waits()
            claims.release(1)
            later.join()
            claims.release(2)
