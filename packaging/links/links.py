"""Have all links to the project's home lead to the address in pyproject.toml: python packaging/links/links.py [ROOT].

The address stands once, as ``Homepage`` in ``[project.urls]``. A fork changes that line; this follows with the other
lines of the table, the plugins' tables, and the links of README, the plugins' READMEs and docs/. What the address was
is still in ``Source``, the line behind it. Links of a README that lead to a file of the checkout are made absolute, as
a page of a package index needs them. Addresses are formed as GitHub forms them.
"""

from __future__ import annotations

import posixpath
import re
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BRANCH: Final = "main"
LINK: Final = re.compile(r"(\]\(|^\[[^\]\n]+\]: (?=\S+$))(?![a-z]+:|#)([^)\s]+)", re.MULTILINE)
"""A link that is not absolute: in the text, or defined below it."""
IMAGES: Final = (".svg", ".png")


def home(root: Path = ROOT, name: str = "Homepage") -> str:
    """The project's address, without a slash at its end; ``Source`` has the one that the links still have."""
    urls: dict[str, str] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls[name].rstrip("/")


def address(root: Path, path: str, anchor: str = "") -> str:
    """Where a file or folder of the project is found at its home."""
    there = root / path
    if not there.exists():
        raise SystemExit(f"links: {path} is not there")
    kind = "tree" if there.is_dir() else "raw" if path.endswith(IMAGES) else "blob"
    return f"{home(root)}/{kind}/{BRANCH}/{path}{'#' if anchor else ''}{anchor}"


def absolute(root: Path, page: Path) -> str:
    """A page's text with absolute links."""

    def link(found: re.Match[str]) -> str:
        path, _, anchor = found[2].partition("#")
        whole = posixpath.normpath(posixpath.join(page.parent.relative_to(root).as_posix(), path))
        return found[1] + address(root, whole, anchor)

    return LINK.sub(link, page.read_text(encoding="utf-8"))


def readmes(root: Path = ROOT) -> list[Path]:
    """The pages that an index of packages shows."""
    return [root / "README.md", *sorted(root.glob("plugins/*/README.md"))]


def main() -> int:
    """Write what has to change, and name it."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    old, new = home(root, "Source"), home(root)
    tables = [root / "pyproject.toml", *sorted(root.glob("plugins/*/pyproject.toml"))]
    for file in [*readmes(root), *tables, *sorted((root / "docs").rglob("*.md"))]:
        before = file.read_text(encoding="utf-8")
        text = absolute(root, file) if file.name == "README.md" and "docs" not in file.parts else before
        text = text.replace(old, new)
        if text != before:
            file.write_text(text, encoding="utf-8")
            print(f"links: {file.relative_to(root)} leads to {new}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
