"""A load that lasts until it is told to end, and looks at every byte that it reads back."""

from __future__ import annotations

import threading

from iscsitools.initiator import Session

BLOCKS, SIZE = 8, 512
PLACES = 1024
_TIMEOUT = 300.0  # a guest without hardware help on a busy machine


class Steady(threading.Thread):
    """Writes 4 KiB, reads them back and compares, one place after the other.

    ``pause``: seconds between two rounds, which leave the processor to others. ``done``: the rounds so far. ``error``:
    why it ended before it was told to, or an empty string.
    """

    def __init__(self, port: int, target: str) -> None:
        super().__init__(daemon=True)
        self._address = ("127.0.0.1", port)
        self._target = target
        self._end = threading.Event()
        self.pause = 0.0
        self.done = 0
        self.error = ""

    def run(self) -> None:
        """Do rounds until :meth:`finish`, or until something is wrong."""
        try:
            with Session.connect(self._address, self._target, timeout=_TIMEOUT) as session:
                session.read_capacity()
                while not self._end.wait(self.pause):
                    self._round(session)
                session.logout()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _round(self, session: Session) -> None:
        lba = self.done % PLACES * BLOCKS
        data = self.done.to_bytes(8) * (BLOCKS * SIZE // 8)
        session.write(lba, data)
        if session.read(lba, BLOCKS) != data:
            raise OSError(f"the blocks at {lba} are not what was written")
        self.done += 1

    def finish(self) -> None:
        """End after the round that is under way."""
        self._end.set()
        self.join(_TIMEOUT)
        if self.is_alive():
            self.error = self.error or "it does not end"
