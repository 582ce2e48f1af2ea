"""The plugin's module: names the API that it was written for, and registers the ``rbd`` backstore."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from iscsitools.backstores import values
from iscsitools.backstores.base import Backstore, Option
from iscsitools.hookspecs import hookimpl
from iscsitools.lifecycle import ServerView

from iscsitools_rbd.backstore import RbdBackstore
from iscsitools_rbd.ceph import Account
from iscsitools_rbd.configuration import Server, SharedConfiguration

ISCSITOOLS_API = 1
_shared: SharedConfiguration | None = None


@hookimpl
def register_backstores(register: Callable[[type[Backstore]], None]) -> None:
    """Register ``rbd``."""
    register(RbdBackstore)


@hookimpl
def register_options(register: Callable[[Option], None]) -> None:
    """Register what a server that is one of several heads is told."""
    register(
        Option("head", values.integer, 0, "the number of this head, of all images whose head is not said; 0: none")
    )
    register(
        Option("heads", values.text, "", "POOL[/NAMESPACE] where the heads keep one configuration; empty: nowhere")
    )
    register(Option("conf", values.path, "", "Ceph's configuration file for that, instead of the usual one"))
    register(Option("user", values.text, "admin", "the Ceph user for that, without client."))


@hookimpl
def configure(options: Mapping[str, Any]) -> None:
    """Take the head's number, and where the heads keep their configuration."""
    global _shared
    if options["head"] < 0 or (options["heads"] and not options["head"]):
        raise ValueError("head is a number from 1 on, and heads needs one")
    RbdBackstore.head_of_server = options["head"]
    if options["heads"]:
        _shared = SharedConfiguration(
            Account(options["conf"], options["user"], 10.0), options["heads"], options["head"]
        )


@hookimpl
def server_started(server: ServerView) -> None:
    """Share the configuration from now on."""
    if _shared is not None:
        _shared.begin(Server(server.notice.name))


@hookimpl
def configuration_changing(document: Mapping[str, Any]) -> None:
    """Have all heads agree, or none."""
    if _shared is not None:
        _shared.changing(document)


@hookimpl
def server_stopped() -> None:
    """Share nothing any more."""
    if _shared is not None:
        _shared.end()
