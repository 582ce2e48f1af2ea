"""READs and WRITEs of a data path in C that a plugin takes and answers in C: no call of Python for each of them.

An optional extension of the asynchronous contract. A backstore that has ``completion_fd``, an eventfd, makes a
:class:`Carrier` of a capsule (``datapath/carrier_interface.h`` says what that points to), returns
``carrier.shortcut()`` from its own ``shortcut``, and calls ``carrier.reap()`` at the end of its own ``reap``. What the
data path cannot do by itself still comes as requests: what is no plain READ or WRITE, what has to wait its turn, all
while somebody looks, and what the capsule has refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from iscsitools.backstores.asynchronous import Request
from iscsitools.backstores.shortcut import FLIGHTS, Shortcut, file_words

if TYPE_CHECKING:
    from iscsitools.datapath._native import Carrier as NativeCarrier

Ended = Callable[[Request, int], None]
"""Called with a request, and how it ended: its length, or a negative error number."""


class Carrier:
    """What a backstore offers in C. Made, and used, on the event loop's thread."""

    def __init__(self, native: NativeCarrier, ended: Ended) -> None:
        self._native = native
        self._ended = ended
        self._words: array[int] = file_words()

    def shortcut(self) -> Shortcut:
        """What ``Backstore.shortcut`` returns."""
        return Shortcut("carrier", self._words, ring=self._native, ended=self._ended)

    def reap(self) -> None:
        """Answer what has ended. On the event loop's thread, at the end of the backstore's ``reap``."""
        for (ended, argument), result in self._native.reap():
            ended(argument, result)

    @property
    def waiting(self) -> bool:
        """Whether :meth:`reap` has something to do. From any thread."""
        return self._native.waiting

    @property
    def under_way(self) -> int:
        """Calls that the capsule was given, or that wait for others on the same blocks."""
        return self._words[FLIGHTS]


def carrier_of(capsule: object, fd: int, ended: Ended) -> Carrier | None:
    """A carrier of a capsule, and of the eventfd that is ``completion_fd``.

    ``ended`` is told of a call that became a request meanwhile: it completes the request, as one of its own. None:
    there is no data path in C, or that knows no such version of the capsule; then all comes as requests.
    """
    try:
        from iscsitools.datapath._native import Carrier as NativeCarrier
    except ImportError:  # server/data_path.py says what is missing without it
        return None
    try:
        return Carrier(NativeCarrier(capsule, fd), ended)
    except ValueError:
        return None
