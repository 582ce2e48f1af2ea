"""``iscsitools analytics``: attaches, keeps the history, and serves the page."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from aiohttp import web
from iscsitools.backstores import values
from iscsitools.errors import RunError, UsageError
from iscsitools.trace.names import ServerEntry, servers
from iscsitools.trace.protocol import TraceError

from iscsitools_analytics.access import Access, is_loopback, token_of
from iscsitools_analytics.commands import Buffer
from iscsitools_analytics.history import Recent
from iscsitools_analytics.playback import play
from iscsitools_analytics.series import Series
from iscsitools_analytics.service import Service
from iscsitools_analytics.store import LEAST_SIZE, Store, StoreError
from iscsitools_analytics.tally import Tally
from iscsitools_analytics.watcher import Watchers

log = logging.getLogger(__name__)

_PLACE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:]+)):(\d{1,5})")


@dataclass(slots=True)
class Options:
    """What the command line said."""

    names: tuple[str, ...]
    listen: str
    history: Path
    size: int
    commands: int
    read: Path | None
    hosts: tuple[str, ...]
    token: Path | None
    certificate: Path | None
    key: Path | None
    clients: Path | None


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on only
    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        try:
            size = values.size(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if size < LEAST_SIZE:
            self.fail(f"less than {LEAST_SIZE >> 20}M is no history.", param, ctx)
        return size


def _default_history() -> Path:
    """Where it is kept when nobody says otherwise; its folder is made. Raises RunError."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = Path(state).expanduser() / "iscsitools"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; --history FILE keeps the history elsewhere") from None
    return folder / "analytics.db"


_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command("analytics")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--listen",
    default="127.0.0.1:8765",
    metavar="ADDRESS:PORT",
    show_default=True,
    help="Where to serve the page; port 0 takes a free one.",
)
@click.option(
    "--history",
    type=_FILE,
    metavar="FILE",
    help="The file with the history, instead of ~/.local/state/iscsitools/analytics.db.",
)
@click.option(
    "--size", type=_Size(), default="200M", metavar="SIZE", show_default=True, help="How large the history may become."
)
@click.option(
    "--commands",
    type=click.IntRange(0, 60),
    default=0,
    metavar="MINUTES",
    help="Keep the commands of the last minutes too; costs the target what record costs.",
)
@click.option("--read", type=_FILE, metavar="FILE", help="Show a file of iscsitools record instead of servers.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A name by which browsers ask for the page.")
@click.option(
    "--token", type=_FILE, metavar="FILE", help="A file with the token that readers need; made when it is not there."
)
@click.option("--certificate", type=_FILE, metavar="FILE", help="Serve HTTPS with this certificate (PEM).")
@click.option("--key", type=_FILE, metavar="FILE", help="Its key, when it is not in the same file.")
@click.option("--clients", type=_FILE, metavar="FILE", help="Let in only browsers whose certificate one of these "
              "has signed (PEM).")  # fmt: skip
def command(**options: object) -> None:
    """Serve a page of live graphs, heat maps and history of the servers that run.

    NAME is a server; without one, and without the environment variable ISCSITOOLS_NAME, all are watched, those that
    start later too.
    """
    if not options["names"] and (name := os.environ.get("ISCSITOOLS_NAME")):
        options["names"] = (name,)
    if options["history"] is None:
        options["history"] = Path() if options["read"] is not None else _default_history()
    run(Options(**options))  # type: ignore[arg-type]


def run(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. Raises UsageError and RunError."""
    host, port = _place(options.listen)
    token = _token(options, host)
    tls = _tls(options)
    logging.basicConfig(format="iscsitools: %(message)s", level=logging.INFO)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    with ExitStack() as stack:
        if options.read is not None:
            options.history = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "recording.db"
        store = _store(options)
        stack.callback(store.close)
        recent = Recent()
        watchers, buffer, end = _sources(options, store, recent)
        access = Access({name.lower() for name in (*_own_names(host), *options.hosts)}, token)
        attached = (lambda: watchers.attached) if watchers is not None else list
        service = Service(store, recent, access, attached, buffer, end)
        if watchers is not None:
            stack.callback(watchers.stop)
        asyncio.run(_serve(service.application(), host, port, tls, token, watchers))


def _place(text: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise UsageError(f"--listen is {text!r}, and has to be ADDRESS:PORT or [IPV6]:PORT")
    return match[1] or match[2], int(match[3])


def _own_names(host: str) -> tuple[str, ...]:
    return ("localhost", "127.0.0.1", "::1", host) if is_loopback(host) else (host,)


def _token(options: Options, host: str) -> str:
    if options.token is not None:
        try:
            return token_of(options.token)
        except (OSError, ValueError) as error:
            raise RunError(f"{options.token}: {getattr(error, 'strerror', None) or error}") from None
    if not is_loopback(host) and options.clients is None:
        raise UsageError(f"to listen on {host}, where others can connect, give --token FILE or --clients FILE")
    return ""


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.certificate is None:
        if options.key is not None or options.clients is not None:
            raise UsageError("--key and --clients need --certificate")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.certificate, options.key)
        if options.clients is not None:
            context.load_verify_locations(options.clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise RunError(f"{options.certificate}: {error.strerror or error}") from None
    return context


def _store(options: Options) -> Store:
    try:
        return Store(options.history, options.size)
    except OSError as error:
        raise RunError(f"{options.history}: {error.strerror}") from None
    except StoreError as error:
        raise RunError(str(error)) from None


def _sources(options: Options, store: Store, recent: Recent) -> tuple[Watchers | None, Buffer | None, int]:
    """What is watched, where commands are kept, and where a recording ends."""
    if options.read is not None:
        buffer = Buffer(0)
        try:
            return None, buffer, play(options.read, store, buffer)
        except TraceError as error:
            raise RunError(str(error)) from None
    broken: set[str] = set()

    def tell(server: str, t: int, counted: Mapping[Series, Tally], since: int) -> None:
        recent.add(server, t, counted)
        try:
            store.add(server, t, counted, since)
            if broken:
                log.info("%s: the history is kept again", options.history)
            broken.clear()
        except StoreError as error:
            if str(error) not in broken:  # what is live goes on
                broken.add(str(error))
                log.warning("%s; nothing is kept until it works again", error)

    missed: set[str] = set()

    def find() -> list[ServerEntry]:
        running = {entry.name: entry for entry in servers()}
        absent = {f"no server is named {name!r}" for name in options.names if name not in running}
        if not options.names and not running:
            absent = {"no server runs"}
        for line in sorted(absent - missed):
            log.info("%s: one that starts is attached to", line)
        missed.update(absent)
        return [entry for name, entry in running.items() if not options.names or name in options.names]

    kept = Buffer(options.commands * 60) if options.commands else None
    return Watchers(tell, find, kept), kept, 0


async def _serve(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None, token: str, watchers: Watchers | None
) -> None:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls, shutdown_timeout=1)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise RunError(f"listen on {host} port {port}: {os.strerror(error.errno) if error.errno else error}") from None
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bound = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    click.echo(
        f"iscsitools analytics at {'https' if tls else 'http'}://{shown}:{bound}/{f'#token={token}' if token else ''}"
    )
    with suppress(OSError):
        sys.stdout.flush()
    if watchers is not None:
        watchers.start()
    await stop.wait()
    await runner.cleanup()
