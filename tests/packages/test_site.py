"""The site: it can be made, each of its links leads to something, and it loads nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """What a page links to, what it loads, and where one can link to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") != "canonical" and "href" in given:
            self.loads.append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    for module in ("material", "mkdocstrings"):
        pytest.importorskip(module, reason="mkdocs-material and mkdocstrings are not installed (the extra `site`)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "packaging/site/build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {file: Page(file) for file in folder.rglob("*.html")}


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    lost = []
    for file, page in site.items():
        if file.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = Path(os.path.normpath(file.parent / unquote(parts.path))) if parts.path else file
            target = path / "index.html" if path.is_dir() else path
            if not target.exists():
                lost.append(f"{file.name}: {link}")
            elif parts.fragment and target in site and unquote(parts.fragment) not in site[target].anchors:
                lost.append(f"{file.name}: {link}: no such heading")
    assert lost == []


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    outside = {f"{file.name}: {load}" for file, page in site.items() for load in page.loads if urlsplit(load).netloc}
    assert outside == set()


def test_the_reference_has_the_public_modules(site: dict[Path, Page]) -> None:
    (reference,) = (page for file, page in site.items() if file.name == "api.html")
    for name in ("initiator.Session", "hookspecs.register_backstores", "backstores.base.Backstore", "trace.Sums"):
        assert f"iscsitools.{name}" in reference.anchors, name
