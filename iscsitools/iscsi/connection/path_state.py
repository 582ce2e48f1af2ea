"""What a data path keeps of its connection, and what framing, session and requests tell it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final, Literal

from iscsitools.backstores.base import Request
from iscsitools.iscsi.connection.memory import CHUNK_SIZE, Buffers, Chunk, address_of
from iscsitools.iscsi.connection.stops import NOT_HERE, Segment, Transfer, Turn
from iscsitools.probes.firing import FIRED_NOTHING, Probes
from iscsitools.probes.subscribers import ConnectionInfo, Mark
from iscsitools.scsi.core.gate import Gate
from iscsitools.wire.rfc7143 import (
    ATTRIBUTE,
    BHS_LENGTH,
    FORM,
    HEAD_OF_QUEUE,
    READ_COMMAND,
    SERIAL_MASK,
    WRITE_COMMAND,
)

LARGEST_READ: Final = 1 << 20
"""Bytes of the largest READ that is answered here."""
_MOST_FORMS: Final = 512
"""Forms that are remembered; one more takes the place of the oldest, so that no mixture of loads loses them all."""
Form = tuple[bool, int, int, Gate | None]
"""Of commands with one form: whether they write, their data segment, the most bytes to serve at once, and the gate."""


class PathState:
    """The hot state of one connection. Not thread-safe.

    ``receive``: the buffer that positions are in. It knows no session, request or connection object: they write what
    changes into its attributes.
    """

    __slots__ = (
        "_forms", "_gates", "_largest_in_parts", "_largest_read", "_largest_write", "_max_burst", "_max_send",
        "_receive_address", "alone", "chunk", "chunk_begin", "commands", "data_digest", "exp_cmdsn", "fired",
        "header_digest", "in_order", "info", "marks", "now", "probes", "read_bytes", "receive", "receive_view", "sent",
        "statsn", "tags", "tail", "ttt", "window", "written_bytes",
    )  # fmt: skip

    def __init__(self, receive: bytearray, info: ConnectionInfo, probes: Probes) -> None:
        self.receive = receive
        self.receive_view = memoryview(receive)
        self._receive_address = address_of(receive)
        self.info = info
        self.probes = probes
        # The command window (RFC 7143 4.2.2.1).
        self.exp_cmdsn = 0
        self.window = 1
        self.statsn = 0
        self.in_order = True
        """No request is held for its turn: else even the one that is next may not overtake what is held behind it."""
        self.tags: set[int] = set()
        """ITTs of the tasks off this path; a command that uses one of them again goes the other way."""
        # What may be served, and how.
        self._gates: dict[int, Gate] = {}
        self._forms: dict[bytes, Form] = {}
        self._largest_read = self._largest_in_parts = self._largest_write = 0
        self._max_send = self._max_burst = 0
        self.header_digest = False
        self.data_digest = False
        # Output: the open chunk, and where in all that is ever sent its first byte would stand.
        self.chunk: Chunk | None = None
        self.tail = 0
        self.chunk_begin = 0
        self.sent = 0
        """Bytes of all that was put, which the socket took."""
        self.marks: deque[Mark] = deque()
        # Counters, for the list of sessions.
        self.commands = 0
        self.read_bytes = 0
        """Data that commands have read; :attr:`written_bytes`: written."""
        self.written_bytes = 0
        self.ttt = 0
        """The last Target Transfer Tag that was given."""
        self.now = 0
        """When this turn began, in monotonic nanoseconds."""
        self.alone = False
        """Its last turn has left nothing, and nobody else has done anything that a turn has to ask for."""
        self.fired = FIRED_NOTHING
        """What has fired of the PDU at which :meth:`consume` stopped with OTHER; whoever takes that resets it."""

    # -- what framing, session and requests tell

    @property
    def max_cmdsn(self) -> int:
        """MaxCmdSN: the last CmdSN that is taken. It moves with ExpCmdSN, so the window never shrinks."""
        return (self.exp_cmdsn + self.window - 1) & SERIAL_MASK

    def next_statsn(self) -> int:
        """The StatSN of a response that is being made; the next one gets the next."""
        number = self.statsn
        self.statsn = (number + 1) & SERIAL_MASK
        return number

    def advance(self) -> None:
        """A request that was next has been taken, not by this path."""
        self.exp_cmdsn = (self.exp_cmdsn + 1) & SERIAL_MASK

    def continue_numbers(self, other: PathState) -> None:
        """Go on with a session whose connection ``other`` served (RFC 7143 6.3.4)."""
        self.exp_cmdsn = other.exp_cmdsn
        self.commands = other.commands

    def agree(
        self, max_send: int, max_burst: int, immediate: int, first_burst: int = 0, initial_r2t: bool = True,
        outstanding: int = 0,
    ) -> None:  # fmt: skip
        """What login or a Text negotiation agreed on, in bytes; ``immediate``: of immediate data, 0 for none.

        ``first_burst``, ``initial_r2t`` and ``outstanding`` (MaxOutstandingR2T) are for a path that takes data-out.
        """
        self._largest_read = self._largest_in_parts = min(max_send, max_burst, LARGEST_READ)
        if self._largest_read and not (self.header_digest or self.data_digest or max_send & 3 or max_burst & 3):
            headers = (LARGEST_READ // max_send + LARGEST_READ // max_burst + 3) * BHS_LENGTH
            self._largest_in_parts = LARGEST_READ if headers <= CHUNK_SIZE - LARGEST_READ else LARGEST_READ // 2
        self._max_send, self._max_burst = max_send, max_burst
        self._largest_write = immediate
        self._forms.clear()

    def open_gate(self, lun: int, gate: Gate) -> None:
        """Serve commands to ``lun``, the 8-byte field, by ``gate`` from now on."""
        if self._gates.get(lun) is not gate:
            self._gates[lun] = gate
            self._forms.clear()

    # -- turns: only the twin in C takes any by itself

    turns: ClassVar[bool] = False
    """Whether :meth:`turn` may be called."""

    def turn(self, fd: int, chunk: Chunk, fill: int, budget: int, now: int) -> Turn | Literal[False] | None:
        """Receive behind ``fill`` bytes of input, serve, and send, by the descriptor of a socket that does not block.

        ``chunk``: one that may be used; there must be no open one, and nothing that waits to be sent: else False, and
        nothing was done. None: all was served and sent. Raises OSError where receiving fails.
        """
        raise NotImplementedError  # see turns

    def events(
        self, fd: int, buffers: Buffers, budget: int, on_event: Callable[[int], None],
        left: Callable[[Turn | BaseException, int], None],
    ) -> Callable[[int], None] | None:  # fmt: skip
        """What takes the events of a socket in place of ``on_event``; None: the path has nothing like that.

        While the path is :attr:`alone`, an event that there is something to read is a turn, with ``buffers``' chunk. If
        that leaves anything, or raises, ``left`` is called with it and the time. Else ``on_event`` is.
        """
        return None

    segment_by: ClassVar[int] = 0
    """By when the long data segment has to be there that turns receive in its place; 0: there is none."""

    def take_segment(self) -> Segment | None:
        """All that is known of that segment, which leaves this path; None when there is none."""
        return None

    # -- commands that wait for data: in Python each of them is a task

    heard: ClassVar[int] = 0
    """When a data thread last received something of this connection, in monotonic nanoseconds; none ever has it."""
    transfers: ClassVar[int] = 0
    """How many WRITEs this path has begun that wait for data."""
    waiting: ClassVar[int] = 0
    """The same at the end of its last batch: what may be looked at while a data thread has it."""
    awaited: ClassVar[int] = 0
    """Bytes that they want, all together."""
    waiting_since: ClassVar[int] = 0
    """When the first of them began to wait, in monotonic nanoseconds; while a data thread has them, at the latest."""

    def lend_by(
        self, reserve: Callable[[int], bool], release: Callable[[int], None], take: Callable[[int], bytearray],
        give: Callable[[bytearray], None],
    ) -> None:  # fmt: skip
        """How the memory of such commands is held: in the account, and in buffers."""

    def pending(self) -> list[tuple[int, int]]:
        """Tag and unit number of each."""
        return []

    def place_for(self, itt: int, ttt: int, offset: int, length: int) -> memoryview | None:
        """Where ``length`` bytes of a Data-Out belong; None when its command is not here."""
        return None

    def data_in_place(self, bhs: bytes, data: memoryview, address: int) -> int:
        """Take a Data-Out whose data was received in :meth:`place_for`; NOT_HERE: it has to go the other way."""
        return NOT_HERE

    def take_over(self, itt: int) -> Transfer | None:
        """All that is known of the command with that tag, which leaves this path; None when it is not here."""
        return None

    # -- commands that wait for the disk: only the twin in C begins any

    flights: ClassVar[int] = 0
    """How many READs and WRITEs this path has in the disk."""

    def land_by(self, make_room: Callable[[int], None], landed: Callable[[int | None, int], None]) -> None:
        """How their answers come into the output. ``make_room``: sees to so many free bytes in the open chunk.

        ``landed`` is called on the loop when there are answers (None), or when the command of that tag has none: it is
        to be taken by :meth:`take_flight`.
        """

    def flying(self) -> list[tuple[int, int]]:
        """Tag and unit number of each."""
        return []

    def take_flight(
        self, itt: int, take: Callable[[bytes, bytes | None, bool, int], tuple[Request, memoryview | None] | None]
    ) -> bool:
        """Have another told how the command with that tag ends, in place of this path; whether it was here.

        ``take`` gets its header, the data that it writes (None: it reads), whether durably, and the R2Ts that asked
        for it. It returns the request
        that is told, with the buffer that is read into, or None: its end is nobody's business.
        """
        return False

    # -- the forms of commands

    def _form(self, form: bytes) -> Form:
        """What commands of a form (``wire.rfc7143.FORM``) are; remembered when its unit has a gate."""
        first, segment, lun = FORM.unpack(form)
        kind = first & ~ATTRIBUTE
        writes = kind == WRITE_COMMAND
        gate = self._gates.get(lun)
        if gate is None or (not writes and (segment or kind != READ_COMMAND)) or first & ATTRIBUTE > HEAD_OF_QUEUE:
            return writes, segment, 0, None
        largest = self._largest_write if writes else self._largest_in_parts
        found = (writes, segment, largest, gate)
        if len(self._forms) >= _MOST_FORMS:
            del self._forms[next(iter(self._forms))]
        self._forms[form] = found
        return found
