"""Makes a Config: of a TOML file, or of what a command line said."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from iscsitools.backstores.registry import Registry
from iscsitools.config.model import Config
from iscsitools.config.plugins import merged
from iscsitools.config.positions import Path as Place
from iscsitools.config.positions import positions
from iscsitools.config.reader import Reader
from iscsitools.config.reading import ConfigError
from iscsitools.config.schema import CONFIG
from iscsitools.config.whole_file import read_whole
from iscsitools.errors import RunError

_LONGEST: Final = 16 << 20
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load_config(
    file: Path | str, registry: Registry, authenticators: Iterable[str] = (), overrides: Mapping[str, Any] | None = None
) -> tuple[Config, tuple[str, ...]]:
    """Read and check a TOML file; returns the configuration and the warnings, each one line.

    ``overrides``: top-level keys whose values take the place of the file's. Raises RunError when the file cannot be
    read, ConfigError when something in it is wrong, with every problem in ``lines``.
    """
    return load_text(read_text(Path(file)), str(file), registry, authenticators, overrides)


def read_text(file: Path) -> str:
    """The text of a TOML file. Raises RunError when it cannot be read, ConfigError when it is no text."""
    try:
        return read_whole(file, _LONGEST, "configuration").decode()
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: byte {error.start} is not UTF-8"]) from None


def load_text(
    text: str, file: str, registry: Registry, authenticators: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Config, tuple[str, ...]]:  # fmt: skip
    """Check the text of a TOML file that is named ``file`` in messages; as :func:`load_config`."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")  # some editors begin a file with a byte order mark
    try:
        data = tomllib.loads(text)
        lines = positions(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_error(file, text, str(error))]) from None
    except RecursionError:
        raise ConfigError([f"{file}: nested too deeply"]) from None
    except ValueError:
        # Python turns no text of more than 4300 digits into a number; tomllib does not say where it stood.
        raise ConfigError([f"{file}: a number in it has too many digits"]) from None
    data, names = _overridden(data, overrides or {})
    return _finish(Reader(registry, frozenset(authenticators), file, lines, names), data)


def _overridden(data: dict[str, Any], overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Place, str]]:
    """The document with what the command line says in its place, and which option made which part of it."""
    names: dict[Place, str] = {(key,): option_name(key) for key in overrides if key != "plugin"}
    tables = data.get("plugin", {})
    if not isinstance(tables, dict):
        overrides = {**overrides, "plugin": tables}  # what is wrong with it is told, and where
    elif "plugin" in overrides:
        for name, table in overrides["plugin"].items():
            names |= {("plugin", name, key): f"--plugin {name}" for key in table}
            if name not in tables:
                names["plugin", name] = f"--plugin {name}"
        overrides = {**overrides, "plugin": merged(tables, overrides["plugin"])}
    return {**data, **overrides}, names


def option_name(key: str) -> str:
    """The option of ``serve`` that says what a top-level key of a file does: ``--portal`` for ``portals``."""
    return "--portal" if key == "portals" else f"--{key.replace('_', '-')}"


def config_of(
    data: Mapping[str, Any], registry: Registry, names: Mapping[Place, str], authenticators: Iterable[str] = ()
) -> tuple[Config, tuple[str, ...]]:
    """Check what would be the content of a file, as a command line builds it; as :func:`load_config`.

    ``names``: what on the command line made the value at a path, for messages.
    """
    return _finish(Reader(registry, frozenset(authenticators), names=names), data)


def _finish(reader: Reader, data: Mapping[str, Any]) -> tuple[Config, tuple[str, ...]]:
    config = reader.table(CONFIG, dict(data))
    reader.raise_problems()
    assert isinstance(config, Config)
    return config, tuple(text for _, text in sorted(reader.warnings, key=lambda w: w[0]))


def _syntax_error(file: str, text: str, message: str) -> str:
    """Put the place that tomllib tells at the end of its message where the other problems have it."""
    match = _PLACE.search(message)
    if match is None:
        return f"{file}: {message}"
    line = int(match[1]) if match[1] else text.count("\n", 0, len(text.rstrip("\n"))) + 1
    return f"{file}:{line}: not TOML: {message[: match.start()]}"
