"""The HTTP side: the page's files, questions, and the live stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from iscsitools_analytics.access import Access, add_headers
from iscsitools_analytics.commands import Buffer
from iscsitools_analytics.history import History, Recent
from iscsitools_analytics.question import METRICS, OF_COUNTS, OF_SERIES, Question, QuestionError, question_of
from iscsitools_analytics.store import Store, StoreError

_PAGE: Final = Path(__file__).resolve().parent / "page"
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_MOST_VIEWERS: Final = 64
_MOST_GRAPHS: Final = 40
_SLOW: Final = 10.0
"""Seconds that a viewer may take none of the stream."""
_LATER: Final = 0.35
"""Seconds after a second has ended when it is sent: by then the servers have answered."""
_AGAIN: Final = 2
"""Seconds that are sent each time: the one that has ended, and the one before for who had answered late."""


class Service:
    """What answers; one for a process."""

    def __init__(
        self,
        store: Store,
        recent: Recent,
        access: Access,
        attached: Callable[[], list[str]],
        buffer: Buffer | None = None,
        end: int = 0,
    ) -> None:
        """``end``: of a recording, seconds since 1970; 0: time goes on."""
        self._store = store
        self._history = History(store)
        self._recent = recent
        self._access = access
        self._attached = attached
        self._buffer = buffer
        self._end = end
        self._viewers = 0
        self._columns: dict[tuple[str, int], tuple[float, Any]] = {}

    def application(self) -> web.Application:
        """The routes, behind the guard."""
        app = web.Application(middlewares=[self._access.middleware()], client_max_size=4096)
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/", partial(self._file, "index.html"))
        for path in sorted(_PAGE.iterdir()):
            if path.suffix in _TYPES:
                app.router.add_get(f"/page/{path.name}", partial(self._file, path.name))
        app.router.add_get("/favicon.ico", partial(self._file, "icon.svg"))
        app.router.add_post("/api/enter", self._access.enter)
        app.router.add_get("/api/about", self._about)
        app.router.add_get("/api/history", self._past)
        app.router.add_get("/api/live", self._live)
        app.router.add_get("/api/commands", self._commands)
        return app

    async def _file(self, name: str, request: web.Request) -> web.Response:
        path = _PAGE / name
        return web.Response(body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8")

    async def _about(self, request: web.Request) -> web.Response:
        def told() -> dict[str, Any]:
            seen = self._store.seen()
            return {
                "version": version("iscsitools-analytics"),
                "now": self._end or time.time(),
                "ends": bool(self._end),
                "attached": self._attached(),
                "since": min((spans[0][0] for spans in seen.values()), default=None),
                "metrics": {name: metric._asdict() for name, metric in METRICS.items()},
                "dimensions": [*OF_SERIES, *OF_COUNTS],
                "keys": self._history.keys(int(self._end or time.time()) - 86400),
                "buffer": self._buffer is not None and self._buffer.seconds,
            }

        return await _answered(told)

    async def _past(self, request: web.Request) -> web.Response:
        def answered() -> dict[str, Any]:
            begin, end = _number(request, "from"), _number(request, "to")
            if not 0 < end - begin < 400 * 86400:
                raise QuestionError("from has to be before to, and not more than 400 days")
            return self._history.answer(_question(request.query.get("q", "")), begin, end, _number(request, "columns"))

        return await _answered(answered)

    async def _commands(self, request: web.Request) -> web.Response:
        def answered() -> dict[str, Any]:
            if self._buffer is None:
                raise QuestionError("no commands are kept: see --commands and --read")
            question = _question(request.query.get("q", ""))
            span = _number(request, "from"), _number(request, "to")
            return self._buffer.find(question, *span, _number(request, "low"), _number(request, "high"))

        return await _answered(answered)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        texts = request.query.getall("q", [])
        try:
            questions = {text: _question(text) for text in texts[:_MOST_GRAPHS]}
        except QuestionError as error:
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=f"{error}\n")
        if self._viewers >= _MOST_VIEWERS:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="too many viewers\n")
        self._viewers += 1
        try:
            return await self._stream(request, questions)
        except (TimeoutError, ConnectionError):
            return web.Response()  # it is gone, or as good as gone
        finally:
            self._viewers -= 1

    async def _stream(self, request: web.Request, questions: dict[str, Question]) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        while True:
            now = time.time()
            t = int(now - _LATER) - 1
            told = {
                "t": t,
                "attached": self._attached(),
                "columns": {text: self._newest(text, q, t) for text, q in questions.items()},
            }
            data = f"id: {t}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n".encode()
            # Waiting for who does not read is what keeps memory bounded; who takes nothing for long is let go.
            await asyncio.wait_for(stream.write(data), _SLOW)
            await asyncio.sleep(1 - (now - _LATER) % 1 + 0.001)

    def _newest(self, text: str, question: Question, t: int) -> list[Any]:
        """The last seconds' columns; viewers that ask the same share them."""
        found = []
        for second in range(t - _AGAIN + 1, t + 1):
            kept = self._columns.get((text, second))
            if kept is None or kept[0] < time.monotonic() - 0.5:
                kept = time.monotonic(), self._recent.column(question, second)
                self._columns = {key: each for key, each in self._columns.items() if key[1] > t - _AGAIN}
                self._columns[text, second] = kept
            found.append([second, kept[1]])
        return found


def _question(text: str) -> Question:
    return question_of(text)


def _number(request: web.Request, name: str) -> int:
    try:
        return int(float(request.query[name]))
    except (KeyError, ValueError, OverflowError):
        raise QuestionError(f"{name} has to be a number") from None


async def _answered(make: Callable[[], Any]) -> web.Response:
    """Answer in a thread: a question to the store may take a second, and the streams go on meanwhile."""
    try:
        body = await asyncio.to_thread(lambda: json.dumps(make(), separators=(",", ":")))
    except QuestionError as error:
        return web.Response(status=HTTPStatus.BAD_REQUEST, text=f"{error}\n")
    except StoreError as error:
        return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text=f"{error}\n")
    return web.Response(body=body.encode(), content_type="application/json")
