"""One configuration for all heads: an object in a pool that each server reads, obeys and changes.

What is shared are the targets with their LUNs, maps and users, and who may discover; everything else, portals first of
all, is each server's own. The rules:

- A change at one head is written down before that head obeys it, and only if nobody has written since that head read
  last (``gen``): of two that change at once the slower one is refused, and gets the other's.
- The others are notified, and look every few seconds beside that. They do what is written, and end sessions where that
  takes it: who asked for the change has waited for them or forced them at the first head.
- A head that begins obeys what is written, whatever its own file says; the first one of all writes down its own.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from iscsitools.backstores.base import BackstoreError
from iscsitools.control import Control, ControlError, InUse
from iscsitools.errors import RunError

from iscsitools_rbd.ceph import Account, abandon, connect, modules, reason
from iscsitools_rbd.shared import SharedObject

log = logging.getLogger(__name__)
SHARED: Final = ("target", "discovery")
"""The keys of a configuration that all heads have in common."""
OBJECT: Final = "configuration"
_TIMEOUTS: Final = {"rados_osd_op_timeout": "3", "rados_mon_op_timeout": "5"}
_CLOSE: Final = 0.8
_LOOK: Final = 2.0
"""Seconds between two looks that nobody has asked for."""

Document = dict[str, Any]


class Server:
    """The running server, by its control socket."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self) -> Document:
        """Its whole configuration. Raises ControlError and RunError, as ``apply`` does."""
        with Control(self._name) as control:
            return control.get().document

    def apply(self, document: Document) -> list[str]:
        """Make it so, whoever uses what goes; returns what was changed."""
        with Control(self._name) as control:
            return control.apply(document, in_use=InUse.FORCE).lines


class SharedConfiguration:
    """The part that head ``number`` has in it. ``place``: ``POOL`` or ``POOL/NAMESPACE``."""

    def __init__(self, account: Account, place: str, number: int) -> None:
        self.number = number
        self._account = account
        self._place = place
        self._server: Server | None = None
        self._shared: SharedObject | None = None
        self._clients: list[Any] = []
        self._pools: list[Any] = []
        self._generation = ""
        """What this server was made to match last; empty: nothing yet."""
        self._applying = ""
        self._watching = False
        self._told = ""
        self._wake = threading.Event()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="rbd-configuration", daemon=True)
        self._errors: tuple[type[BaseException], ...] = (OSError, BackstoreError, ControlError, RunError)

    def begin(self, server: Server) -> None:
        """Look after this server from now on, in a thread."""
        self._server = server
        self._errors = (*self._errors, modules()[0].Error)
        self._thread.start()

    def end(self) -> None:
        """Do nothing any more; where Ceph does not answer, the clients stay as they are."""
        self._ends = True
        self._wake.set()
        closer = threading.Thread(target=self._close, name="rbd-configuration-end", daemon=True)
        closer.start()
        closer.join(timeout=_CLOSE)
        if closer.is_alive():
            abandon(self, *self._clients, *self._pools)

    def _close(self) -> None:
        if self._thread.is_alive():
            self._thread.join()
        if self._shared is not None:
            self._shared.unwatch()
        for pool in self._pools:
            pool.close()
        for client in self._clients:
            client.shutdown()

    # Before this server changes

    def changing(self, document: Mapping[str, Any]) -> None:
        """Write down what is shared of it, for all heads. Raises OSError with the reason when it may not be."""
        text = text_of(document)
        if self._server is None or text == self._applying:
            return
        if self._shared is None or not self._generation:
            raise OSError(errno.EBUSY, "the configuration of the heads has not been read yet: try again")
        try:
            state = self._shared.read()
            if state.configuration == text:
                return
            if state.generation != self._generation:
                raise OSError(
                    errno.EBUSY, f"another head has changed the configuration (generation {state.generation})"
                )
            if not self._shared.change(state, {"configuration": text}):
                raise OSError(errno.EBUSY, "another head has changed the configuration at the same time")
        except modules()[0].Error as error:
            raise OSError(errno.EBUSY, f"the heads cannot be told: {reason(error)}") from None
        self._generation = str(int(state.generation) + 1)
        threading.Thread(target=self._shared.tell, args=(self.number, "configuration"), daemon=True).start()

    # What goes on

    def _run(self) -> None:
        while not self._ends:
            try:
                if not self._watching:
                    self._open()
                self._look()
            except self._errors as error:
                self._complain(reason(error))
            else:
                self._told = ""
            self._wake.wait(_LOOK)
            self._wake.clear()

    def _complain(self, text: str) -> None:
        if text != self._told and not self._ends:
            self._told = text
            log.error("head %d: the configuration of the heads: %s", self.number, text)

    def _open(self) -> None:
        """Connect, or watch anew. It may wait for Ceph without an end, in this thread."""
        if not self._clients:
            self._clients = [connect(self._account, _TIMEOUTS), connect(self._account, {})]
        if self._shared is None:
            pool, _, namespace = self._place.partition("/")
            pools = [client.open_ioctx(pool) for client in self._clients]
            for each in pools:
                each.set_namespace(namespace)
            self._pools = pools
            self._shared = SharedObject(pools[0], pools[1], OBJECT)
            self._shared.beat(self.number, 0)  # there has to be an object that can be watched
        self._shared.watch(lambda head, what: self._wake.set(), self._lost_watch)
        self._watching = True

    def _lost_watch(self) -> None:
        self._watching = False

    def _look(self) -> None:
        assert self._shared is not None
        assert self._server is not None
        state = self._shared.read()
        if not state.configuration:
            text = text_of(self._server.get())
            if self._shared.change(state, {"configuration": text}):
                self._generation = str(int(state.generation or 0) + 1)
                log.info("head %d: its configuration is that of all heads now", self.number)
            else:
                self._wake.set()
        elif state.generation != self._generation:
            self._obey(state.configuration)
            self._generation = state.generation

    def _obey(self, text: str) -> None:
        assert self._server is not None
        own = {key: value for key, value in self._server.get().items() if key not in SHARED}
        self._applying = text
        try:
            changes = self._server.apply(own | json.loads(text))
        finally:
            self._applying = ""
        log.info("head %d: the configuration of the heads: %s", self.number, "; ".join(changes) or "nothing to do")


def text_of(document: Mapping[str, Any]) -> str:
    """What is shared of a configuration, the same text for the same content."""
    return json.dumps({key: document[key] for key in SHARED if key in document}, sort_keys=True)
