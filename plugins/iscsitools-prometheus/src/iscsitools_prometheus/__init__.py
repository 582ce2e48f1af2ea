"""The plugin's module: names the API that it was written for, and what is exported when ``listen`` says where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from iscsitools.backstores import values
from iscsitools.backstores.base import Option
from iscsitools.hookspecs import hookimpl
from iscsitools.lifecycle import LoginNotice, LunNotice, ServerNotice, ServerView, SessionNotice

if TYPE_CHECKING:
    import click

    from iscsitools_prometheus.exporter import Exporter

ISCSITOOLS_API = 1

running: Exporter | None = None
"""The one of this process; None when nobody asked for any."""


@hookimpl
def register_options(register: Callable[[Option], None]) -> None:
    """Register what ``[plugin.prometheus]`` may say."""
    register(Option("listen", values.text, "", "ADDRESS:PORT to serve /metrics at; not given: nothing is exported"))
    register(Option("series", values.positive(values.integer), 500, "initiators times units with metrics of their own"))


@hookimpl
def register_commands(register: Callable[[click.Command], None]) -> None:
    """Register ``iscsitools prometheus``."""
    from iscsitools_prometheus.command import command

    register(command)


@hookimpl
def configure(options: Mapping[str, Any]) -> None:
    """Listen, so that an address that cannot be had keeps the server from starting."""
    global running
    running = None
    if options["listen"]:
        from iscsitools_prometheus.exporter import Exporter
        from iscsitools_prometheus.web import address_of

        running = Exporter(address_of(options["listen"]), options["series"])


@hookimpl
def server_started(server: ServerView) -> None:
    """Begin to count, and to answer."""
    if running is not None:
        running.start(server)


@hookimpl
def server_stopped(server: ServerNotice) -> None:
    """Answer no more."""
    if running is not None:
        running.stop()


@hookimpl
def lun_added(lun: LunNotice) -> None:
    """Give the unit metrics of its own."""
    if running is not None:
        running.totals.lun_added(lun)


@hookimpl
def lun_removed(lun: LunNotice) -> None:
    """Say no longer that it is there."""
    if running is not None:
        running.totals.lun_removed(lun)


@hookimpl
def session_opened(session: SessionNotice) -> None:
    """Count it."""
    if running is not None:
        running.totals.session_opened(session)


@hookimpl
def session_closed(session: SessionNotice) -> None:
    """Count it no longer."""
    if running is not None:
        running.totals.session_closed(session)


@hookimpl
def login_failed(login: LoginNotice) -> None:
    """Count it by its status; its names are anybody's, and no label."""
    if running is not None:
        running.totals.login_failed(login)
