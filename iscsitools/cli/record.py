"""``iscsitools record``: write a server's events to a file."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import BinaryIO

import click

from iscsitools.cli.options import FILTER, SECONDS, SERVER, take_source
from iscsitools.cli.watching import one_server, trace_errors
from iscsitools.errors import RunError, UsageError
from iscsitools.probes.table import BY_LABEL
from iscsitools.trace import Recorder, Trace, WatchedServer, attach
from iscsitools.trace.client.record_state import Describer
from iscsitools.trace.selection import Selection, mask_of
from iscsitools.trace.views.watch import EndRequest

_RING_BYTES = 32 << 20
_LOOK = 0.2
"""Seconds after which a wait for events looks whether it has to stop."""


@click.command()
@click.argument("seconds", type=SECONDS, required=False)
@click.option("-o", "--output", metavar="FILE", required=True, help="The file to write; - is standard output.")
@SERVER
@FILTER
@click.option("--probe", "probes", multiple=True, metavar="NAME", help="Only this event; may be given several times.")
@click.option(
    "--ring-size", type=click.IntRange(1, 64), default=_RING_BYTES >> 20, show_default=True, metavar="MIB",
    help="Memory for events that are not written yet.",
)  # fmt: skip
def command(
    seconds: float | None,
    output: str,
    name: str | None,
    socket: str | None,
    client: str | None,
    target: str | None,
    lun: int | None,
    probes: tuple[str, ...],
    ring_size: int,
) -> None:
    """Write all events to a file, until Ctrl-C or for SECONDS; the watching commands read it with --read.

    Prints how many events were written, and how many were lost because the disk was too slow.
    """
    if unknown := [probe for probe in probes if probe not in BY_LABEL]:
        raise UsageError(f"no probe is named {unknown[0]!r} (iscsitools probes lists them)")
    selection = Selection(mask_of(probes or None), client, target, lun)
    asked = take_source({"name": name, "socket": socket})
    one_server(asked)
    try:
        with trace_errors(), ExitStack() as stack:
            server = stack.enter_context(WatchedServer(asked.name, asked.socket))
            source = stack.enter_context(
                attach(None, server.path, probes or None, client, target, lun, ring_size=ring_size << 20)
            )
            recorder = Recorder(stack.enter_context(_open(output)), source.server, selection.to_json())
            describer = Describer(server, recorder, selection)
            stop = stack.enter_context(EndRequest())
            click.echo(f"Recording to {output}... Hit Ctrl-C to end.", err=True)
            _record(source, recorder, describer, stop, seconds)
            if source.ended and not stop.asked:
                click.echo("iscsitools: the server is gone", err=True)
    except BrokenPipeError:
        raise  # the reader of standard output has left, which ends any command quietly
    except OSError as error:
        raise RunError(f"{output}: {error.strerror}") from None
    drops = f", {source.drops} drops" if source.drops else ""
    click.echo(f"iscsitools: {recorder.events} events{drops}", err=True)


def _open(output: str) -> BinaryIO:
    if output == "-":
        return open(sys.stdout.fileno(), "wb", closefd=False)
    # Names of initiators and what they do are nobody else's business, whatever the umask is.
    return open(output, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))


def _record(source: Trace, recorder: Recorder, describer: Describer, stop: EndRequest, seconds: float | None) -> None:
    """Copy blocks until told to stop; then what the ring still holds of the time before."""
    describer.ask()
    end = None if seconds is None else time.monotonic() + seconds
    while not source.ended and not stop.asked and (end is None or time.monotonic() < end):
        left = _LOOK if end is None else min(_LOOK, max(0.0, end - time.monotonic()))
        recorder.write(source, source.read_block(left))
        describer.look()
    last = time.monotonic_ns()
    while block := source.read_block(0):
        recorder.write(source, block)
        if time.monotonic_ns() - last > 1_000_000_000:  # a server under load never leaves the ring empty
            break
    describer.ask()
    recorder.finish(source.drops)
