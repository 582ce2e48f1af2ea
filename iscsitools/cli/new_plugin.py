"""``iscsitools new-plugin``: writes the distribution of a plugin that installs and passes its own tests."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

import click

from iscsitools.backstores.registry import is_name
from iscsitools.errors import RunError, UsageError
from iscsitools.plugins import PluginManager

TEMPLATES: Final = Path(__file__).resolve().parent.parent / "plugin_template"
KINDS: Final = {
    "backstore": "A disk made of something else",
    "filter": "Changes the bytes of a disk on their way",
    "hooks": "Warns of initiators whose logins keep failing",
}
"""What can be written, and what its description says until it is something else."""


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="backstore", show_default=True, help="What it brings.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where.  [default: ./iscsitools-NAME]")
def command(name: str, kind: str, directory: Path | None) -> None:
    """Write a new plugin, with tests.

    NAME is the plugin's, and its backstore's or filter's: a-z, 0-9, _ and -, a letter first. The distribution is
    iscsitools-NAME. It installs and passes its tests as it is; make of it what you want.
    """
    if not is_name(name) or name[-1] in "-_":
        raise UsageError(f"{name!r} is no name of a plugin: a-z, 0-9, _ and - within, a letter first")
    _check_that_it_is_free(name, kind)
    folder = directory or Path(f"iscsitools-{name}")
    module = "iscsitools_" + name.replace("-", "_")
    words = {
        "name": name, "module": module, "distribution": f"iscsitools-{name}", "summary": KINDS[kind],
        "cls": "".join(part.capitalize() for part in name.replace("-", "_").split("_")),
    }  # fmt: skip
    files = {
        "pyproject.toml": "common/pyproject.toml", ".gitignore": "common/gitignore", "README.md": f"{kind}/README.md",
        f"src/{module}/__init__.py": f"{kind}/init.py", f"tests/test_{module}.py": f"{kind}/test.py",
    }  # fmt: skip
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} is there already")
        for path, template in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template((TEMPLATES / f"{template}.in").read_text()).substitute(words))
    except OSError as error:
        raise RunError(f"{error.filename or folder}: {error.strerror}") from None
    click.echo(f"{folder} is written. Next, in an environment that has iscsitools:\n")
    click.echo(f"  pip install -e '{folder}[test]'\n  pytest {folder}\n  iscsitools plugins")


def _check_that_it_is_free(name: str, kind: str) -> None:
    """A plugin whose name is taken would not be loaded."""
    manager = PluginManager()
    manager.load()
    registry = manager.registry
    taken = {"backstore": set(registry.backstores), "filter": set(registry.filters)}
    if name in taken.get(kind, ()):
        raise UsageError(f"there is already a {kind} named {name!r}")
    owner = next((plugin for plugin in manager.plugins if plugin.name == name), None)
    if owner is not None:
        raise UsageError(f"there is already a plugin named {name!r}, from {owner.distribution or 'elsewhere'}")
