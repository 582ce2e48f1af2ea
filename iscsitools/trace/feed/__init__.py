"""The server's side of the live trace, driven by the event loop; it blocks on no reader and trusts none."""

from iscsitools.trace.feed.event_loop import EventLoop
from iscsitools.trace.feed.questions import SelfDescription
from iscsitools.trace.feed.service import TraceServer

__all__ = ["EventLoop", "SelfDescription", "TraceServer"]
