"""Questions of other threads to the event loop, and what becomes of those that it does not come to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iscsitools.control import Code, Control, ControlError
from iscsitools.lifecycle import ServerGone
from iscsitools.server import loop_calls
from iscsitools.server.loop_calls import LoopCalls

from .harness import one_target, running


class HeldLoop:
    """Calls when the test says so, or in a thread that waits meanwhile."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)


def test_a_question_that_was_given_up_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a change would be made of which its author has said that it failed."""
    monkeypatch.setattr(loop_calls, "_ANSWER_SECONDS", 0)
    loop, asked = HeldLoop(), []
    with pytest.raises(ServerGone, match="does not answer"):
        LoopCalls(loop).ask(lambda: asked.append(1))  # type: ignore[arg-type]
    (call,) = loop.calls
    call()
    assert asked == []


def test_a_question_that_is_being_asked_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_calls, "_ANSWER_SECONDS", 0)
    begun, go = threading.Event(), threading.Event()

    class BusyLoop:
        def call_soon(self, call: Callable[[], None]) -> None:
            threading.Thread(target=call).start()
            begun.wait()  # before who asks begins to wait

    def question() -> str:
        begun.set()
        go.wait()
        return "answer"

    found: list[str] = []
    asker = threading.Thread(target=lambda: found.append(LoopCalls(BusyLoop()).ask(question)))  # type: ignore[arg-type]
    asker.start()
    begun.wait()
    go.set()
    asker.join()
    assert found == ["answer"]


def test_a_control_request_that_the_loop_did_not_come_to_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client heard signs of life for ever."""
    with running(tmp_path, one_target("ram:1M", more='name = "held"')), Control("held") as control:

        def gone(self: LoopCalls, question: Callable[[], Any]) -> Any:
            raise ServerGone("the server does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(LoopCalls, "ask", gone)
            with pytest.raises(ControlError, match="the server does not answer") as caught:
                control.health()
        assert caught.value.code is Code.FAILED
        assert control.health()["state"] == "ok"
