"""Make the documentation a site: python packaging/site/build.py [FOLDER]; FOLDER is build/site/html.

README, CHANGELOG, docs/ and the pages of other folders are gathered, links between them are followed, and the reference
of the public modules is made of their docstrings. Links to source files become plain text. A link that leads nowhere is
an error: mkdocs is strict.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = ROOT / "build" / "site" / "pages"
ELSEWHERE: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "dscripts/README.md": "scripts.md",
    "tests/lab/README.md": "lab.md",
}
"""Pages outside of docs/, and where they are in the site."""
MODULES: Final = (
    "iscsitools.control", "iscsitools.initiator", "iscsitools.trace", "iscsitools.testing",
    "iscsitools.backstores.base",
    "iscsitools.hookspecs", "iscsitools.lifecycle", "iscsitools.observers", "iscsitools.authenticators",
)  # fmt: skip
"""What others may build on."""
LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)\s]+)\)")
FENCE: Final = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)


def place(path: str) -> str | None:
    """Where a file of the project is in the site; None: nowhere."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    return path.removeprefix("docs/") if path.startswith("docs/") and (ROOT / path).is_file() else None


def rewrite(text: str, source: str) -> str:
    """The page's text, with its links as they are in the site."""
    here = place(source) or ""

    def link(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / whole).exists():
            raise SystemExit(f"site: {source}: {target} leads nowhere")
        there = place(whole)
        if there is None:
            return words
        return f"[{words}]({posixpath.relpath(there, posixpath.dirname(here) or '.')}{'#' if anchor else ''}{anchor})"

    pieces = FENCE.split(text.replace("](docs/top.svg)", "](top.svg)"))
    return "".join(piece if piece.startswith("```") else LINK.sub(link, piece) for piece in pieces)


def gather() -> None:
    """Put all pages into one folder."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("evidence"))
    for source in [*ELSEWHERE, *(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]:
        there = place(source)
        assert there is not None
        (PAGES / there).write_text(rewrite((ROOT / source).read_text(encoding="utf-8"), source), encoding="utf-8")
    reference = "\n\n".join(f"::: {module}" for module in MODULES)
    (PAGES / "api.md").write_text(f"# Reference of the public modules\n\n{reference}\n", encoding="utf-8")


def main() -> int:
    """Build it; mkdocs' status."""
    site = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / "build" / "site" / "html"
    gather()
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "-f",
        str(ROOT / "packaging/site/mkdocs.yml"),
    ]
    return subprocess.run(
        [*command, "-d", str(site)], check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
