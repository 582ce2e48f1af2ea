"""The options that commands have in common: what to watch, where, and in which form to print it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import fields, replace
from functools import reduce, wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from iscsitools.cli import complete
from iscsitools.errors import UsageError
from iscsitools.probes.lun import lun_of
from iscsitools.trace.views.clock import Times
from iscsitools.trace.views.watch import WatchOptions

_F = TypeVar("_F", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number of ``what`` between two bounds; NaN, which no comparison keeps out of any, is outside."""

    def __init__(self, what: str, least: float, most: float) -> None:
        """``what`` is plural, as ``seconds``; both bounds are allowed."""
        super().__init__(least, most)
        self._what = f"no number of {what} from {least:g} to {most:.0f}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not self.min <= number <= self.max:  # type: ignore[operator]
            self.fail(f"{value!r} is {self._what}.", param, ctx)
        return number


class Reports(click.IntRange):
    """How many reports are wanted: one or more."""

    def __init__(self) -> None:
        """There is no most."""
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is no number of reports: 1 and more.", param, ctx)


def _lun(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else lun_of(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from None


SECONDS: Final = Number("seconds", 0.001, 1e9)
"""An interval: the clocks' steps and the server's answers set it a bound below."""


def together(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """One decorator of several, which the command's help shows in this order."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


FILTER: Final = together(
    click.option(
        "--client",
        metavar="ADDRESS",
        shell_complete=complete.clients,
        help="Only this client: its address, ADDRESS:PORT, or initiator name.",
    ),
    click.option("--target", metavar="IQN", shell_complete=complete.targets, help="Only this target."),
    click.option(
        "--lun",
        callback=_lun,
        metavar="N",
        shell_complete=complete.luns,
        help="Only this unit; events of no unit are left out.",
    ),
)
"""``client``, ``target`` and ``lun``."""
SERVER: Final = together(
    click.option(
        "--name",
        shell_complete=complete.servers,
        help="The server, when several run; or the environment variable ISCSITOOLS_NAME.",
    ),
    click.option("--socket", metavar="PATH", type=click.Path(), help="The server's watch socket, instead of --name."),
)
"""``name`` and ``socket``."""
READ: Final = click.option(
    "--read", metavar="FILE", type=click.Path(path_type=Path),
    help="Read what `record` wrote instead; - is standard input.",
)  # fmt: skip


def _one_form(command: _F) -> _F:
    """Call ``command`` with ``form`` in the place of the two options. Raises UsageError for both at once."""

    @wraps(command)
    def with_form(*arguments: Any, as_json: bool, as_csv: bool, **options: Any) -> Any:
        if as_json and as_csv:
            raise UsageError("--json and --csv cannot be given together")
        return command(*arguments, form="json" if as_json else "csv" if as_csv else None, **options)

    return cast(_F, with_form)


FORM: Final = together(
    click.option("--json", "as_json", is_flag=True, help="JSON, with exact values."),
    click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, names first."),
    _one_form,
)
"""``form``: None, ``json`` or ``csv``."""


def _one_kind_of_times(command: _F) -> _F:
    """Call ``command`` with ``times`` in the place of the two options. Raises UsageError for both at once."""

    @wraps(command)
    def with_times(*arguments: Any, utc: bool, relative: bool, **options: Any) -> Any:
        if utc and relative:
            raise UsageError("--utc and --relative cannot be given together")
        times = Times.UTC if utc else Times.RELATIVE if relative else Times.LOCAL
        return command(*arguments, times=times, **options)

    return cast(_F, with_times)


TIMES: Final = together(
    click.option("--utc", is_flag=True, help="Times of day in UTC, not in this machine's time zone."),
    click.option("--relative", is_flag=True, help="Seconds since the beginning, or ages, instead of times of day."),
    _one_kind_of_times,
)
"""``times``: a :class:`iscsitools.trace.views.clock.Times`."""


def take_source(options: dict[str, Any]) -> WatchOptions:
    """Take what the options above name, and an interval and count, out of a command's arguments.

    Raises UsageError when they contradict each other.
    """
    own = {field.name: options.pop(field.name) for field in fields(WatchOptions) if field.name in options}
    source = WatchOptions(**own)
    if source.read is not None and (source.name or source.socket):
        raise UsageError("--read is of a file: --name and --socket are of a running server")
    if source.name is None and source.socket is None and source.read is None:
        source = replace(source, name=os.environ.get("ISCSITOOLS_NAME") or None)
    return replace(source, read=Path("/dev/stdin")) if source.read == Path("-") else source
