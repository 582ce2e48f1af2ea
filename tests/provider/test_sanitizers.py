"""The native module's own tests once more, with the module built under the address and undefined sanitizers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import sanitized
from support.native import needs_native
from support.sanitized import Sanitized

TESTS = ("test_native.py", "test_libusdt.py")
RUN = """
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def module(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Sanitized:
    needs_native()
    return sanitized.build("iscsitools.provider._native", project, tmp_path_factory.mktemp("sanitized"))


def test_the_tests_pass(project: Path, module: Sanitized) -> None:
    done = module.run(RUN, *(str(Path(__file__).with_name(name)) for name in TESTS), cwd=project)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout


def test_a_fault_would_be_seen(project: Path, module: Sanitized) -> None:
    """The module that was tested is the one with the sanitizer, and that ends the process."""
    fault = "import ctypes; ctypes.memset(ctypes.create_string_buffer(1), 0, 64)"
    done = subprocess.run(
        [sys.executable, "-c", fault], capture_output=True, text=True, check=False, timeout=60, env=module.environment
    )
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
    assert b"__asan_report" in module.module.read_bytes()
