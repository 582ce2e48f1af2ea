"""Takes over from a running server: asks it for all that it serves, and says when the stores are open.

:mod:`iscsitools.server.handover` is the other side, and has the order.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
from typing import Final

from iscsitools.config import PortalConfig
from iscsitools.control import Control
from iscsitools.errors import RunError, UserError
from iscsitools.server.heritage import HandoverChannel, Heritage

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.05
_MESSAGE_SECONDS: Final = 900.0
"""How long the running server may take until it has closed its stores: a flush of a slow disk is long."""
_END_SECONDS: Final = 30.0
"""How long it is waited for its end. It writes nothing any more: its plugins may still say good-bye."""


class Predecessor:
    """The running server, which holds everything still and waits for :meth:`wait_for_its_end` or :meth:`failed`."""

    def __init__(self, heritage: Heritage, channel: HandoverChannel) -> None:
        self.heritage = heritage
        self._channel = channel

    @property
    def portals(self) -> dict[PortalConfig, list[socket.socket]]:
        """Its listening sockets, by where and in which group they listen."""
        found: dict[PortalConfig, list[socket.socket]] = {}
        for text, sock in self.heritage.sockets:
            found.setdefault(PortalConfig.parse(text), []).append(sock)
        return found

    def wait_for_its_end(self) -> None:
        """All is open here: have it end, and wait for that. Raises RunError when it has given this one up meanwhile."""
        try:
            self._channel.send({"ready": True})
            answer, _ = self._channel.receive(_END_SECONDS)
            if "mine" in answer:
                raise RunError("the running server has waited too long for this one, and goes on")
            self._channel.receive(_END_SECONDS)
        except EOFError:
            log.info("the server before this one has ended")
        except TimeoutError:
            log.warning("the server before this one does not end; it has closed its disks, so this one serves")
        except OSError as error:
            log.warning("the server before this one is gone: %s", error)
        finally:
            self._channel.close()

    def failed(self, error: UserError) -> None:
        """Tell it to go on, because this process cannot serve. Everything has been closed here."""
        try:
            self._channel.send({"failed": list(error.lines)})
        except OSError:
            log.error("the running server cannot be told: it may have ended")
        self.close()

    def close(self) -> None:
        """Let go of it; if it has not been told that all is ready, it goes on."""
        self.heritage.close()
        self._channel.close()


def take_over(control: Control) -> Predecessor:
    """Ask a running server to hand over. Raises RunError with its reasons when it does not; it goes on then."""
    with tempfile.TemporaryDirectory(prefix="iscsitools-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "takeover")
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(_LOOK_AGAIN)
        problems: list[UserError] = []
        thread = threading.Thread(target=_request, args=(control, path, problems), name="takeover", daemon=True)
        thread.start()
        channel = HandoverChannel(_accepted(listener, problems))
    try:
        message, fds = channel.receive(_MESSAGE_SECONDS)
        if "mine" in message:
            raise EOFError
        return Predecessor(Heritage.from_message(message, fds), channel)
    except EOFError:
        channel.close()
        thread.join(_END_SECONDS)  # it says why when all is as it was
        raise _refused(problems) from None
    except (OSError, ValueError) as error:
        channel.close()
        raise RunError(f"the running server cannot be taken over: {error}") from None


def _request(control: Control, path: str, problems: list[UserError]) -> None:
    """The answer comes only if it failed, or when all is over."""
    try:
        control.request("takeover", socket=path)
    except UserError as error:
        problems.append(error)


def _accepted(listener: socket.socket, problems: list[UserError]) -> socket.socket:
    while True:
        try:
            return listener.accept()[0]
        except TimeoutError:
            if problems:
                raise _refused(problems) from None


def _refused(problems: list[UserError]) -> RunError:
    lines = problems[0].lines if problems else ("the running server has ended, or goes on",)
    return RunError(lines[0], lines[1:])
