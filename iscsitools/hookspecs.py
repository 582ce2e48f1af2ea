"""The hooks of iscsitools. This module only declares them; each docstring is the contract.

A plugin is a module named by an entry point of group ``iscsitools``. It says ``ISCSITOOLS_API = 1`` and marks its
functions with :data:`hookimpl`; arguments that it has no use for may be left out. See ``docs/plugins.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from iscsitools.authenticators import Authenticator
    from iscsitools.backstores.base import Backstore, Filter
    from iscsitools.observers import Observer, SessionNotice, TargetNotice

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
def observe_probes() -> Iterable[Observer]:  # type: ignore[empty-body]
    """Return the observers of probe events, asked for once when a server starts.

    Each has a thread of its own in which it gets copies of the events, in order, some time after they happened; it can
    neither delay nor change anything. When it is too slow, events are dropped and counted.
    """


@hookspec
def target_started(target: TargetNotice) -> None:
    """A target now accepts logins. Called outside the data path, in a thread that all lifecycle hooks share."""


@hookspec
def target_stopped(target: TargetNotice) -> None:
    """A target accepts no logins any more. Called as ``target_started`` is."""


@hookspec
def session_opened(session: SessionNotice) -> None:
    """A session has reached the full feature phase. Called as ``target_started`` is."""


@hookspec
def session_closed(session: SessionNotice) -> None:
    """A session has ended, whatever the reason. Called as ``target_started`` is."""
