"""Log lines: one line each, whatever is in them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from iscsitools.cli.logs import set_up_logging


@pytest.fixture
def root() -> Iterator[None]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.usefixtures("root")
def test_text() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream)
    log = logging.getLogger("iscsitools.test")
    log.debug("not shown")
    log.info("login of %s", "a\nb\x1b[0m", extra={"remote": "[::1]:5", "name_": 'x "y"', "empty": ""})
    (line,) = stream.getvalue().splitlines()
    time, rest = line.split(" ", 1)
    assert time[10] == "T"
    assert rest == r'info iscsitools.test login of a\nb\u001b[0m remote=[::1]:5 name_="x \"y\"" empty=""'


@pytest.mark.usefixtures("root")
def test_json() -> None:
    stream = io.StringIO()
    set_up_logging("warning", "json", stream)
    log = logging.getLogger("iscsitools.test")
    log.info("not shown")
    log.warning("a\n%s", 1, extra={"lun": 3, "path": io})
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert {k: first[k] for k in ("level", "logger", "message", "lun")} == {
        "level": "warning",
        "logger": "iscsitools.test",
        "message": "a\n1",
        "lun": 3,
    }
    assert "KeyError: 'k'" in second["traceback"]
