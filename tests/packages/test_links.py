"""The project's home: one address in pyproject.toml, and each link to it leads to a file of this checkout."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKS = ROOT / "packaging" / "links" / "links.py"
URL = re.compile(r"https?://[^\s)>\"'`]+")
RELATIVE = re.compile(r"\]\((?![a-z]+:|#)[^)\s]+\)|^\[[^\]]+\]: (?!https?:)\S+$", re.MULTILINE)
DEFINITION = re.compile(r"^\[([^\]\n]+)\]: \S+$", re.MULTILINE)
OTHER = "https://forge.example/ada/disks"


@pytest.fixture(scope="module")
def links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("links", LINKS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def urls(project: Path) -> dict[str, str]:
    found: dict[str, str] = tomllib.loads(project.read_text())["project"]["urls"]
    return found


def tables(root: Path) -> list[Path]:
    return [root / "pyproject.toml", *sorted(root.glob("plugins/*/pyproject.toml"))]


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in found}


def lost(link: str, home: str) -> bool:
    """Whether a link to the home leads to nothing in the checkout."""
    path, _, anchor = link.removeprefix(home).partition("#")
    if path in ("", "/issues"):
        return False
    found = re.fullmatch(r"/(blob|tree|raw)/main/(.+)", path)
    if found is None:
        return True
    there = ROOT / found[2]
    right = there.is_dir() if found[1] == "tree" else there.is_file()
    return not right or bool(anchor and anchor not in headings(there))


def test_each_package_has_its_links(links: ModuleType) -> None:
    home = links.home()
    for table in tables(ROOT):
        given = urls(table)
        assert set(given) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}, table
        assert [url for url in given.values() if not url.startswith(home) or lost(url, home)] == [], table


def test_each_link_of_a_readme_leads_to_a_file(links: ModuleType) -> None:
    home = links.home()
    for page in links.readmes():
        text = page.read_text()
        assert RELATIVE.findall(text) == [], page
        at_home = [url for url in URL.findall(text) if url.startswith(home)]
        assert at_home, page
        assert [url for url in at_home if lost(url, home)] == [], page
    assert sum(url.startswith(home) for url in URL.findall((ROOT / "README.md").read_text())) > 30


def test_each_reference_of_a_readme_is_defined_and_used(links: ModuleType) -> None:
    for page in links.readmes():
        text = page.read_text()
        defined = {label.lower() for label in re.findall(DEFINITION, text)}
        prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", re.sub(DEFINITION, "", text), flags=re.DOTALL | re.MULTILINE)
        used = {label.lower() for label in re.findall(r"(?<!!)\[([^\]]+)\](?![\[(:]\S)", prose)}
        assert defined == used, page


def test_a_link_that_leads_nowhere_is_noticed(links: ModuleType) -> None:
    home = links.home()
    for path in (
        "/blob/main/docs/none.md",
        "/blob/main/docs",
        "/tree/main/README.md",
        "/blob/main/README.md#none",
        "/x",
    ):
        assert lost(home + path, home)
    assert not lost(home + "/blob/main/README.md#install", home)


def test_a_fork_changes_one_line(links: ModuleType, tmp_path: Path) -> None:
    """Nothing leads to the old address then, and README is what it was."""
    old = links.home()
    fork = tmp_path / "fork"
    fork.mkdir()
    for name in ("pyproject.toml", "README.md", "docs", "plugins", "packaging"):
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, fork / name, ignore=shutil.ignore_patterns("build", "__pycache__", "*.egg-info"))
        else:
            shutil.copy(place, fork)
    for name in re.findall(re.escape(old) + r"/[a-z]+/main/([^\s#]+)", (fork / "README.md").read_text()):
        if not (fork / name).exists():
            (fork / name).parent.mkdir(parents=True, exist_ok=True)
            (fork / name).touch()
    project = fork / "pyproject.toml"
    project.write_text(project.read_text().replace(f'Homepage = "{old}"', f'Homepage = "{OTHER}"'))
    readme = fork / "README.md"
    readme.write_text(readme.read_text() + "\n[new](docs/session.md#x)\n")
    command = [sys.executable, str(fork / "packaging/links/links.py")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"links: README.md leads to {OTHER}\n" in said
    left = [str(file) for file in fork.rglob("*") if file.is_file() and old.encode() in file.read_bytes()]
    assert left == []
    whole = (ROOT / "README.md").read_text().replace(old, OTHER)
    assert readme.read_text() == whole + f"\n[new]({OTHER}/blob/main/docs/session.md#x)\n"
    assert urls(fork / "plugins/iscsitools-http/pyproject.toml")["Source"] == OTHER
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_a_link_to_what_is_not_there_is_refused(links: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nHomepage = "{OTHER}"\nSource = "{OTHER}"\n')
    (tmp_path / "README.md").write_text("[lost](docs/none.md)\n")
    done = subprocess.run([sys.executable, str(LINKS), str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "links: docs/none.md is not there\n")


def test_the_metadata_of_a_wheel_has_them(links: ModuleType, tmp_path: Path) -> None:
    """What a package index shows is what pip's own front end makes of pyproject.toml."""
    program = (
        "import sys, os; from setuptools import build_meta as b; os.chdir(sys.argv[1]);"
        "print(b.prepare_metadata_for_build_wheel(sys.argv[2]))"
    )
    plugin = tmp_path / "plugin"
    shutil.copytree(ROOT / "plugins" / "iscsitools-http", plugin, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    made = subprocess.run(
        [sys.executable, "-c", program, str(plugin), str(tmp_path)], capture_output=True, text=True, check=True
    )
    metadata = (tmp_path / made.stdout.splitlines()[-1] / "METADATA").read_text()
    for name, url in urls(plugin / "pyproject.toml").items():
        assert f"Project-URL: {name}, {url}\n" in metadata
