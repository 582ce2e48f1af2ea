"""``iscsitools serve --takeover``: which server it takes over from, and what it serves then."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from iscsitools.config import Config
from iscsitools.config.load import config_of
from iscsitools.control import Control
from iscsitools.errors import RunError, UsageError, UserError
from iscsitools.plugins import PluginManager
from iscsitools.server.takeover import Predecessor, take_over

Given = tuple[Config, tuple[str, ...]]


def from_running(
    name: str | None, plugins: PluginManager, given: Callable[[], Given] | None, top: dict[str, Any]
) -> tuple[Config, tuple[str, ...], Predecessor]:
    """Take over from the server of that name, or the only one; returns a configuration, its warnings, and that server.

    ``given`` reads a configuration that was given; None: what the running server serves. ``top``: keys in the place of
    those. Everything is checked before that server is disturbed. Raises UserError, and then it goes on.
    """
    with Control(name) as control:
        if given is None:
            running = control.get()
            os.chdir(running.folder)  # relative paths are of that folder
            config, warnings = _of(running.document, plugins, top)
        else:
            config, warnings = given()
        if config.name not in (None, control.name):
            raise UsageError(f"the running server is named {control.name!r}, not {config.name!r}")
        predecessor = take_over(control)
        try:
            if given is None:  # it may have been changed meanwhile
                config, warnings = _of(predecessor.heritage.document, plugins, top)
        except UserError as error:
            predecessor.failed(error)
            raise
        except BaseException as error:
            predecessor.failed(RunError(f"{type(error).__name__}: {error}"))
            raise
    return replace(config, name=control.name), warnings, predecessor


def _of(document: dict[str, Any], plugins: PluginManager, top: dict[str, Any]) -> Given:
    tables = {**document.get("plugin", {}), **top.get("plugin", {})}
    whole = {**document, **top, **({"plugin": tables} if tables else {})}
    return config_of(whole, plugins.registry, {}, plugins.authenticators)
