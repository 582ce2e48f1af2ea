"""The views of ``top`` that a user has saved: in ``iscsitools/top.json`` in $XDG_CONFIG_HOME, or in ~/.config."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from iscsitools.trace.views.top.columns import ALL, COLUMNS, SHARE, SHARES, VIEWS
from iscsitools.trace.views.top.model import GROUPS


class SavedError(Exception):
    """The file cannot be read or written; the text is one line for the user."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the screen looks: what a user chooses by keys, and can keep under a name."""

    view: str = "load"
    group: str = "client, target, LUN"
    sort: str = ALL
    reverse: bool = False
    percentile: str = SHARE
    filter: str = ""


_CHOICES: dict[str, Any] = {"view": VIEWS, "group": GROUPS, "sort": (ALL, *COLUMNS), "percentile": SHARES}


def saved_file() -> Path:
    """Where they are kept."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "iscsitools" / "top.json"


def saved_looks() -> dict[str, Look]:
    """By name; none where there is no file. Raises SavedError with a line that says what is wrong with it."""
    path = saved_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): _look(dict(values)) for name, values in dict(found).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SavedError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise SavedError(f"{path} is not what top has written: {error}") from None


def _look(values: dict[str, Any]) -> Look:
    for name, value in values.items():
        if name not in {field.name for field in fields(Look)}:
            raise ValueError(f"there is nothing called {name!r} in a view")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{value!r} is no {name}")
    look = Look(**values)
    if not isinstance(look.reverse, bool) or not isinstance(look.filter, str):
        raise ValueError("reverse has to be true or false, and filter a text")
    return look


def save_look(name: str, look: Look) -> None:
    """Keep one beside the others. Raises SavedError."""
    path = saved_file()
    looks = {**saved_looks(), name: look}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump({key: asdict(value) for key, value in looks.items()}, file, indent=1)
        os.replace(file.name, path)
    except OSError as error:
        raise SavedError(f"{path}: {error.strerror}") from None
