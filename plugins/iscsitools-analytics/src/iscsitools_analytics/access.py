"""Who may ask: the Host header, the token, and the headers that keep a page from being used by others.

Nothing can be changed through the page, so what is guarded is who reads. On the loopback interface every user of the
machine can connect; beyond it a token is needed, or a client's certificate.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

COOKIE: Final = "iscsitools-analytics"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LEAST_TOKEN: Final = 16
_OPEN: Final = ("/", "/api/enter")
"""What is answered without a token, beside the page's own files: they say nothing of any target."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_of(path: Path) -> str:
    """Read a token, or write a new one where there is no file. Raises OSError, and ValueError for a bad one."""
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n")
    token = path.read_text("ascii", "replace").strip()
    if len(token) < _LEAST_TOKEN or not token.isprintable() or " " in token:
        raise ValueError(f"a token is a word of at least {_LEAST_TOKEN} ASCII characters")
    return token


class Access:
    """``token``: "" when none is asked for. ``hosts``: names by which the page may be asked for."""

    def __init__(self, hosts: set[str], token: str = "") -> None:
        self._hosts = hosts
        self._token = token

    def middleware(self) -> Middleware:
        """What stands before every answer."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            if refusal is not None:
                return refusal
            try:
                return await handler(request)
            except web.HTTPException as error:
                return _plain(error.status, error.reason)

        return guard

    def _refusal(self, request: web.Request) -> web.Response | None:
        # A page of somebody else's whose name was pointed at us (DNS rebinding) comes with its own Host.
        name = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
        if self._hosts and name.strip("[]").lower() not in self._hosts:
            return _plain(HTTPStatus.MISDIRECTED_REQUEST, "not the name of this page: see --host")
        elsewhere = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        if elsewhere and (request.path, request.method) != ("/", "GET"):  # a link to the page is well
            return _plain(HTTPStatus.FORBIDDEN, "not from another page")
        if request.method not in ("GET", "HEAD") and request.path != "/api/enter":
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "nothing can be changed here")
        needs = self._token and request.path not in _OPEN and not request.path.startswith("/page/")
        if needs and not self.is_token(request.cookies.get(COOKIE, "")):
            return _plain(HTTPStatus.UNAUTHORIZED, "the token is missing: open the link that was printed at the start")
        return None

    def is_token(self, text: str) -> bool:
        """Whether it is the token; in constant time."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    async def enter(self, request: web.Request) -> web.Response:
        """Take the token out of the request's body, and give the cookie for it."""
        text = (await request.content.read(1024)).decode("ascii", "replace").strip()
        if not self._token or not self.is_token(text):
            return _plain(HTTPStatus.UNAUTHORIZED, "not the token")
        answer = web.Response(status=HTTPStatus.NO_CONTENT)
        answer.set_cookie(COOKIE, self._token, httponly=True, samesite="Strict", secure=request.secure, path="/")
        return answer


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Before an answer's headers go out."""
    for name, value in _HEADERS.items():
        response.headers[name] = value
    response.headers.pop("Server", None)


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")
