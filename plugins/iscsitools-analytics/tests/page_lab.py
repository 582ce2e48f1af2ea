"""Servers, the page's process and a real browser, for tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import simulated_load as simulated

from iscsitools_analytics.store import Store

SECONDS = 60.0
IQN = "iqn.2026-11.example:disks"
SIZE = 8
"""Blocks of a read, 4 KiB."""


def missing(reason: str) -> None:
    (pytest.fail if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1" else pytest.skip)(reason)


def chromium() -> str:
    """The browser; without it its tests are skipped, or fail in CI."""
    found = shutil.which("chromium")
    if found is None:
        missing("chromium is not installed (Debian package chromium)")
    return str(found)


def eventually(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true in {SECONDS:.0f} s"
        time.sleep(0.05)
    return found


class Process:
    """A process of which a line of output says where it listens: the first group of ``ready``."""

    def __init__(self, arguments: list[str], folder: Path, ready: str) -> None:
        environment = os.environ | {"XDG_RUNTIME_DIR": str(folder / "run"), "TMPDIR": str(folder), "TZ": "UTC"}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "iscsitools", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=folder, env=environment,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        eventually(lambda: self._said(ready) or self.process.poll() is not None, " ".join(arguments))
        assert self.process.poll() is None, "".join(self.lines)
        self.where = self._said(ready)

    def _said(self, pattern: str) -> str:
        return next((found[1] for line in list(self.lines) if (found := re.search(pattern, line))), "")

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
        return self.process.returncode


class Analytics(Process):
    """``iscsitools analytics``; ``url`` ends with a slash."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        given = ["--history", "history.db", "--listen", "127.0.0.1:0", *arguments]
        super().__init__(["analytics", *given], folder, r"^iscsitools analytics at (\S+)")
        self.url = self.where.partition("#")[0]

    @property
    def port(self) -> int:
        return urllib.parse.urlsplit(self.url).port or 0

    def ask(self, path: str, **fields: Any) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(fields)}", timeout=SECONDS) as answer:
            return json.load(answer)

    def status(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            link.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            with link.getresponse() as answer:
                return answer.status
        finally:
            link.close()


class Place:
    """A directory with servers and pages, which see nobody else's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        self._processes: list[Process] = []

    def analytics(self, *arguments: str) -> Analytics:
        """Watches the server ``disks``: what others run on this machine is not this test's."""
        return self._kept(Analytics(self.folder, *arguments, "disks"))

    def target(self, *luns: str, name: str = "disks", port: int = 0) -> tuple[str, int]:
        """A server; returns its portal."""
        given = [word for lun in luns for word in ("--lun", lun)]
        arguments = ["serve", "--name", name, "--iqn", IQN, "--portal", f"127.0.0.1:{port}", *given]
        served = self._kept(Process(arguments, self.folder, r"^iscsitools \S+ listens on (\S+)"))
        host, _, number = served.where.rpartition(":")
        return host, int(number)

    @property
    def last(self) -> Process:
        return self._processes[-1]

    def _kept(self, process: Any) -> Any:
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.end()


class Browser:
    """Chromium, without a screen."""

    def __init__(self, program: str) -> None:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            missing("playwright is not installed (pip install playwright)")
        self._driver = sync_playwright().start()
        self._browser = self._driver.chromium.launch(executable_path=program, args=["--no-sandbox"])

    @contextmanager
    def page(self, url: str, width: int = 1280, height: int = 900, dark: bool = False, scale: int = 1) -> Iterator[Any]:
        """A tab that has loaded the page. What it asked of another host, or had to complain of, fails the test."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=scale, timezone_id="UTC",
            color_scheme="dark" if dark else "light", accept_downloads=True,
        )  # fmt: skip
        tab = context.new_page()
        tab.set_default_timeout(SECONDS * 1000)
        own = urllib.parse.urlsplit(url).netloc
        complaints: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        eventually(lambda: tab.evaluate("() => window.page !== undefined"), "the page")
        try:
            yield tab
            elsewhere = [each for each in asked if urllib.parse.urlsplit(each).netloc not in (own, "")]
            assert not elsewhere
            # A server that is taken away on purpose is what these two lines say.
            assert not [each for each in complaints if "ERR_CONNECTION" not in each and "ERR_INCOMPLETE" not in each]
        finally:
            context.close()

    @contextmanager
    def strange_page(self, url: str, certificate: Path | None) -> Iterator[Any]:
        """A tab that has a client's certificate, ``.pem`` and ``.key``, and takes the server's whoever signed it."""
        files = {"certPath": f"{certificate}.pem", "keyPath": f"{certificate}.key"}
        own = [{"origin": url.rstrip("/"), **files}] if certificate is not None else None
        context = self._browser.new_context(ignore_https_errors=True, client_certificates=own)
        try:
            tab = context.new_page()
            tab.set_default_timeout(SECONDS * 1000)
            yield tab
        finally:
            context.close()

    def close(self) -> None:
        self._browser.close()
        self._driver.stop()


def waited(tab: Any, condition: str, *arguments: Any) -> Any:
    # The page's policy forbids what the driver's own way of waiting does: to evaluate text.
    return eventually(lambda: tab.evaluate(condition, list(arguments)), condition)


def cell(tab: Any, card: int, t: int, bucket: int) -> list[int]:
    """The colour of the middle of a heat map's cell, as the canvas has it."""
    found: list[int] = tab.evaluate(
        """([card, t, bucket]) => {
            const {drawing, frame, base} = window.page.cards[card];
            const [x, y, width, height] = drawing.box(frame, frame.columnOf(t), bucket);
            const scale = base.width / frame.width;
            const at = [Math.floor((x + width / 2) * scale), Math.floor((y + height / 2) * scale)];
            return [...base.getContext('2d').getImageData(...at, 1, 1).data];
        }""",
        [card, t, bucket],
    )
    return found


def wanted(tab: Any, card: int, t: int, bucket: int) -> list[int]:
    """The colour that the palette has for the count that the server tells of a cell."""
    found: list[int] = tab.evaluate(
        """async ([card, t, bucket]) => {
            const {colourOf} = await import('/page/palette.js');
            const {drawing, data} = window.page.cards[card];
            const flat = data.columns[(t - data.begin) / data.step].c;
            const count = flat[flat.findIndex((each, at) => at % 2 === 0 && each === bucket) + 1];
            const colour = colourOf(count, drawing.most, false, document.documentElement.dataset.theme === 'dark');
            return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)).concat(255);
        }""",
        [card, t, bucket],
    )
    return found


def table(tab: Any, card: int) -> dict[str, list[str]]:
    """The table beside a graph, by its first cells; cell by cell: a row that is not drawn has a text without tabs."""
    rows = tab.locator(".graph").nth(card).locator(".scroll tbody tr")
    split = rows.evaluate_all("(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))")
    return {cells[0]: cells[1:] for cells in split}


def filled(place: Place, seconds: int, disturbed: int) -> tuple[int, int]:
    """A history of the last ``seconds``, in which the culprit was on at the end; returns its beginning and end."""
    end = int(time.time()) - 30
    store = Store(place.folder / "history.db")
    simulated.fill(store, end - seconds, end, end - disturbed)
    store.close()
    return end - seconds, end
