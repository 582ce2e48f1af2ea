"""``iscsitools serve``: starts a target."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iscsitools import __version__
from iscsitools.backstores.spec import without_password
from iscsitools.cli.logs import set_up_logging
from iscsitools.cli.output import size_text
from iscsitools.cli.run_beside import RunBeside
from iscsitools.config import AuthMethod, Config, LunConfig, PortalConfig, TargetConfig, load_config
from iscsitools.config.commandline import config_from_options
from iscsitools.config.plugins import plugin_tables
from iscsitools.config.schema import DATA_PATHS, LOG_FORMATS, LOG_LEVELS, PROVIDERS
from iscsitools.control.plan import FIXED, plan
from iscsitools.errors import UsageError, UserError
from iscsitools.plugins import PluginManager

if TYPE_CHECKING:
    from iscsitools.server.server import Server
    from iscsitools.server.takeover import Predecessor


class OrderedCommand(click.Command):
    """Keeps in ``ctx.meta`` the order in which --iqn and --lun stood: a LUN belongs to the target before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse once more beforehand, only for the order, which click does not hand on."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        waiting = {name: list(values.get(name) or ()) for name in ("iqn", "lun")}
        ctx.meta["iscsitools.ordered"] = [(p.name, waiting[p.name].pop(0)) for p in order if p.name in waiting]
        return super().parse_args(ctx, args)


@click.command(cls=OrderedCommand)
@click.option("--config", "file", type=click.Path(), help="Read this TOML file instead of --iqn and --lun.")
@click.option(
    "--portal",
    "portals",
    multiple=True,
    metavar="ADDR:PORT",
    help="Listen here; may be given several times.  [default: 127.0.0.1:3260]",
)
@click.option(
    "--iqn",
    multiple=True,
    expose_value=False,
    metavar="NAME",
    help="A target; each --lun after it is one of its disks.",
)
@click.option(
    "--lun",
    multiple=True,
    expose_value=False,
    metavar="[N=]KIND:WHAT[,KEY=VALUE]...",
    help="A disk, as file:disk.img,size=1G or 1=ram:64M,block_size=4096.",
)
@click.option("--name", help="Name of the server, for the commands that watch it.")
@click.option("--state", type=click.Path(), help="Keep here what is changed while it serves, and start from it.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="The least important log lines to write.")
@click.option("--log-format", type=click.Choice(LOG_FORMATS), help="Log lines for people, or JSON.")
@click.option("--takeover", is_flag=True, help="Take over all that a running server serves, and let that one end.")
@click.option("--run", metavar="COMMAND", help="Run this while it serves, and end with its exit status.")
@click.option("--plugin", multiple=True, metavar="NAME[,KEY=VALUE]...", help="Options of a plugin.")
@click.option("--provider", type=click.Choice(PROVIDERS), help="Tracers that the probes serve.  [default: auto]")
@click.option("--data-path", type=click.Choice(DATA_PATHS), help="What moves the data.  [default: auto]")
@click.option("--threads", metavar="N|auto", help="Threads that move data, 1 to 64.  [default: auto]")
@click.pass_context
def command(
    ctx: click.Context, file: str | None, portals: tuple[str, ...], name: str | None, state: str | None,
    log_level: str | None, log_format: str | None, takeover: bool, run: str | None, plugin: tuple[str, ...],
    provider: str | None, data_path: str | None, threads: str | None,
) -> int:  # fmt: skip
    """Serve disks over iSCSI.

    Without --config, --iqn and --lun it serves a sparse file of 1 GiB in your data directory, which is made if it is
    not there, on 127.0.0.1:3260.

    Options of every LUN: block_size, physical_block_size, readonly, thin, removable, cache (writeback or
    writethrough), serial, naa, reservations (aptpl or keep). Those of backstores and filters: iscsitools backstores;
    those of plugins: iscsitools plugins.

    With --state (or state in the file), what `iscsitools apply` and the other commands change is kept there,
    and without --config, --iqn and --lun it serves what was kept. A configuration that is given wins, and the log says
    what of the kept one it overrides.

    With --run, the shell runs COMMAND once connections are accepted; when it has ended, the server ends too. In its
    environment are ISCSITOOLS_URL (of the first LUN), ISCSITOOLS_PORTAL and ISCSITOOLS_NAME. What the server itself
    prints goes to standard error then.

    With --takeover it takes over from the server that runs (--name says from which): its listening sockets, disks,
    reservations and all other state; initiators log in anew once. Without --config, --iqn and --lun it serves what
    that one serves. When this one cannot serve, the running one goes on. SIGUSR2 has a server start such a process
    itself, of the version that is installed then.

    SIGINT and SIGTERM end it cleanly: initiators are asked to log out, running commands finish, data is flushed. A
    second one waits for nobody. Closing the terminal ends it too, except under nohup. SIGHUP sent by hand has the sizes
    of all disks read anew, after a file was made longer, say; initiators are told that the capacity has changed.

    Exit status: 0, or that of --run; 1 when it could not start, when a call of a backstore had not returned at the end,
    or when a disk could not be flushed then, so that written data may be lost; 2 for wrong options.
    """
    if run is not None and not run.strip():
        raise UsageError("--run: the command is empty, and would end the server at once")
    set_up_logging(log_level or "info", log_format or "text")
    plugins = PluginManager()
    plugins.load()
    named = {
        "portals": list(portals),
        "name": name,
        "state": state,
        "log_level": log_level,
        "log_format": log_format,
        "provider": provider,
        "data_path": data_path,
        "threads": threads,
        "plugin": plugin_tables(plugin),
    }
    top = {key: value for key, value in named.items() if value not in (None, [], {})}
    given = GivenConfig(file, ctx.meta["iscsitools.ordered"], top, plugins)
    if not takeover:
        return start(*given.or_kept(state), plugins, run)
    if run is not None:
        raise UsageError("--takeover and --run cannot be given together")
    from iscsitools.cli.take_over import from_running

    config, warnings, predecessor = from_running(name, plugins, given.config if given else None, top)
    return start(config, warnings, plugins, None, predecessor)


@dataclass(frozen=True, slots=True)
class GivenConfig:
    """What the command line says of the configuration; false: it names none.

    ``ordered``: --iqn and --lun as they stood; ``top``: keys of the file's first level that options stand for.
    """

    file: str | None
    ordered: Sequence[tuple[str, str]]
    top: dict[str, Any]
    plugins: PluginManager

    def __bool__(self) -> bool:
        return bool(self.file or self.ordered)

    def config(self) -> tuple[Config, tuple[str, ...]]:
        """The configuration that it says or names, and warnings of it."""
        if self.file is None:
            return config_from_options(self.ordered, self.top, self.plugins.registry)
        if self.ordered:
            raise UsageError("--iqn and --lun cannot be given together with --config, which says the same")
        return load_config(self.file, self.plugins.registry, self.plugins.authenticators, self.top)

    def or_kept(self, state: str | None) -> tuple[Config, tuple[str, ...]]:
        """The same, or what was kept in ``state`` if it names none."""
        kept = kept_state(state) if state and not self else None
        if kept is not None:
            return load_config(kept, self.plugins.registry, self.plugins.authenticators, self.top)
        config, warnings = self.config()
        return config, (*warnings, *overridden(config, self.plugins))


def kept_state(folder: str) -> Path | None:
    """The configuration that a server has kept in its state; None: there is none yet."""
    from iscsitools.server.state_file import state_path

    path = state_path(folder)
    return path if path.exists() else None


def overridden(config: Config, plugins: PluginManager) -> list[str]:
    """A line for each difference of a configuration that is given to the one that was kept."""
    kept = kept_state(config.state) if config.state else None
    if kept is None:
        return []
    try:
        before, _ = load_config(kept, plugins.registry, plugins.authenticators)
    except UserError as error:
        return [f"the kept configuration is overridden, which cannot be read: {error}"]
    changes = plan(before, replace(config, **{name: getattr(before, name) for name in FIXED}), plugins.registry)
    return [f"overrides what was kept in {kept}: {change.text}" for change in changes]


def start(
    config: Config, warnings: Sequence[str], plugins: PluginManager, run: str | None = None,
    predecessor: Predecessor | None = None,
) -> int:  # fmt: skip
    """Serve until told to stop, or until the command ``run`` has ended; returns the exit status.

    ``predecessor``: the server that this one takes over from.
    """
    # Imported once there is something to serve: wrong options are told sooner.
    from iscsitools.server.log_queue import LogQueue
    from iscsitools.server.main import serve

    set_up_logging(config.log_level, config.log_format, make_handler=LogQueue)
    for warning in warnings:
        logging.getLogger("iscsitools.config").warning(warning)

    def ready(server: Server) -> None:
        targets = server.assembly.targets
        sizes = {(t.name, n): (u.blocks, u.block_size) for t in targets for n, u in t.device.units.items()}
        addresses = [PortalConfig.parse(address) for address in server.addresses]
        click.echo(greeting(config, addresses, sizes, watched=server.trace is not None), err=run is not None)
        sys.stdout.flush()
        if run is not None:
            beside.append(RunBeside(run, server.shut_down, variables(config, server.name, addresses)))

    beside: list[RunBeside] = []
    try:
        status = serve(config, plugins, ready, predecessor)
    finally:
        ended = [each.finish() for each in beside]
    return status or max(ended, default=0)


def variables(config: Config, name: str, addresses: Sequence[PortalConfig]) -> dict[str, str]:
    """What a command beside the server finds in its environment."""
    portal = _reachable(addresses[0])
    found = {"ISCSITOOLS_NAME": name, "ISCSITOOLS_PORTAL": str(portal)}
    first = next((target for target in config.targets if target.luns), None)
    if first is not None:
        found["ISCSITOOLS_URL"] = f"{_url(portal, first)}/{first.iqn}/{first.luns[0].number}"
    return found


def greeting(
    config: Config,
    addresses: Sequence[PortalConfig],
    sizes: Mapping[tuple[str, int], tuple[int, int]],
    watched: bool = True,
) -> str:
    """What is served and how to connect to it and, if it can be ``watched``, how to watch it.

    ``sizes``: blocks and bytes of a block by target and LUN, as they are and not as configured: a backstore may have a
    block size of its own.
    """
    lines = [f"iscsitools {__version__} listens on {', '.join(map(str, addresses))}", ""]
    for target in config.targets:
        lines.append(f"  {target.iqn}")
        lines += [f"    LUN {lun.number}: {_lun(lun, *sizes[target.iqn, lun.number])}" for lun in target.luns]
    portal = _reachable(addresses[0])
    lines += ["", f"Look:    iscsi-ls -s iscsi://{portal}"]
    first = next((target for target in config.targets if target.luns), None)
    if first is not None:
        lines.append(f"Connect: qemu-img info {_url(portal, first)}/{first.iqn}/{first.luns[0].number}")
    if watched:
        lines.append(f"Watch:   {_program()} top{f' --name {config.name}' if config.name else ''}")
    lines.append("Stop:    Ctrl-C")
    return "\n".join(lines)


def _program() -> str:
    """How to call this program from here: by its path if the shell would not find it, as in a virtual environment."""
    own, found = os.path.abspath(sys.argv[0]), shutil.which("iscsitools")
    # A program that calls main() may have any word for its name.
    if os.path.basename(own) != "iscsitools" or not os.path.isfile(own):
        return "iscsitools"
    if found is not None and os.path.samefile(own, found):
        return "iscsitools"
    return min(own, os.path.relpath(own), key=len)


def _lun(lun: LunConfig, blocks: int, block_size: int) -> str:
    parts = [size_text(blocks * block_size), f"{block_size}-byte blocks"]
    parts.append(f"{lun.stack.name}:{without_password(lun.stack.what)}")
    flags: dict[str, Any] = {"readonly": lun.readonly, "removable": lun.removable, "thin": lun.thin}
    parts += [name for name, value in flags.items() if value]
    return ", ".join(parts)


def _reachable(portal: PortalConfig) -> PortalConfig:
    """An address to connect to from this machine, for one that stands for all of them."""
    return PortalConfig({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(portal.host, portal.host), portal.port)


def _url(portal: PortalConfig, target: TargetConfig) -> str:
    """Libiscsi's URL; a user's name goes in, his secret never."""
    if target.auth.method is AuthMethod.CHAP and target.auth.users:
        return f"iscsi://{target.auth.users[0].name}%SECRET@{portal}"
    return f"iscsi://{portal}"
