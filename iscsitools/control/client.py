"""The typed client of the control protocol."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from iscsitools.control.protocol import HEARTBEAT, VERSION, Code, ControlError, InUse
from iscsitools.errors import RunError
from iscsitools.trace import names
from iscsitools.trace.client.connection import NONSENSE, ServerConnection
from iscsitools.trace.protocol import MAX_CONTROL_REQUEST, Message, TraceError, encode

_SILENCE: Final = 10 * HEARTBEAT
_REPEATS: Final = 8

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Running:
    """A running configuration. ``document``: as a TOML file says it. ``generation``: counts its changes.

    ``size_keys``: by kind of store, where its size is said: ``what``, ``size``, or nowhere (empty). ``folder``: the one
    that relative paths in it are of.
    """

    generation: int
    document: Document
    size_keys: dict[str, str] = field(default_factory=dict)
    folder: str = "."


@dataclass(frozen=True, slots=True)
class Applied:
    """What was changed, or would be. ``changes``: objects with ``kind`` and ``text``; see docs/control.md."""

    generation: int
    changes: list[Message]
    warnings: list[str]

    @property
    def lines(self) -> list[str]:
        """The changes for people."""
        return [change["text"] for change in self.changes]


class ControlConnection:
    """A conversation with a server over its control socket. Usable in a ``with`` statement.

    Every method raises ControlError when the server does not do it, and RunError when it cannot be reached.
    ``progress`` is called, about once a second, with what a long request waits for; what it raises breaks it off.
    """

    def __init__(
        self,
        name: str | None = None,
        socket: str | Path | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Connect. ``name``: which server, when several run; ``socket``: the path of its control socket instead."""
        self._progress = progress
        try:
            self._link = ServerConnection(socket if socket is not None else names.find(name).paths.control)
        except TraceError as error:
            raise RunError(str(error)) from None
        self.name: str = self._link.server["name"]

    def get(self) -> Running:
        """The running configuration; :meth:`apply` of it changes nothing."""
        answer = self.request("get")
        return Running(answer["generation"], answer["document"], answer["size_keys"], answer.get("folder", "."))

    def apply(
        self,
        document: Document | None = None,
        *,
        toml: str | None = None,
        file: str | None = None,
        generation: int | None = None,
        dry_run: bool = False,
        in_use: InUse | str = InUse.REFUSE,
    ) -> Applied:
        """Make the server match a document, or the text of a TOML file (``file`` names it in messages).

        ``generation``: of the configuration that it was made from; ControlError ``changed`` tells what somebody else
        has changed since. ``dry_run``: only say what would change. ``in_use``: what to do with what sessions use.
        """
        answer = self.request(
            "apply", document=document, toml=toml, file=file, generation=generation, dry_run=dry_run, in_use=in_use
        )
        return Applied(answer["generation"], answer["changes"], answer["warnings"])

    def edit(
        self, change: Callable[[Running], None], *, dry_run: bool = False, in_use: InUse | str = InUse.REFUSE
    ) -> Applied:
        """Have ``change`` edit the running document in place, and apply it; again when somebody else was faster."""
        for _ in range(_REPEATS):
            running = self.get()
            change(running)
            try:
                return self.apply(running.document, generation=running.generation, dry_run=dry_run, in_use=in_use)
            except ControlError as error:
                if error.code is not Code.CHANGED:
                    raise
                last = error
        raise last

    def request(self, name: str, **fields: Any) -> Message:
        """Ask in the protocol's own words; fields that are None are left out. Returns the answer."""
        given = {key: value for key, value in fields.items() if value is not None}
        line = encode({"request": name, "version": VERSION, **given})
        if len(line) > MAX_CONTROL_REQUEST:
            raise ControlError(
                Code.REQUEST, f"{name} is longer than {MAX_CONTROL_REQUEST >> 20} MiB, the most of a request"
            )
        try:
            self._link.send(line)
            return self._answer(name)
        except (TraceError, OSError) as error:
            raise RunError(str(error)) from None

    def _answer(self, name: str) -> Message:
        while True:
            message = self._link.wait(_SILENCE)
            if "progress" in message:
                self._progress(str(message["progress"]))
            elif "error" in message:
                raise _error_of(message)
            elif message.get("answer") == name:
                return message
            else:
                raise TraceError(f"{self._link.path}: {NONSENSE}")

    def close(self) -> None:
        """Hang up; a request that waits is broken off."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _error_of(message: Message) -> ControlError:
    lines, code = message.get("lines"), message.get("code")
    if code not in tuple(Code) or not isinstance(lines, list) or not lines:
        return ControlError(Code.REQUEST, str(message["error"]))
    return ControlError(Code(code), *map(str, lines))


def control_path(watch: str) -> str:
    """The control socket beside a watch socket. Raises ValueError when the path is none."""
    if not watch.endswith(".watch"):
        raise ValueError("--socket is the path of a watch socket: NAME.watch")
    return os.fspath(watch).removesuffix(".watch") + ".control"
