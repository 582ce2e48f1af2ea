from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iscsitools.config import Config, ConfigError, load_config
from iscsitools.plugins import PluginManager

Load = Callable[[str], tuple[Config, tuple[str, ...]]]
Problems = Callable[[str], tuple[str, ...]]


@pytest.fixture(scope="session")
def plugins() -> PluginManager:
    manager = PluginManager()
    manager.load()
    return manager


@pytest.fixture
def load(tmp_path: Path, plugins: PluginManager, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as a configuration file, t.toml in the current directory, that others cannot read."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> tuple[Config, tuple[str, ...]]:
        file = Path("t.toml")
        file.write_text(text)
        file.chmod(0o600)
        return load_config(file, plugins.registry, ["vault"])

    return load_text


@pytest.fixture
def problems(load: Load) -> Problems:
    """The problems of a text, without the file's name."""

    def problems_of(text: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return tuple(line.removeprefix("t.toml:") for line in caught.value.lines)

    return problems_of
