"""The live view: what the probes see, for programs that attach to a running target.

::

    from iscsitools import trace

    with trace.attach(probes=["scsi-command"]) as events:
        for event in events:
            print(event.conn.remote, event.info.lun, event.cdb.hex())
"""

from iscsitools.trace.client.attach import Sums, WatchedServer, attach
from iscsitools.trace.client.recording import FileTrace, Recorder, open_file
from iscsitools.trace.client.source import Trace
from iscsitools.trace.events import ConnectionStrings, Event
from iscsitools.trace.names import servers
from iscsitools.trace.protocol import TraceError
from iscsitools.trace.sums.snapshot import CommandRow, EventRow, Snapshot

__all__ = [
    "CommandRow",
    "ConnectionStrings",
    "Event",
    "EventRow",
    "FileTrace",
    "Recorder",
    "Snapshot",
    "Sums",
    "Trace",
    "TraceError",
    "WatchedServer",
    "attach",
    "open_file",
    "servers",
]
