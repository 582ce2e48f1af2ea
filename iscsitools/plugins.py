"""Finding, checking and loading plugins. One that fails is named, logged and skipped; the others work."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pluggy

from iscsitools import __version__, hookspecs
from iscsitools.authenticators import Authenticator
from iscsitools.backstores import builtin
from iscsitools.backstores.base import API_VERSION, BackstoreError
from iscsitools.backstores.registry import Registry, is_name
from iscsitools.backstores.spec import parse_options
from iscsitools.errors import RunError, UserError
from iscsitools.lifecycle import HookCall
from iscsitools.observers import Observer, mask_of

if TYPE_CHECKING:
    import click

log = logging.getLogger(__name__)

GROUP: Final = "iscsitools"
"""The entry-point group, and pluggy's project name."""


class PluginError(Exception):
    """A plugin cannot be used; the text is one line that says why."""


@dataclass(slots=True)
class LoadedPlugin:
    """A plugin that was found. ``status`` is ``loaded`` or ``failed``, then ``error`` says why in one line.

    ``provides`` lists what it has brought: ``backstore http``, ``filter cow``, ``command x``, ``authenticator y``,
    ``option z``, ``hook session_opened``.
    """

    name: str
    distribution: str
    version: str
    status: str = "loaded"
    error: str = ""
    provides: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class PluginManager:
    """All plugins of this process and what they have registered. ``load`` is called once."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.authenticators: dict[str, Authenticator] = {}
        self.commands: dict[str, click.Command] = {}
        self.plugins: list[LoadedPlugin] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)

    def load(self) -> None:
        """Load the built-in plugins, then those of installed distributions, by entry point, in order of names."""
        self.register(builtin, "builtin", "iscsitools", __version__)
        for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
            distribution = entry.dist.name if entry.dist else ""
            version = entry.dist.version if entry.dist else ""
            try:
                module = entry.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                reason = f"importing {entry.value} failed: {_one_line(error)}"
                self._failed(LoadedPlugin(entry.name, distribution, version), reason, error)
            else:
                self.register(module, entry.name, distribution, version)

    def register(self, module: object, name: str, distribution: str = "", version: str = "") -> LoadedPlugin:
        """Check one plugin and let it register what it brings: all of it, or nothing and ``status`` is ``failed``."""
        plugin = LoadedPlugin(name, distribution, version)
        registry = self.registry
        before = (
            dict(registry.backstores), dict(registry.filters), dict(registry.plugin_options),
            dict(self.authenticators), dict(self.commands),
        )  # fmt: skip
        try:
            self._check(module, plugin)
            self._manager.register(module, name)
            self._run_registrations(module, plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self._manager.is_registered(module) and self._manager.get_name(module) == name:
                self._manager.unregister(module)
            registry.backstores, registry.filters, registry.plugin_options, self.authenticators, self.commands = before
            self._failed(plugin, _one_line(error), error)
        else:
            self.plugins.append(plugin)
        return plugin

    def calls(self, hook: str) -> list[HookCall]:
        """Each plugin's implementation of ``hook``, in the order of loading, to be called by argument names."""
        found: list[HookCall] = []
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            found.append((implementation.plugin_name, _accepting(implementation.function, implementation.argnames)))
        return found

    def add_commands(self, group: click.Group) -> None:
        """Add the plugins' commands to ``group``; one whose name is taken there is left out, named and logged."""
        for name, command in self.commands.items():
            if name in group.commands:
                owner = next(p for p in self.plugins if f"command {name}" in p.provides)
                owner.provides.remove(f"command {name}")
                owner.error = f"there is already a command named {name!r}"
                log.error("plugin %s: %s", owner.name, owner.error)
            else:
                group.add_command(command, name)

    def configure(self, given: Mapping[str, Mapping[str, Any]]) -> None:
        """Give each plugin that implements ``configure`` the values of its options. ``given``: by plugin and option.

        One that raises is an error of the configuration, hence RunError, if that says something to this plugin;
        otherwise it is logged, and the others work.
        """
        for name, call in self.calls("configure"):
            known = self.registry.plugin_options.get(name, ())
            try:
                call(options=parse_options(name, known, given.get(name, {}), others=()))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                log.debug("plugin %s", name, exc_info=True)
                text = f"plugin {name}: {_one_line(error)}"
                if name in given:
                    raise RunError(text) from None
                log.error("%s", text)

    def agree(self, document: Mapping[str, Any]) -> None:
        """Ask the plugins whether a running server may have this configuration; raises RunError if one says no."""
        for name, call in self.calls("configuration_changing"):
            try:
                call(document=document)
            except Exception as error:
                log.debug("plugin %s", name, exc_info=True)
                raise RunError(f"plugin {name}: {_one_line(error)}") from None

    def observers(self) -> list[tuple[str, Observer]]:
        """Ask the plugins for their probe observers; returns (plugin's name, observer). For ``ObserverFeed``."""
        found: list[tuple[str, Observer]] = []
        for plugin, call in self.calls("observe_probes"):
            try:
                for observer in call() or ():  # type: ignore[attr-defined]
                    if not isinstance(observer, Observer):
                        raise PluginError(f"observe_probes returned {observer!r}, which has no probes and on_event")
                    mask_of(observer)
                    found.append((plugin, observer))
            except BaseException as error:
                log.error("plugin %s: observe_probes failed: %s", plugin, _one_line(error))
        return found

    def _check(self, module: object, plugin: LoadedPlugin) -> None:
        same = next((p for p in self.plugins if p.name == plugin.name and p.status == "loaded"), None)
        if same is not None:
            raise PluginError(f"there is already a plugin of this name, from {same.distribution or 'elsewhere'}")
        api = getattr(module, "ISCSITOOLS_API", None)
        if api is None:
            raise PluginError(f"it does not say ISCSITOOLS_API = {API_VERSION}")
        if type(api) is not int or api != API_VERSION:
            raise PluginError(f"it is for plugin API {api!r}, this is API {API_VERSION}")

    def _run_registrations(self, module: object, plugin: LoadedPlugin) -> None:
        provides = plugin.provides
        registrations: dict[str, tuple[str, Callable[[Any], str]]] = {
            "register_backstores": ("backstore", self._add_backstore),
            "register_filters": ("filter", self._add_filter),
            "register_authenticators": ("authenticator", self._add_authenticator),
            "register_commands": ("command", self._add_command),
            "register_options": ("option", partial(self._add_option, plugin.name)),
        }
        for caller in self._manager.get_hookcallers(module) or ():
            if not caller.has_spec():
                raise PluginError(f"there is no hook named {caller.name!r}")
            if caller.name not in registrations:
                provides.append(f"hook {caller.name}")
                continue
            noun, add = registrations[caller.name]

            def register(item: Any, noun: str = noun, add: Callable[[Any], str] = add) -> None:
                provides.append(f"{noun} {add(item)}")

            for name, call in self.calls(caller.name):
                if name == plugin.name:
                    call(register=register)

    def _add_backstore(self, cls: Any) -> str:
        self.registry.add_backstore(cls)
        return str(cls.kind)

    def _add_filter(self, cls: Any) -> str:
        self.registry.add_filter(cls)
        return str(cls.kind)

    def _add_authenticator(self, authenticator: object) -> str:
        if not isinstance(authenticator, Authenticator):
            raise PluginError(f"{authenticator!r} is no authenticator: it has not both name and secret_for")
        name = authenticator.name
        if not is_name(name):
            raise PluginError(f"an authenticator's name is a-z, 0-9, _ and -, not {name!r}")
        if name in self.authenticators:
            raise PluginError(f"there is already an authenticator named {name!r}")
        self.authenticators[name] = authenticator
        return str(name)

    def _add_option(self, plugin: str, option: Any) -> str:
        self.registry.add_plugin_option(plugin, option)
        return str(option.name)

    def _add_command(self, command: object) -> str:
        import click  # the server does without it

        if not isinstance(command, click.Command):
            raise PluginError(f"{command!r} is no click command")
        name = command.name
        if not name:
            raise PluginError(f"command {command!r} has no name")
        if name in self.commands:
            raise PluginError(f"there is already a command named {name!r}")
        self.commands[name] = command
        return name

    def _failed(self, plugin: LoadedPlugin, reason: str, error: BaseException) -> None:
        plugin.status, plugin.error, plugin.provides = "failed", reason, []
        self.plugins.append(plugin)
        origin = f" of {plugin.distribution} {plugin.version}" if plugin.distribution else ""
        log.error("plugin %s%s is not loaded: %s", plugin.name, origin, reason)
        log.debug("plugin %s", plugin.name, exc_info=error)


def _accepting(function: Callable[..., object], names: tuple[str, ...]) -> Callable[..., object]:
    """Call ``function`` with those arguments only that it takes, as pluggy does."""
    return lambda **arguments: function(*[arguments[name] for name in names])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, (PluginError, BackstoreError, UserError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
