"""A target with the plugin, and a real Prometheus that scrapes it, each as a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0
IQN = "iqn.2026-11.example:metrics"
CONFIG = """
name = "metrics"
portals = ["127.0.0.1:0"]
provider = "none"
[limits]
max_connections = 4
[plugin.prometheus]
listen = "127.0.0.1:0"
[[target]]
iqn = "iqn.2026-11.example:metrics"
[[target.lun]]
store = "ram:1M"
[[target.lun]]
number = 7
store = "ram+error:1M,error.range=0+512"
[[target]]
iqn = "iqn.2026-11.example:chap"
lun = [{ store = "null:1M" }]
[target.auth]
method = "chap"
users = [{ name = "alice", secret = "correct horse battery" }]
"""


def tool(name: str) -> str:
    """The path of a program of Debian's package prometheus; without it the test is skipped, or fails in CI."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (Debian package prometheus)"
        (pytest.fail if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1" else pytest.skip)(reason)
    return str(found)


def eventually(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true in {SECONDS:.0f} s"
        time.sleep(0.05)
    return found


class Process:
    """A process of which a line of output says where it listens."""

    def __init__(self, command: list[str], folder: Path, ready: str, **environment: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env=os.environ | environment,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        eventually(lambda: self.address_of(ready) or self._process.poll() is not None, command[0])
        assert self._process.poll() is None, "".join(self.lines)
        self.address = self.address_of(ready)

    @property
    def pid(self) -> int:
        return self._process.pid

    def address_of(self, pattern: str) -> str:
        return next((found[1] for line in list(self.lines) if (found := re.search(pattern, line))), "")

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(SECONDS)
        finally:
            self._process.kill()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
        return self._process.returncode


class Target(Process):
    """``iscsitools serve`` with the plugin. ``portal``: (host, port); ``metrics``: where they are."""

    def __init__(self, folder: Path, config: str = CONFIG, exports: bool = True) -> None:
        run = folder / "run"
        run.mkdir(mode=0o700)
        (folder / "t.toml").write_text(config)
        (folder / "t.toml").chmod(0o600)
        command = [sys.executable, "-m", "iscsitools", "serve", "--config", "t.toml"]
        super().__init__(command, folder, r"^iscsitools \S+ listens on (\S+)", XDG_RUNTIME_DIR=str(run))
        host, _, port = self.address.partition(":")
        self.portal = host, int(port)
        served = r"metrics are served url=http://(\S+)/metrics"
        self.metrics = eventually(lambda: self.address_of(served), "the metrics") if exports else ""

    def scrape(self, accept: str = "", path: str = "/metrics") -> tuple[str, bytes]:
        request = urllib.request.Request(f"http://{self.metrics}{path}", headers={"Accept": accept} if accept else {})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return str(answer.headers["Content-Type"]), answer.read()


class Prometheus(Process):
    """Prometheus, scraping a target every half second. ``native``: with native histograms."""

    def __init__(self, program: str, folder: Path, metrics: str, native: bool = False) -> None:
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\n"
            f"rule_files: [{alerts()}]\n"
            "scrape_configs:\n- job_name: iscsitools\n"
            f"  static_configs: [{{targets: ['{metrics}']}}]\n"
        )
        command = [
            program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            "--web.listen-address=127.0.0.1:0",
        ]
        if native:
            command.append("--enable-feature=native-histograms")
        super().__init__(command, folder, r'msg="Listening on" address=(\S+)')

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Each result's labels and value."""
        result = self.ask("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def value(self, expression: str) -> float | None:
        """The value of a query with one result."""
        found = self.query(expression)
        return found[0][1] if len(found) == 1 else None


def files() -> Path:
    import iscsitools_prometheus

    return Path(iscsitools_prometheus.__file__).parent / "files"


def alerts() -> Path:
    return files() / "alerts.yml"
