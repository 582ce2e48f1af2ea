"""The loads: what each one sends, what it is compared with, and which ratio is aimed at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

CHAP = ("bench", "bench-secret-12")
"""Name and secret where the target asks for them."""


class Setting(Enum):
    """How a target serves its disk for a load; each has target processes of its own."""

    CACHED = "cached"
    """All of the file in the page cache, in single pages."""
    POLLED = "polled"
    """The same; ours with ``busy_poll``."""
    CHAP = "chap"
    """The same; initiators have to prove who they are."""
    COLD = "cold"
    """Nothing of the file in the page cache when the run begins."""
    DIRECT = "direct"
    """Opened with O_DIRECT."""


@dataclass(frozen=True)
class Case:
    """One kind of load.

    ``metric`` is what its ratio is made of: ``cpu_us_per_io`` or ``p50_us``. ``goal`` is that ratio to tgtd's, or to
    the case named ``plain`` against the same target; with ``unit`` ``us`` it is the metric itself, in microseconds.
    Cases of one ``family`` run in the same rounds, so that they can be compared. ``bounds``: which ways of the bound
    are measured beside it, the one that is aimed at first.
    """

    name: str
    family: str
    mode: str
    block: int = 4096
    depth: int = 32
    connections: int = 1
    options: tuple[str, ...] = ()
    segment: int = 262144
    first_burst: int = 262144
    max_burst: int = 262144
    metric: str = "cpu_us_per_io"
    setting: Setting = Setting.CACHED
    plain: str = ""
    goal: float | None = None
    unit: str = "ratio"
    bounds: tuple[str, ...] = ("bound",)

    @property
    def least_seconds(self) -> float:
        """The shortest run that says something: each of a thousand connections has to have its turns."""
        return 1.0 if self.connections > 100 else 0.0

    @property
    def reference(self) -> str:
        """What its ratio is to: a target's name, or ``plain``."""
        return "plain" if self.plain else "tgtd"


def size_text(size: int) -> str:
    """4096 as 4K."""
    return f"{size >> 20}M" if size >> 20 else f"{size >> 10}K"


def _depth(size: int) -> int:
    """Commands under way: 32 of the small ones, fewer of those whose bytes fill the sockets."""
    return 32 if size <= 16384 else 16 if size <= 65536 else 8


SIZES = tuple(1 << shift for shift in range(12, 21))
READ_GOALS = {4096: 0.19, 262144: 0.45}
WRITE_GOALS = {4096: 0.19, 8192: 0.35, 16384: 0.40, 32768: 0.50, 65536: 0.70, 262144: 0.9}
BOTH_WAYS = ("bound", "bound-mapped")


def sizes() -> Iterable[Case]:
    """Reads and writes from 4 KiB to 1 MiB: random ones to 64 KiB, sequential ones above."""
    for size in SIZES:
        kind = "rand" if size <= 65536 else "seq"
        name, depth = size_text(size), _depth(size)
        family = f"{name}"
        yield Case(
            f"{name} read QD{depth}", family, f"{kind}read", size, depth, goal=READ_GOALS.get(size), bounds=BOTH_WAYS
        )
        yield Case(f"{name} write QD{depth}", family, f"{kind}write", size, depth, goal=WRITE_GOALS.get(size))


def ways_of_writing() -> Iterable[Case]:
    """Data that does not come with its command."""
    unsolicited = ("-I",)
    yield Case("4K write, no immediate data", "ways of writing", "randwrite", options=unsolicited, goal=0.5)
    yield Case("4K write, R2T", "ways of writing", "randwrite", options=("-I", "-R"), goal=0.7)
    yield Case("256K write, FirstBurst 64K", "ways of writing", "seqwrite", 262144, 8, first_burst=65536, goal=1.0)
    yield Case("4K mixed, 70% reads QD32", "ways of writing", "rw:70")


def segments() -> Iterable[Case]:
    """Reads whose data comes in several Data-In PDUs, beside the same bytes in one."""
    for size, segment, depth in ((65536, 8192, 16), (524288, 262144, 8), (1 << 20, 262144, 8)):
        name, family = size_text(size), f"{size_text(size)} in several PDUs"
        whole = f"{name} read, one PDU"
        kind = "randread" if size <= 65536 else "seqread"
        yield Case(whole, family, kind, size, depth, segment=size, max_burst=1 << 20)
        yield Case(
            f"{name} read, MaxRecvDataSegmentLength {size_text(segment)}", family, kind, size, depth,
            segment=segment, max_burst=1 << 20, plain=whole, goal=1.2,
        )  # fmt: skip


READ_FORMS = ("dpo", "fua", "ordered", "head", "cdb6", "cdb12", "cdb16", "unaligned")
WRITE_FORMS = tuple(form for form in READ_FORMS if form != "fua")  # a forced write waits for the disk, not for us
FORM_NAMES = {"dpo": "DPO", "fua": "FUA", "ordered": "ORDERED", "head": "HEAD OF QUEUE", "unaligned": "unaligned"}


def forms() -> Iterable[Case]:
    """The same read or write in every form that its command has."""
    for kind, names in (("read", READ_FORMS), ("write", WRITE_FORMS)):
        plain = f"4K {kind}, plain form"
        yield Case(plain, f"forms of {kind}", f"rand{kind}")
        for form in names:
            said = FORM_NAMES.get(form) or f"{kind.upper()}({form[3:]})"
            yield Case(
                f"4K {kind}, {said}", f"forms of {kind}", f"rand{kind}",
                options=("-f", form), plain=plain, goal=1.05, bounds=(),
            )  # fmt: skip


def disk() -> Iterable[Case]:
    """What is not answered out of the page cache."""
    ring = ("bound-ring",)
    for kind in ("read", "write"):
        yield Case(f"4K {kind} O_DIRECT QD32", "O_DIRECT", f"rand{kind}", setting=Setting.DIRECT, goal=0.5, bounds=ring)
    yield Case(
        "4K read O_DIRECT QD1", "O_DIRECT QD1", "randread", depth=1, setting=Setting.DIRECT,
        metric="p50_us", goal=1.1, bounds=ring,
    )  # fmt: skip
    yield Case("4K read cold QD32", "cold", "randread", setting=Setting.COLD, goal=0.6, bounds=ring)


def latency() -> Iterable[Case]:
    """One command at a time."""
    for kind in ("read", "write"):
        yield Case(f"4K {kind} QD1", "QD1", f"rand{kind}", depth=1, metric="p50_us", goal=0.9)
    yield Case(
        "4K read QD1, busy_poll", "busy_poll", "randread", depth=1, metric="p50_us", goal=0.65, setting=Setting.POLLED
    )


def connections() -> Iterable[Case]:
    """Many sessions at once."""
    yield Case("4K read 10x QD4", "connections", "randread", depth=4, connections=10, goal=0.33)
    yield Case("4K read 1000x QD1", "connections", "randread", depth=1, connections=1000, goal=0.30)


def digests() -> Iterable[Case]:
    """Header and data digests, beside none."""
    for kind in ("read", "write"):
        plain = f"4K {kind}, no digests"
        yield Case(plain, f"digests of {kind}", f"rand{kind}")
        yield Case(
            f"4K {kind}, both digests", f"digests of {kind}", f"rand{kind}",
            options=("-D",), plain=plain, goal=1.4, bounds=(),
        )  # fmt: skip


def logins() -> Iterable[Case]:
    """Connect, log in, log out, close; CPU of all of it."""
    yield Case("login", "login", "login", depth=1, goal=200, unit="us")
    yield Case(
        "login, CHAP", "login with CHAP", "login", depth=1, setting=Setting.CHAP,
        options=("-C", ":".join(CHAP)), goal=300, unit="us", bounds=(),
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *sizes(), *ways_of_writing(), *segments(), *forms(), *latency(), *connections(), *digests(), *logins(), *disk(),
)  # fmt: skip


def wanted_cases(text: str) -> list[Case]:
    """Cases by names or parts of names, separated by semicolons, and those that they are compared with; "": all.

    A part that is a whole name means that case only. Raises ValueError for a part that is in no name.
    """
    chosen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(";"))):
        exact = [case for case in CASES if case.name == part]
        found = exact or [case for case in CASES if part in case.name or part == case.family]
        if not found:
            raise ValueError(f"no load has {part!r} in its name; --list shows them")
        chosen |= {case.name for case in found} | {case.plain for case in found}
    return [case for case in CASES if not chosen or case.name in chosen]


def families(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases in groups that run together: same family, same setting."""
    groups: dict[tuple[str, Setting], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.family, case.setting), []).append(case)
    order = list(Setting)
    return sorted(groups.values(), key=lambda group: order.index(group[0].setting))
