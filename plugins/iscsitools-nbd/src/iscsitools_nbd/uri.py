"""NBD URIs (the NBD project's ``doc/uri.md``): whether a text is one, and what of it may be shown."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock")


def checked_uri(text: str) -> str:
    """The text, if it looks like an NBD URI; raises ValueError with the reason. libnbd says the rest at ``open``."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no NBD URI: {error}") from None
    if parts.scheme not in SCHEMES or not text.startswith(f"{parts.scheme}://"):
        raise ValueError(f"{text!r} is no NBD URI: it has to begin with nbd://, nbds:// or nbd+unix://")
    if parts.scheme.endswith("+unix"):
        if "socket" not in dict(parse_qsl(parts.query)):
            raise ValueError(f"{text!r} is no NBD URI: {parts.scheme} needs ?socket=PATH")
    elif not parts.hostname:
        raise ValueError(f"{text!r} is no NBD URI: there is no host in it")
    elif port == 0:
        raise ValueError(f"{text!r} is no NBD URI: there is no port 0")
    return text


def public_uri(text: str) -> str:
    """The URI without the user and without files of keys: where the export is, and its name."""
    parts = urlsplit(text)
    where = parts.netloc.rpartition("@")[2]
    socket = dict(parse_qsl(parts.query)).get("socket", "")
    return f"{parts.scheme}://{where}{parts.path}{'?socket=' + socket if socket else ''}"
