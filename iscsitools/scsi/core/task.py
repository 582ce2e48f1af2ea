"""The boundary of the SCSI device server: I_T nexuses, tasks, and what runs their calls.

A transport makes a :class:`Nexus` for each session, and a :class:`Task` for each command. It hands the task to
``ScsiDevice.accept``, brings the data-out that ``accept`` asked for, calls ``ScsiDevice.execute``, and gets the task
back through ``Task.done``, perhaps later, on the same thread. Nothing here knows which transport it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from iscsitools.wire.scsi import Attribute, Status

if TYPE_CHECKING:
    from iscsitools.scsi.core.unit import LogicalUnit


@dataclass(slots=True, eq=False)
class Nexus:
    """An I_T nexus (SAM-5 3.1.50): one initiator port in session with one target port.

    ``initiator_port`` is the initiator port's name as SPC-4 7.6.4.5 wants it in a TransportID: for iSCSI
    ``IQN,i,0xISID``. ``target_port`` is the relative target port identifier.
    """

    initiator: str
    initiator_port: str
    target_port: int = 1
    lost: bool = False
    """Set by ``ScsiDevice.detach``: the results of its tasks go nowhere."""
    used: set[int] = field(default_factory=set)
    """The numbers of the units that it has sent a command; kept for the list of sessions."""


@dataclass(slots=True, eq=False)
class Task:
    """One command on its way through the device server.

    ``lun``: unit number, already decoded from its 8 bytes; -1 when they name no unit that can exist. ``tag``: the
    transport's name of the task, unique in its nexus. ``edtl``: bytes that the initiator expects to move, of the
    direction that ``reads``/``writes`` say (both False: none). ``done`` is called once, on the loop's thread, when
    status is known, except for tasks that a task management function ended without status (SAM-5 5.6).
    """

    nexus: Nexus
    lun: int
    tag: int
    cdb: bytes
    done: Callable[[Task], None]
    attribute: int = Attribute.SIMPLE
    edtl: int = 0
    reads: bool = False
    writes: bool = False

    # Set by accept():
    data_out_length: int = 0
    """Bytes of data-out that the command takes; the transport brings min(edtl, this)."""
    unit: LogicalUnit | None = None
    # Set by the transport before execute():
    data_out: memoryview = field(default_factory=lambda: memoryview(b""))
    # The result:
    status: int = Status.GOOD
    sense: bytes = b""
    """Fixed-format sense data, when status is CHECK CONDITION."""
    data_in: memoryview | bytes | bytearray = b""
    """What the command returned, whole, before truncation to ``edtl``. The buffer is the transport's until sent."""
    transfer_length: int = -1
    """Bytes that the CDB asked to move, for the residual count (SAM-5, RFC 7143 11.4.5); -1: as much as was moved."""
    aborted: bool = False
    """Set when a task management function or a lost nexus ended it; a late result is thrown away."""
    released: Callable[[Task], None] | None = None
    """Called once for a task that was aborted, when nothing uses ``data_out`` and ``data_in`` any more.

    That is before ``manage`` or ``detach`` returns when no thread is at work for the task, else when that thread's
    call has returned; until then the transport leaves the buffers alone. Not called for a task that ends by ``done``.
    """
    owner: TaskOwner | None = None
    """Who in the transport keeps this task; told when a task management function of anybody ended it."""
    call: object = None
    """The device server's own note of the task."""


class TaskOwner(Protocol):
    """The transport's side of a task."""

    def drop(self) -> None:
        """Forget the task: it was ended without a status."""


class Executor(Protocol):
    """Runs calls that may block, in threads of which one logical unit has a bounded number.

    ``submit`` returns at once. ``work`` runs in a thread; then ``done`` is called on the loop's thread with what
    ``work`` raised, or None. Calls of one executor may run at once and end in any order.
    """

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run ``work`` in a thread and report to ``done``."""


class InlineExecutor:
    """Runs each call at once where it was submitted: for tests, and for backstores that do not block."""

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run ``work`` now."""
        try:
            work()
        except Exception as error:
            done(error)
        else:
            done(None)


MAX_TRANSFER: Final = 8 << 20
"""Bytes that one command may move: the Block Limits page's MAXIMUM TRANSFER LENGTH (SBC-3 6.6.3)."""
