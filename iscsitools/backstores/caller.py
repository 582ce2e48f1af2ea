"""For whom a backstore is called: the name of the initiator whose command a worker thread is at.

The event loop sets none, because it answers commands at a rate at which that would count. A filter that wants to know
says so by ``blocking``, and is then called in threads only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Caller(threading.local):
    name = ""


_caller = _Caller()


def caller() -> str:
    """The initiator's name; empty where nobody knows: on the event loop, and in calls that no command is behind."""
    return _caller.name


def call_for(name: str, work: Callable[[], object]) -> None:
    """Do ``work`` in the name of an initiator."""
    _caller.name = name
    try:
        work()
    finally:
        _caller.name = ""
