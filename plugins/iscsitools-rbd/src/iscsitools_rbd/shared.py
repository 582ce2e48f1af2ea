"""What the heads of one image know of each other: an omap object beside the image, with watch and notify.

Keys: ``gen``, which every change but a beat compares and raises; ``active``, the head that may write, and ``address``,
by which Ceph shuts its client out; ``beat.N``, a number that head N raises while it lives; ``reservations``. The object
``iscsitools.configuration`` is of the same kind, with ``gen`` and ``configuration`` (:mod:`.configuration`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from iscsitools_rbd.ceph import modules

_MOST: Final = 1000
_NOTIFY_MS: Final = 2000


@dataclass(slots=True)
class State:
    """The object's content. ``active`` is 0 while no head is."""

    generation: str = ""
    active: int = 0
    address: str = ""
    reservations: str = ""
    configuration: str = ""
    beats: dict[int, str] = field(default_factory=dict)


class SharedObject:
    """The object of one image. All methods raise ``rados.Error`` and OSError, and wait for Ceph as its client does."""

    def __init__(self, pool: Any, watching_pool: Any, image: str) -> None:
        """``watching_pool`` is of a client without time-outs: librados 16 crashes when a watch of one times out."""
        self._rados = modules()[0]
        self._pool = pool
        self._watching_pool = watching_pool
        self.name = f"iscsitools.{image}"
        self._watch: Any = None

    def read(self) -> State:
        """All of it; what is not there yet is empty."""
        with self._rados.ReadOpCtx() as operation:
            pairs, _ = self._pool.get_omap_vals(operation, "", "", _MOST)
            try:
                self._pool.operate_read_op(operation, self.name)
            except self._rados.ObjectNotFound:
                return State()
            found = {key: bytes(value or b"").decode() for key, value in pairs}
        return State(
            found.get("gen", ""),
            int(found.get("active", "0")),
            found.get("address", ""),
            found.get("reservations", ""),
            found.get("configuration", ""),
            {int(key[5:]): value for key, value in found.items() if key.startswith("beat.")},
        )

    def change(self, before: State, values: Mapping[str, str]) -> bool:
        """Write these values if nobody has changed anything since ``before`` was read; False: somebody has."""
        generation = str(int(before.generation or 0) + 1)
        with self._rados.WriteOpCtx() as operation:
            operation.omap_cmp("gen", before.generation)
            keys = ("gen", *values)
            self._pool.set_omap(operation, keys, (generation.encode(), *(value.encode() for value in values.values())))
            try:
                self._pool.operate_write_op(operation, self.name)
            except (self._rados.Error, OSError) as error:
                if error.errno == errno.ECANCELED:  # the comparison failed
                    return False
                raise
        return True

    def beat(self, head: int, count: int) -> None:
        """Say that this head lives."""
        with self._rados.WriteOpCtx() as operation:
            self._pool.set_omap(operation, (f"beat.{head}",), (str(count).encode(),))
            self._pool.operate_write_op(operation, self.name)

    def tell(self, head: int, what: str) -> bool:
        """Notify all that watch; True when all have answered, which they do when they have done what it asks for."""
        try:
            self._pool.notify(self.name, f"{head} {what}", _NOTIFY_MS)
        except (self._rados.Error, OSError):
            return False
        return True

    def watch(self, heard: Callable[[int, str], None], lost: Callable[[], None]) -> None:
        """Have ``heard(head, what)`` called, in a thread of librados, for what others tell; ``lost``: no more.

        It waits for Ceph without an end.
        """

        def notified(_notify: int, _notifier: int, _watch: int, data: bytes) -> None:
            head, _, what = data.decode().partition(" ")
            heard(int(head), what)

        self.unwatch()
        self._watch = self._watching_pool.watch(self.name, notified, lambda *_: lost())

    def unwatch(self) -> None:
        """Hear nothing any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            try:
                watch.close()
            except (self._rados.Error, OSError):
                return
