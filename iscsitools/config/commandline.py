"""The same configuration from ``serve``'s options: which LUN belongs to which target, and what holds without any."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from iscsitools.backstores.registry import Registry
from iscsitools.backstores.spec import without_password
from iscsitools.backstores.syscalls import make_folders
from iscsitools.config.load import config_of, option_name
from iscsitools.config.model import Config
from iscsitools.config.positions import Path as Place
from iscsitools.errors import RunError, UsageError

DEFAULT_SIZE: Final = "1G"

_NUMBERED = re.compile(r"([^:,=]*)=(.*)", re.DOTALL)
"""What stands before the first ``=`` is meant as a number if no kind or option came before."""


def default_iqn() -> str:
    """The name of a target that was given none: ``iqn.2026-11.HOST:disks``, HOST's parts reversed.

    It is the same at every start and differs between machines, so that no initiator takes two disks for one.
    """
    labels = [re.sub(r"[^a-z0-9-]|^-+|-+$", "", part) for part in socket.gethostname().lower().split(".")]
    host = ".".join(reversed([label for label in labels if label])) or "localhost"
    return f"iqn.2026-11.{host}:disks"


def default_disk() -> Path:
    """The disk image that is served when no other is asked for: in the user's data directory."""
    data = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):
        return Path(data) / "iscsitools" / "disk.img"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # a user of whom the system knows nothing, as in a container
        raise RunError(
            "the default disk has no place: this user has no home directory; set XDG_DATA_HOME, or use --lun"
        )
    base = Path(home) / ".local" / "share"
    return base / "iscsitools" / "disk.img"


def default_lun() -> dict[str, Any]:
    """A LUN of :func:`default_disk`, sparse, made with 1 GiB if it is not there; makes its directory."""
    disk = default_disk()
    try:
        make_folders(str(disk.parent))
    except OSError as error:
        raise RunError(f"{disk.parent}: {error.strerror}") from None
    store = {"kind": "file", "what": str(disk)}
    return {"number": 0, "store": store if disk.exists() else {**store, "size": DEFAULT_SIZE}}


def config_from_options(
    ordered: Sequence[tuple[str, str]], top: dict[str, Any], registry: Registry
) -> tuple[Config, tuple[str, ...]]:
    """Make a configuration of options; returns it and the warnings.

    ``ordered``: ``("iqn", NAME)`` and ``("lun", [N=]KIND:WHAT...)`` as they stood on the command line. ``top``: other
    top-level keys. Raises UsageError.
    """
    targets: list[dict[str, Any]] = []
    names: dict[Place, str] = {(key,): option_name(key) for key in top}
    for option, text in ordered:
        if option == "iqn":
            names["target", len(targets)] = f"--iqn {text}"
            targets.append({"iqn": text, "lun": []})
            continue
        shown = without_password(text)
        if not targets:
            if any(o == "iqn" for o, _ in ordered):
                raise UsageError(f"--lun {shown} stands before the first --iqn; a LUN belongs to the --iqn before it")
            targets.append({"iqn": default_iqn(), "lun": []})
        luns = targets[-1]["lun"]
        names["target", len(targets) - 1, "lun", len(luns)] = f"--lun {shown}"
        numbered = _NUMBERED.fullmatch(text)
        number = numbered[1].lstrip("0") or numbered[1][:1] if numbered else ""
        luns.append({"number": number, "store": numbered[2]} if numbered else {"store": text})
    if not targets:
        targets.append({"iqn": default_iqn(), "lun": []})
    if not any(target["lun"] for target in targets):
        targets[-1]["lun"].append(default_lun())
    return config_of({**top, "target": targets}, registry, names)
