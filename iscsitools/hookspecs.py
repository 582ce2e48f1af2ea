"""The hooks of iscsitools. This module only declares them; each docstring is the contract.

A plugin is a module named by an entry point of group ``iscsitools``. It says ``ISCSITOOLS_API = 1`` and marks its
functions with :data:`hookimpl`; arguments that it has no use for may be left out. See ``docs/plugins.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from iscsitools.authenticators import Authenticator
    from iscsitools.backstores.base import Backstore, Filter, Option
    from iscsitools.lifecycle import (
        LoginNotice,
        LunNotice,
        ServerNotice,
        ServerView,
        SessionNotice,
        TargetNotice,
    )
    from iscsitools.observers import Observer

hookspec = pluggy.HookspecMarker("iscsitools")
hookimpl = pluggy.HookimplMarker("iscsitools")
"""Marks a plugin's function as the implementation of the hook of the same name."""


@hookspec
def register_backstores(register: Callable[[type[Backstore]], None]) -> None:
    """Call ``register(cls)`` for each backstore class. A ``kind`` that is taken makes this plugin fail to load."""


@hookspec
def register_filters(register: Callable[[type[Filter]], None]) -> None:
    """Call ``register(cls)`` for each filter class. A ``kind`` that is taken makes this plugin fail to load."""


@hookspec
def register_commands(register: Callable[[click.Command], None]) -> None:
    """Call ``register(command)`` for each click command or group to add to ``iscsitools``.

    A name that another plugin has taken makes this plugin fail to load; one that ``iscsitools`` itself has is left out.
    """


@hookspec
def register_authenticators(register: Callable[[Authenticator], None]) -> None:
    """Call ``register(authenticator)`` for each source of CHAP secrets. A ``name`` that is taken fails the plugin."""


@hookspec
def register_options(register: Callable[[Option], None]) -> None:
    """Call ``register(option)`` for each option of the plugin itself.

    They are given as ``[plugin.NAME]`` in a configuration and ``--plugin NAME,key=value`` on the command line, NAME
    being the entry point's, and are checked as those of a backstore are. ``configure`` gets their values.
    """


@hookspec
def configure(options: Mapping[str, Any]) -> None:
    """Take the value of every option, the default where none was given.

    Called once in a process that serves, before anything is opened and before ``observe_probes``; authenticators,
    observers and the other hooks of the plugin can rely on it. An exception, whose text should be one line for the
    user, keeps the server from starting if the configuration says something to this plugin; otherwise it is logged.
    """


@hookspec
def configuration_changing(document: Mapping[str, Any]) -> None:
    """A running server is about to have another configuration: return to agree, raise to have it refused.

    ``document`` is all of it, as ``iscsitools get`` shows it; it is the caller's. Called in the control thread, one
    change after the other, when stores are open and portals bound and nothing is changed yet; whoever asked for the
    change waits, and gets the exception's text. The change may still fail after that.
    """


@hookspec
def observe_probes() -> Iterable[Observer]:  # type: ignore[empty-body]
    """Return the observers of probe events, asked for once when a server starts.

    Each has a thread of its own in which it gets copies of the events, in order, some time after they happened; it can
    neither delay nor change anything. When it is too slow, events are dropped and counted.
    """


@hookspec
def server_started(server: ServerView) -> None:
    """The server accepts connections. ``server`` may be asked from any thread of the plugin's until it stops.

    Called before ``target_started`` of its targets, outside the data path, in a thread that all lifecycle hooks share.
    """


@hookspec
def server_stopped(server: ServerNotice) -> None:
    """The server has closed its connections and ends; the last of all hooks. Called as ``server_started`` is.

    What has to be finished has about a second for it.
    """


@hookspec
def target_started(target: TargetNotice) -> None:
    """A target now accepts logins. Called as ``server_started`` is."""


@hookspec
def target_stopped(target: TargetNotice) -> None:
    """A target accepts no logins any more. Called as ``server_started`` is."""


@hookspec
def lun_added(lun: LunNotice) -> None:
    """A logical unit can be used from now on. Called as ``server_started`` is, after its target's start."""


@hookspec
def lun_removed(lun: LunNotice) -> None:
    """A logical unit cannot be used any more. Called as ``server_started`` is, before its target's stop."""


@hookspec
def login_failed(login: LoginNotice) -> None:
    """A login was answered with a status that ends it. Called as ``server_started`` is.

    Whoever connects can make this happen as often as he likes: be quick, and keep nothing without a bound.
    """


@hookspec
def session_opened(session: SessionNotice) -> None:
    """A session has reached the full feature phase. Called as ``server_started`` is."""


@hookspec
def session_closed(session: SessionNotice) -> None:
    """A session has ended, whatever the reason. Called as ``server_started`` is."""
