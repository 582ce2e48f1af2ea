"""One of several targets that export an image: active, or standby until the active one asks, fails or is out of reach.

The order of a takeover, which is all that keeps two heads from writing at once (1 to 3: ``fencing.py``):
1. the active head's client is blocklisted: from then on no OSD that knows takes anything of it, in flight or new;
2. this client waits until it has the map that says so, which every OSD learns from it before its first operation;
3. the image's exclusive lock is broken and acquired;
4. the shared object says that this head is active, if nobody was faster;
5. the reservations are read, and the port group becomes active.

Each head has three clients: one for the image, which may be shut out at any time and is then replaced; one for the
shared object, which waits for seconds only; and one that watches. A head that cannot say that it lives gives up by
itself before another takes over.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from iscsitools.backstores.base import BackstoreError

from iscsitools_rbd.beats import GONE, Beats
from iscsitools_rbd.ceph import modules, reason
from iscsitools_rbd.fencing import take_alone
from iscsitools_rbd.native_image import ServedImage
from iscsitools_rbd.shared import SharedObject, State

log = logging.getLogger(__name__)
_BEAT: Final = 1.0
_TRIES: Final = 10


class HeadOwner(Protocol):
    """What a head does to its backstore."""

    def activate(self, image: ServedImage) -> None:
        """Serve from this image, which this head has alone."""

    def deactivate(self) -> None:
        """Serve no more: what is under way fails, and the client is closed."""

    def access_changed(self) -> None:
        """``access`` is another; returns when commands obey."""

    def reservations_changed(self) -> None:
        """``reservations`` is another; returns when commands obey."""


class Head:
    """Head ``number`` of an image, which is also the number of its target port group."""

    def __init__(
        self, number: int, owner: HeadOwner, shared: SharedObject, control: Any, open_image: Callable[[], ServedImage],
        takeover: float,
    ) -> None:  # fmt: skip
        self.number = number
        self._owner = owner
        self._shared = shared
        self._control = control
        self._open_image = open_image
        self._takeover = takeover
        self._rados, self._rbd = modules()
        self._errors = (self._rados.Error, self._rbd.Error, OSError, BackstoreError)
        self._active = False
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ends = False
        self._watching = False
        self._watcher: threading.Thread | None = None
        self._beats = Beats(number, takeover)
        self._count = 0
        self.access: dict[int, str] = {number: "standby"}
        self.reservations = ""
        self._thread = threading.Thread(target=self._run, name=f"rbd-head-{number}", daemon=True)

    # Beginning and end

    def begin(self) -> None:
        """Join the others: active if nobody else is. Raises BackstoreError."""
        try:
            self._count = time.time_ns()  # no number of an earlier life
            self._shared.beat(self.number, self._count)
            self._begin_watch()
            state = self._shared.read()
            self._take_in(state)
            if state.active in (0, self.number):
                self._take_over()
            self._tell_access(state)
        except self._errors as error:
            if not isinstance(error, _LostError):
                raise BackstoreError(f"rbd: head {self.number}: {reason(error)}") from None
        self._thread.start()

    def end(self) -> bool:
        """Leave: if it is active, so that another can begin at once. False: Ceph does not answer, its clients stay."""
        self._ends = True
        self._wake.set()
        self._thread.join(timeout=5)
        if self._thread.is_alive() or (self._watcher is not None and self._watcher.is_alive()):
            return False
        with self._lock:
            was_active, self._active = self._active, False
            try:
                left = {f"beat.{self.number}": GONE}
                if was_active:
                    self._owner.deactivate()
                    left |= {"active": "0", "address": ""}
                self._shared.change(self._shared.read(), left)
                self._shared.tell(self.number, "changed")
                self._shared.unwatch()
            except self._errors as error:
                log.warning("head %d: leaving: %s", self.number, reason(error))
                return False
        return True

    @property
    def active(self) -> bool:
        """Whether this one may read and write."""
        return self._active

    def look_soon(self) -> None:
        """Something says that another head has taken over. For any thread."""
        self._wake.set()

    # What goes on

    def _run(self) -> None:
        while not self._ends:
            self._wake.wait(_BEAT)
            self._wake.clear()
            if self._ends:
                return
            try:
                with self._lock:
                    self._look()
            except _LostError as error:
                log.info("head %d: %s", self.number, error)
            except Exception as error:  # whatever it is, an active head must not go on as if it could be seen
                log.warning("head %d: %s", self.number, reason(error))
                with self._lock:
                    self._out_of_reach()

    def _look(self) -> None:
        """Say that this one lives, and look who else does."""
        if not self._watching:
            self._watch()
        self._count += 1
        self._shared.beat(self.number, self._count)
        state = self._shared.read()
        self._take_in(state)
        if self._active and state.active != self.number:
            self._give_up(f"head {state.active} has taken over")
        elif not self._active and self._beats.is_free(state):
            self._take_over()
        self._tell_access(state)

    def _take_in(self, state: State) -> None:
        self._beats.take_in(state)
        self.reservations = state.reservations

    def _out_of_reach(self) -> None:
        """Ceph does not answer: an active head gives up before another may think that it is dead."""
        if self._active and self._beats.silence > self._takeover * 0.8:
            self._give_up("Ceph is out of reach")

    def _give_up(self, why: str) -> None:
        log.warning("head %d: standby: %s", self.number, why)
        self._active = False
        self.access = {**self.access, self.number: "standby"}
        self._owner.access_changed()
        self._owner.deactivate()

    def _tell_access(self, state: State) -> None:
        active = self.number if self._active else state.active
        access = {
            number: "optimized" if number == active else "standby" if self._beats.lives(number) else "unavailable"
            for number in {*self._beats, self.number}
        }
        access[self.number] = "optimized" if self._active else "standby"
        if access != self.access:
            self.access = access
            self._owner.access_changed()

    # Taking over

    def take_over(self) -> None:
        """Become active now, whoever is. Raises OSError."""
        with self._lock:
            if self._active:
                return
            try:
                self._take_over()
                self._tell_access(State(active=self.number))
            except self._errors as error:
                raise OSError(errno.EBUSY, f"head {self.number} cannot take over: {reason(error)}") from None

    def _take_over(self) -> None:
        before = self._shared.read()
        image = self._open_image()
        try:
            take_alone(image, before.address, self._control, self.number)
            values = {"active": str(self.number), "address": image.address}
            if not self._shared.change(before, values):
                raise _LostError(f"head {self.number}: another head was faster")
        except BaseException:
            threading.Thread(target=image.close, daemon=True).start()
            raise
        self._owner.activate(image)
        self._active = True
        self.reservations = before.reservations
        self._owner.reservations_changed()
        self.access = {**self.access, self.number: "optimized"}
        if before.active not in (0, self.number):
            self.access[before.active] = "standby" if self._beats.lives(before.active) else "unavailable"
        self._owner.access_changed()
        log.info("head %d: active", self.number)
        threading.Thread(target=self._shared.tell, args=(self.number, "changed"), daemon=True).start()

    # What others tell

    def _watch(self) -> None:
        """Begin to watch, in a thread: it may wait for Ceph for as long as that takes."""
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._begin_watch, name=f"rbd-watch-{self.number}", daemon=True)
            self._watcher.start()

    def _begin_watch(self) -> None:
        try:
            self._shared.watch(self._told, self._lost_watch)
        except self._errors as error:
            log.warning("head %d: watching: %s", self.number, reason(error))
        else:
            self._watching = True

    def _lost_watch(self) -> None:
        self._watching = False

    def _told(self, head: int, what: str) -> None:
        """In a thread of librados; returning is the answer."""
        if head == self.number:
            return
        if what == "reservations":
            try:
                self.reservations = self._shared.read().reservations
            except self._errors as error:
                log.warning("head %d: %s", self.number, reason(error))
                return
            self._owner.reservations_changed()
        self._wake.set()

    def keep_reservations(self, text: str) -> None:
        """Write them down, and wait until the active head obeys. Raises OSError."""
        try:
            before = self._shared.read()
            if not self._shared.change(before, {"reservations": text}):
                self.reservations = self._shared.read().reservations
                self._owner.reservations_changed()
                raise OSError(errno.EBUSY, "another head has changed something at the same time")
            self.reservations = text
            for _ in range(_TRIES):
                if self._shared.tell(self.number, "reservations") or self._active:
                    return
        except self._errors as error:
            if isinstance(error, OSError) and error.errno == errno.EBUSY:
                raise
            raise OSError(errno.EBUSY, f"the reservations cannot be shared: {reason(error)}") from None
        self._owner.reservations_changed()  # they are written down, so they are those of this head as well
        raise OSError(errno.EBUSY, "the active head does not answer")


class _LostError(OSError):
    """Another head was faster."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EBUSY, text)
