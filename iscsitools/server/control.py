"""Answers the control requests (docs/control.md): one thread, one request after the other, the loop only tells."""

from __future__ import annotations

import logging
import os
import queue
import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from iscsitools.config import Config, ConfigError
from iscsitools.config.document import document_of
from iscsitools.config.load import config_of, load_text
from iscsitools.control.plan import FIXED
from iscsitools.control.protocol import HEARTBEAT, REQUESTS, Code, ControlError, InUse, check
from iscsitools.control.stacks import size_key
from iscsitools.errors import UserError
from iscsitools.lifecycle import ServerGone
from iscsitools.server.changing import BrokenOff, Changer, Wish
from iscsitools.server.faults import Faults
from iscsitools.server.handover import Handover
from iscsitools.server.health import health, tree
from iscsitools.server.loop_calls import LoopCalls
from iscsitools.server.state_file import write_state
from iscsitools.trace.feed.questions import Conversation

if TYPE_CHECKING:
    from iscsitools.server.server import Server

log = logging.getLogger(__name__)

_KEPT: Final = (*FIXED, "portals", "log_level")
"""Fields of a Config that stay as they are when a document does not say them."""
_KEYS: Final = {"plugins": "plugin"}
_LAST_WAIT: Final = 2.0
"""Seconds that the end of the server waits for a change under way."""

Message = dict[str, Any]


class _Job:
    """A request that is waited for. ``progress``: what the next sign of life says."""

    def __init__(self, message: Message, conversation: Conversation) -> None:
        self.message = message
        self.conversation = conversation
        self.progress = ""
        self.done = False

    def say(self, text: str) -> None:
        """For the control thread."""
        self.progress = text

    def broken_off(self) -> bool:
        """Whether nobody waits for the answer any more. For the control thread."""
        return self.conversation.closed


class ControlRequests:
    """A :class:`iscsitools.trace.feed.questions.ControlHandler`."""

    def __init__(self, server: Server) -> None:
        self.requests = REQUESTS
        self._server = server
        self._unkept = ""
        self._calls = LoopCalls(server.loop)
        self.changer = Changer(server, self._calls, self._keep)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._handlers: dict[str, Callable[[_Job], Message]] = {
            "get": self._get,
            "apply": self._apply,
            "takeover": self._takeover,
            "tree": lambda job: {"tree": self._calls.ask(lambda: tree(server))},
            "health": lambda job: {"health": self._calls.ask(self._health)},
            "faults": lambda job: {"faults": self._faults.all()},
            "fault-set": self._fault_set,
            "fault-clear": self._fault_clear,
            "power-cut": self._power_cut,
        }
        self._faults = Faults(server.assembly, self._calls, self._cut_sessions)

    # -- on the loop's thread

    def start(self) -> None:
        """Begin to work; what was asked for before has waited."""
        self._keep(self._server.config)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def take(self, message: Message, conversation: Conversation) -> None:
        """See ``ControlHandler``."""
        try:
            check(message)
        except ControlError as error:
            conversation.finish(_refusal(error))
            return
        job = _Job(message, conversation)
        self._jobs.put(job)
        self._server.loop.call_later(HEARTBEAT, partial(self._beat, job))

    def _beat(self, job: _Job) -> None:
        """Show a client that waits that its request is not forgotten."""
        if not job.done and job.conversation.send_message({"progress": job.progress}):
            self._server.loop.call_later(HEARTBEAT, partial(self._beat, job))

    def _finish(self, job: _Job, answer: Message) -> None:
        job.done = True
        if not job.conversation.closed:
            job.conversation.finish(answer)

    def close(self) -> None:
        """Take no more requests; the one under way has a moment to end."""
        self._calls.close()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(_LAST_WAIT)

    # -- in the control thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.broken_off():
                continue
            try:
                answer = {"answer": job.message["request"], **self._handlers[job.message["request"]](job)}
            except ControlError as error:
                answer = _refusal(error)
            except ConfigError as error:
                answer = _refusal(ControlError(Code.CONFIGURATION, *error.lines))
            except UserError as error:
                answer = _refusal(ControlError(Code.FAILED, *error.lines))
            except BrokenOff:
                continue
            except ServerGone as error:  # the loop was held up; where the server has ended, nobody hears this
                answer = _refusal(ControlError(Code.FAILED, str(error)))
            except Exception as error:  # a fault of ours must not end the target
                log.exception("a control request failed")
                answer = _refusal(ControlError(Code.FAILED, f"the server failed: {type(error).__name__}"))
            self._server.loop.call_soon(partial(self._finish, job, answer))

    def _get(self, job: _Job) -> Message:
        registry = self._server.plugins.registry
        return {
            "generation": self.changer.generation,
            "document": document_of(self._server.config),
            "folder": os.getcwd(),
            "size_keys": {kind: size_key(registry, kind) for kind in registry.backstores},
        }

    def _apply(self, job: _Job) -> Message:
        message = job.message
        config, warnings = self._read(message)
        wish = Wish(
            config, message.get("generation"), bool(message.get("dry_run")), InUse(message.get("in_use") or "refuse")
        )
        changes = self.changer.apply(wish, job.say, job.broken_off)
        if self._unkept and not wish.dry_run:
            if not changes:
                self._keep(self._server.config)  # there may be space again
            warnings = (*warnings, self._unkept) if self._unkept else warnings
        return {
            "generation": self.changer.generation,
            "changes": [change.to_json() for change in changes],
            "warnings": list(warnings),
        }

    def _read(self, message: Mapping[str, Any]) -> tuple[Config, tuple[str, ...]]:
        """The configuration that a request brings; what it does not say at its top stays as it is."""
        plugins, document, toml = self._server.plugins, message.get("document"), message.get("toml")
        if (document is None) == (toml is None):
            raise ControlError(Code.REQUEST, "apply needs one of document and toml")
        current = self._server.config
        portals = {"portals": [str(portal) for portal in current.portals]}
        if toml is not None:
            said = _said(toml)
            config, warnings = load_text(
                toml, message.get("file") or "configuration", plugins.registry, plugins.authenticators,
                {} if "portals" in said else portals,
            )  # fmt: skip
        else:
            assert document is not None
            said = set(document)
            config, warnings = config_of({**portals, **document}, plugins.registry, {}, plugins.authenticators)
        kept = {name: getattr(current, name) for name in _KEPT if _KEYS.get(name, name) not in said}
        return replace(config, **kept), warnings

    def _health(self) -> Message:
        return health(self._server, self._server.periodic.limit_watch, self._unkept)

    def _takeover(self, job: _Job) -> Message:
        """Another server is there that wants all of this; see handover.py."""
        handover = Handover(self._server, self._calls, self.changer.generation)
        handover.run(job.message["socket"], job.say, job.broken_off)
        return {}

    def _fault_set(self, job: _Job) -> Message:
        m = job.message
        values = m["values"]
        if not values or not all(isinstance(value, str) for value in values.values()):
            raise ControlError(Code.REQUEST, "values of fault-set are texts by FILTER.OPTION")
        self._faults.set(m["target"], m["lun"], values, m.get("client") or "", m.get("seconds"))
        return {"faults": self._faults.all()}

    def _fault_clear(self, job: _Job) -> Message:
        m = job.message
        names = m.get("names") or []
        if not all(isinstance(name, str) for name in names):
            raise ControlError(Code.REQUEST, "names of fault-clear are texts")
        self._faults.clear(m["target"], m["lun"], names, m.get("client"))
        return {"faults": self._faults.all()}

    def _power_cut(self, job: _Job) -> Message:
        m = job.message
        drop = m.get("drop")
        drop = 1.0 if drop is None else float(drop)
        if not 0 <= drop <= 1:
            raise ControlError(Code.REQUEST, "drop of power-cut is not between 0 and 1")
        done = self._faults.power_cut(m.get("target"), m.get("lun"), drop, bool(m.get("torn")), m.get("seed") or 0)
        return {"cut": done}

    def _cut_sessions(self, target: str) -> None:
        for session in self._server.table:
            if session.target is not None and session.target.name == target:
                self._server.login.drop_session(session, "the power was cut")

    def _keep(self, config: Config) -> None:
        """The configuration has changed: keep it. A disk that is full does not take the change back."""
        self._unkept = ""
        try:
            write_state(config)
        except OSError as error:
            self._unkept = f"what was changed is not kept: {error.filename or config.state}: {error.strerror}"
            log.error("%s", self._unkept)


def _said(toml: str) -> set[str]:
    """The keys at the top of a TOML text; none, if it is not TOML."""
    try:
        return set(tomllib.loads(toml.removeprefix("\ufeff").replace("\r\n", "\n")))
    except (ValueError, RecursionError):
        return set()


def _refusal(error: ControlError) -> Message:
    return {"error": str(error), "code": str(error.code), "lines": list(error.lines)}
