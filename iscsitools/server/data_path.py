"""Which of the two data paths serves: the one in C where it was built, else the one in Python.

Both answer the same bytes, fire the same probes and keep the same counters (``tests/datapath`` compares them).
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import iscsitools.datapath
from iscsitools.backstores.ring import refusal
from iscsitools.config import Config
from iscsitools.errors import RunError
from iscsitools.iscsi.connection.datapath import DataPath
from iscsitools.sources import outdated, why_not_built

log = logging.getLogger(__name__)

COST: Final = (
    "reads and writes of 4 KiB take half as much processor time again, "
    "and ten times as much where data is asked for by R2T or waits for the disk"
)
"""What is lost without the module in C; docs/performance.md has the figures."""
_MISSING: Final = Path(iscsitools.datapath.__file__).parent / "_native.missing"
"""Written by ``setup.py``: why there is no module."""


class NoNativeError(Exception):
    """There is no data path in C here: why, in one line."""


class OutdatedError(NoNativeError):
    """It was built of other sources than those beside it: neither it nor what stores have of the module can be used."""


def native() -> type[DataPath]:
    """The data path in C; NoNativeError when it was not built or does not load."""
    if importlib.util.find_spec("iscsitools.datapath._native") is None:
        raise NoNativeError(f"the data path in C was not built: {why_not_built(_MISSING)}")
    try:
        from iscsitools.datapath import _native
    except ImportError as error:
        raise NoNativeError(f"the data path in C does not load: {error}") from error
    if reason := outdated(_native, "datapath"):
        raise OutdatedError(reason)
    return _native.DataPath


def choose(choice: str) -> tuple[type[DataPath], str]:
    """The data path for a value of ``data_path``, and a line to log, empty if all is as well as it can be.

    Raises NoNativeError where ``native`` is asked for and is not to be had, and where it is an old one.
    """
    if choice == "python":
        return DataPath, ""
    try:
        return native(), ""
    except NoNativeError as error:
        if choice == "native" or isinstance(error, OutdatedError):
            raise
        return DataPath, f"{error}; {COST}"


def data_path_of(config: Config) -> type[DataPath]:
    """The data path of a server; logs what is not as well as it can be. Raises RunError."""
    try:
        data_path, line = choose(config.data_path)
    except NoNativeError as error:
        raise RunError(str(error) if isinstance(error, OutdatedError) else f"data_path native: {error}") from None
    if line:
        log.info(line)
    if reason := refusal():
        log.info("no io_uring (%s): what is not in the page cache goes to worker threads, which costs more", reason)
    return data_path


def tracers_of(data_path: type[DataPath]) -> ModuleType | None:
    """The module in C of a data path, which also has what looks at the probes; None: it is the one in Python."""
    return None if data_path is DataPath else sys.modules[data_path.__module__]
