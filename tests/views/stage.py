"""A trace server without a target: it plays a script's calls on its own event loop.

As a program, ``python -m views.stage NAME SECONDS``, it repeats a load of reads and writes for the live screen's test.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo
from iscsitools.server.loop import Loop
from iscsitools.trace.client.attach import attach
from iscsitools.trace.client.recording import Recorder
from iscsitools.trace.feed.service import TraceServer

from .traffic import TARGET, Script, connection

SESSION = {
    "id": "1",
    "initiator": "iqn.2026-11.example:a",
    "alias": "",
    "addresses": ["192.0.2.7:40001"],
    "target": TARGET,
    "isid": "400001370000",
    "tsih": "0x0001",
    "age": 3725.5,
    "chap": "backup",
    "header_digest": "CRC32C",
    "data_digest": "None",
    "luns": [0, 1, 2, 300],
    "commands": 154,
    "read_bytes": 1048576,
    "written_bytes": 4096,
    "keys": {"MaxBurstLength": 262144, "FirstBurstLength": 65536, "ImmediateData": "Yes", "InitialR2T": "Yes"},
    "trouble": [],
}


class State:
    """What the server says of itself: one session, three commands under way."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def connections(self) -> list[ConnectionInfo]:
        return []

    def sessions(self) -> list[dict[str, Any]]:
        return [SESSION]

    def status(self) -> dict[str, Any]:
        who = {"remote": "192.0.2.7:40001", "initiator": "iqn.2026-11.example:a", "target": TARGET}
        under_way = [{**who, "lun": 0, "commands": 3}]
        return {"sessions": 1, "cpu": time.process_time(), "in_flight": under_way}

    def drop(self, session: str) -> bool:
        self.dropped.append(session)
        return session == "1"

    def shut_down(self) -> None:
        raise AssertionError("no command of the views ends a server")


class Stage:
    """Runs in a thread; ``now`` is the probes' clock."""

    def __init__(self, name: str = "stage", directory: Path | None = None) -> None:
        self.now = 1
        self.loop = Loop()
        self.probes = Probes(lambda: self.now)
        self.state = State()
        self.server = TraceServer(self.probes, name, directory, state=self.state, clock=lambda: self.now)
        self.server.register(self.loop)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)

    @property
    def watch(self) -> str:
        return os.fspath(self.server.paths.watch)

    def play(self, script: Script) -> None:
        """Fire all calls on the loop's thread, each at its own time; returns when that is done."""

        def fire() -> None:
            for call in script.calls:
                self.now = call.time
                call.fire(self.probes)

        self.call(fire)

    def call(self, action: Any) -> None:
        done = threading.Event()

        def run() -> None:
            action()
            done.set()

        self.loop.call_soon(run)
        assert done.wait(30)

    def stop(self) -> None:
        def end() -> None:
            self.server.close()
            self.loop.stop()

        self.loop.call_soon(end)
        self._thread.join(30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self.stop()


def record(stage: Stage, script: Script, path: Path) -> Path:
    """What ``record`` does, with a ring large enough."""
    with attach(socket=stage.watch) as trace, path.open("wb") as out:
        recorder = Recorder(out, trace.server, {})
        stage.play(script)
        while trace.position < len(script.calls):
            recorder.write(trace, trace.read_block(5))
        recorder.finish(trace.drops)
    return path


def main(name: str) -> None:
    """Serve until killed: LUN 0 is read by one client, LUN 1 is written by another, each 20 times a tick."""
    stage = Stage(name)
    one, two = connection(1), connection(2, "[2001:db8::7]:51000", "0x0002")

    def tick() -> None:
        script = Script(now=time.monotonic_ns())
        for _ in range(20):
            script.read(one, 8)
            script.write(two, 8, lun=1)
        for call in script.calls:
            stage.now = call.time
            call.fire(stage.probes)
        stage.loop.call_later(0.1, tick)

    stage.loop.call_later(0.1, tick)
    print("ready", flush=True)
    stage.loop.run()


if __name__ == "__main__":
    main(sys.argv[1])
