"""Make the documentation a site: python packaging/site/build.py [FOLDER]; FOLDER is build/site/html.

README, CHANGELOG, docs/ and the pages of other folders are gathered, links between them are followed, and the reference
of the public modules is made of their docstrings. Links to the project's home become links within the site where it has
the page. Links to source files become plain text. A link that leads nowhere is an error: mkdocs is strict.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
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
DEFINED: Final = re.compile(r"^(\[[^\]\n]+\]: )(\S+)$", re.MULTILINE)
"""A link whose target stands below the text, as README's do."""
HOME: Final[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]
AT_HOME: Final = re.compile(re.escape(HOME) + r"/(?:blob|tree|raw)/main/(.+)")
FENCE: Final = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)


def place(path: str) -> str | None:
    """Where a file of the project is in the site; None: nowhere."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    return path.removeprefix("docs/") if path.startswith("docs/") and (ROOT / path).is_file() else None


def rewrite(text: str, source: str) -> str:
    """The page's text, with its links as they are in the site."""
    here = posixpath.dirname(place(source) or "") or "."

    def within(target: str) -> str | None:
        """The target as the site has it; None: it is a file that the site does not have."""
        at_home = AT_HOME.fullmatch(target)
        if not at_home and re.match(r"[a-z]+:|#", target):
            return target
        path, mark, anchor = (at_home[1] if at_home else target).partition("#")
        whole = path if at_home else posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / whole).exists():
            raise SystemExit(f"site: {source}: {target} leads nowhere")
        there = place(whole)
        if there is None:
            return target if at_home else None
        return posixpath.relpath(there, here) + mark + anchor

    def link(found: re.Match[str]) -> str:
        target = within(found[2])
        return found[1] if target is None else f"[{found[1]}]({target})"

    def defined(found: re.Match[str]) -> str:
        return found[1] + (within(found[2]) or found[2])

    pieces = FENCE.split(text)
    return "".join(
        piece if piece.startswith("```") else DEFINED.sub(defined, LINK.sub(link, piece)) for piece in pieces
    )


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
