"""Where the time of our target goes: by notes of a timer, in parts."""

from __future__ import annotations

import re

import pytest

from .programs import needs_compiler, run_program

from where import SYSTEM, part_of  # isort: skip


def test_a_login_is_told_by_its_parts() -> None:
    needs_compiler()
    done = run_program("where.py", "--seconds", "3", "--lines", "3")
    assert done.returncode == 0, done.stderr
    shares = {
        name.strip(): float(share) for name, share in re.findall(r"^(.*?)  +([0-9.]+) %  +[0-9.]+$", done.stdout, re.M)
    }
    assert 99 < sum(shares.values()) < 101
    assert shares[SYSTEM] > 5, done.stdout
    assert shares["login"] > 5, done.stdout
    assert len(re.findall(r"^ *[0-9.]+ %  \S+\.py:\d+ ", done.stdout, re.M)) == 3


@pytest.mark.parametrize(
    ("file", "owner", "part"),
    [
        ("/x/iscsitools/iscsi/login/phase.py", "/x/iscsitools/iscsi/login/phase.py", "login"),
        ("/usr/lib/python3.11/logging/__init__.py", "/x/iscsitools/server/session_notices.py", "log lines"),
        ("/x/iscsitools/server/ending.py", "/x/iscsitools/server/ending.py", "around the engine (server/)"),
        ("/usr/lib/python3.11/enum.py", "", "the rest"),
    ],
)
def test_a_line_belongs_to_who_called_it(file: str, owner: str, part: str) -> None:
    assert part_of(file, 1, owner) == part
