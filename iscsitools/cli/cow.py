"""``iscsitools cow``: overlays of the cow filter."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from iscsitools.backstores.base import BackstoreError, MediumError
from iscsitools.backstores.file import FileBackstore
from iscsitools.backstores.filters.overlay import Overlay, overlay_info
from iscsitools.cli.groups import CommandGroup
from iscsitools.cli.output import echo_json, json_option, size_text
from iscsitools.errors import RunError

_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(cls=CommandGroup)
def command() -> None:
    """Look at the overlays of the cow filter, and end them: in their base, or in nothing.

    OVERLAY is the file of cow.file=; its map is beside it. All but info need that no server serves it.
    """


@contextmanager
def _plain_errors(path: str) -> Iterator[None]:
    """What the backstores say is a line for the user."""
    try:
        yield
    except (BackstoreError, MediumError) as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{error.filename or path}: {error.strerror or error}") from None


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error if a person looks at it."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def _sure(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True)


@command.command()
@click.argument("overlay", type=click.Path())
@json_option
def info(overlay: str, as_json: bool) -> int:
    """Say how large OVERLAY's disk is and how much of it OVERLAY holds.

    Exit status 1: it is no sound overlay of that disk; what is wrong is said in one line each. The rest: see check.
    """
    with _plain_errors(overlay):
        found = overlay_info(overlay)
    if as_json:
        echo_json(dataclasses.asdict(found))
        return _report(found.problems)
    click.echo(f"disk       {size_text(found.size)} ({found.size} bytes)")
    click.echo(f"held       {size_text(found.held)}, {100 * found.held / found.size:.1f} % of it")
    click.echo(f"allocated  {size_text(found.allocated)}")
    click.echo(f"flushed    {'not all of it' if found.unflushed else 'all of it'}")
    return _report(found.problems)


def _report(problems: Sequence[str]) -> int:
    """Say what is wrong; the exit status."""
    for problem in problems:
        click.echo(f"iscsitools: {problem}", err=True)
    return 1 if problems else 0


@command.command()
@click.argument("overlay", type=click.Path())
def check(overlay: str) -> int:
    """Read all that OVERLAY holds, and compare it with its map.

    Exit status 0: nothing is wrong; 1: something is, each in one line.
    """
    with _plain_errors(overlay), Overlay(overlay, writable=False) as opened:
        with _progress("checking", opened.held) as progress:
            problems = opened.check(progress)
        held = opened.held
    if not problems:
        click.echo(f"{overlay}: no error; it holds {size_text(held)}")
    return _report(problems)


@command.command()
@click.argument("overlay", type=click.Path())
@click.argument("base", type=click.Path())
@_yes
def commit(overlay: str, base: str, yes: bool) -> None:
    """Write the changes in OVERLAY into BASE, and empty OVERLAY.

    BASE is a file or a block device, as large as the disk. It is durable before OVERLAY is emptied; when this ends
    half-way, do it again. Other overlays of BASE are worthless afterwards.
    """
    store = FileBackstore(base)
    with _plain_errors(overlay), Overlay(overlay, writable=True) as opened:
        store.open()
        try:
            held = opened.held
            _sure(f"Write {size_text(held)} into {base}?", yes)
            with _progress("committing", held) as progress:
                opened.commit(store, progress)
        finally:
            store.close()
    click.echo(f"{base} has the changes, {size_text(held)}; {os.path.basename(overlay)} is empty")


@command.command()
@click.argument("overlay", type=click.Path())
@_yes
def discard(overlay: str, yes: bool) -> None:
    """Forget all changes in OVERLAY: its disk is the base again."""
    with _plain_errors(overlay), Overlay(overlay, writable=True) as opened:
        held = opened.held
        _sure(f"Forget {size_text(held)} of changes?", yes)
        opened.discard()
    click.echo(f"{overlay} is empty; {size_text(held)} of changes are gone")
