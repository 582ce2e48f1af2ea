"""The server's side of the live trace, driven by the event loop; it blocks on no reader and trusts none."""

from iscsitools.trace.server.loop import Loop
from iscsitools.trace.server.service import TraceServer
from iscsitools.trace.server.state import State

__all__ = ["Loop", "State", "TraceServer"]
