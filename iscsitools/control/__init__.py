"""Changing a running server from Python: :class:`Control` speaks to its control socket (docs/control.md)."""

from iscsitools.control.client import Applied, Running
from iscsitools.control.protocol import Code, ControlError, InUse
from iscsitools.control.requests import Control

__all__ = ["Applied", "Code", "Control", "ControlError", "InUse", "Running"]
