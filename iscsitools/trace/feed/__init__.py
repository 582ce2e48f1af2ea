"""The server's side of the live trace, driven by the event loop; it blocks on no reader and trusts none."""

from iscsitools.trace.feed.loop import Loop
from iscsitools.trace.feed.service import TraceServer
from iscsitools.trace.feed.state import State

__all__ = ["Loop", "State", "TraceServer"]
