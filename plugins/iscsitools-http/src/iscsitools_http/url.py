"""Where an image is, and the credentials that may be sent there and nowhere else."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class Location:
    """A URL taken apart. ``target`` is what a request line says; ``text`` has no credentials and may be shown."""

    scheme: str
    host: str
    port: int
    target: str
    text: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to (RFC 6454 4)."""
        return self.scheme, self.host, self.port

    def follow(self, reference: str) -> Location:
        """Where a redirect to ``reference`` leads (RFC 9110 10.2.2). Raises ValueError, also for https to http."""
        location, _ = parse_url(urljoin(self.text, reference))
        if self.scheme == "https" and location.scheme != "https":
            raise ValueError(f"{self.text} redirects from https to {location.text}")
        return location


def parse_url(url: str) -> tuple[Location, str]:
    """Take a URL apart; returns it and the Authorization of its user and password, or ``""``. Raises ValueError."""
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{shown!r} is no http:// or https:// URL")
    if any(c <= " " or c > "~" for c in url):
        raise ValueError(f"{shown!r} has characters that a URL writes with %")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(f"{shown!r} has no valid port") from None
    target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    text = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Location(parts.scheme, parts.hostname, port, target, text), authorization
