"""``iscsitools ls``: what is served, as a tree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from iscsitools.cli.changing import WATCH, again, connect
from iscsitools.cli.options import SERVER, TIMES
from iscsitools.cli.output import echo_json, size_text, take_any_name
from iscsitools.trace.protocol import printable
from iscsitools.trace.views.clock import Times, day_text
from iscsitools.trace.views.sessions import age_text, since_text


@click.command()
@SERVER
@WATCH
@TIMES
@click.option("--json", "as_json", is_flag=True, help="JSON, with exact values.")
def command(watch: float | None, times: Times, as_json: bool, **options: Any) -> None:
    """Show what is served: a tree of targets, LUNs, users and sessions.

    Of a LUN: its store, its size and what it takes where it is kept, serial number, and what is the matter with it:
    read-only, no write cache, faults that are set, a flush that failed, a file that was deleted, copies that are under
    way. Of a session: who, from where, its commands, those in flight and those that failed, since when it is open, and
    when it was last heard. Only the server's owner may ask.
    """
    take_any_name(exact=as_json)
    with connect(options) as control:
        again(lambda: _print(control.tree(), as_json, times), watch)


def _print(found: dict[str, Any], as_json: bool, times: Times) -> None:
    if as_json:
        echo_json(found)
        return
    for line in tree_lines(found, time.time(), times):
        click.echo(printable(line))


def tree_lines(found: dict[str, Any], now: float, times: Times) -> Iterator[str]:
    """The tree as lines; ``now``: when it was so, in seconds since the epoch."""
    yield f"{found['name']} on {', '.join(found['portals'])}"
    for target in found["targets"]:
        yield f"  {target['iqn']}" + (f" ({target['alias']})" if target["alias"] else "")
        for lun in target["luns"]:
            yield f"    LUN {lun['lun']}: {lun['store']}, {_sizes(lun)}, serial {lun['serial']}"
            yield from (f"      {text}" for text in _matters(lun))
        if target["users"]:
            yield f"    users: {', '.join(target['users'])}"
        if target["initiators"] or target["networks"]:
            yield f"    lets in: {', '.join(target['initiators'] or ['everybody'])}" + _from(target["networks"])
        if target["portal_groups"]:
            yield f"    in portal groups: {', '.join(map(str, target['portal_groups']))}"
        yield from (f"    {_map(each)}" for each in target["maps"])
        for session in target["sessions"]:
            user = f" as {session['chap']}" if session["chap"] else ""
            yield f"    session {session['id']}: {session['initiator']}{user} from {', '.join(session['addresses'])}"
            yield f"      {_number(session['commands'], 'command')}, {session['in_flight']} in flight, " + _number(
                session["errors"], "error"
            )
            yield f"      open for {since_text(session['age'], now, times)}"
            yield f"      heard {age_text(session['silent'])} ago" + (
                "" if times is Times.RELATIVE else f", at {day_text(now - session['silent'], times)}"
            )


def _sizes(lun: dict[str, Any]) -> str:
    allocated = "" if lun["allocated"] is None else f" ({size_text(lun['allocated'])} allocated)"
    return size_text(lun["size"]) + allocated


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _from(networks: list[str]) -> str:
    return f" from {', '.join(networks)}" if networks else ""


def _map(each: dict[str, Any]) -> str:
    whom = (", ".join(each["initiators"]) or "everybody") + _from(each["networks"])
    if each["luns"] is None:
        return f"map {each['name']}: all LUNs for {whom}"
    luns = [f"{e['number']} as {e['lun']}" if e["lun"] != e["number"] else str(e["lun"]) for e in each["luns"]]
    return f"map {each['name']}: LUN {', '.join(luns) or 'none'} for {whom}"


def _matters(lun: dict[str, Any]) -> Iterator[str]:
    if lun["trouble"]:
        yield f"TROUBLE: {lun['trouble']}"
    if lun["readonly"]:
        yield "read-only"
    elif not lun["write_cache"]:
        yield "no write cache"
    for fault in lun["faults"]:
        client = f" for {fault['client']}" if "client" in fault else ""
        left = f", {fault['left']:g} s left" if "left" in fault else ""
        yield f"fault {fault['option']}={fault['value']}{client}{left}"
    for copy in lun["copies"]:
        done = 100 * copy["copied"] // max(1, copy["total"])
        yield f"copies {size_text(copy['total'])} for {copy['initiator']}, {done}% done"
