"""The native module's own tests once more, with the module built under the address and undefined sanitizers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.native import needs_native
from support.tools import missing, needs

FLAGS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
TESTS = ("test_native.py", "test_libusdt.py")
RUN = """
import importlib.util, sys
import iscsitools.provider, pytest
name = "iscsitools.provider._native"
spec = importlib.util.spec_from_file_location(name, sys.argv[1])
sys.modules[name] = iscsitools.provider._native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def runtime(compiler: str) -> str:
    """The sanitizer's library, which has to be loaded before Python."""
    words = [compiler, "-print-file-name=libasan.so"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(found):
        missing("gcc's address sanitizer is not installed (Debian package libgcc-12-dev or later)")
    return found


@pytest.fixture(scope="module")
def sanitized(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The module, and the environment that it needs."""
    needs_native()
    compiler = needs("gcc", "gcc")
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    made = tmp_path_factory.mktemp("sanitized")
    environment = {**os.environ, "CC": compiler, "ISCSITOOLS_CFLAGS": FLAGS, "ISCSITOOLS_REQUIRE_NATIVE": "1"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(made), "--build-temp", str(made / "o")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (module,) = (made / "iscsitools" / "provider").glob("_native*.so")
    run = {"LD_PRELOAD": runtime(compiler), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    return module, {**os.environ, **run}


def test_the_tests_pass(project: Path, sanitized: tuple[Path, dict[str, str]]) -> None:
    module, environment = sanitized
    tests = [str(Path(__file__).with_name(name)) for name in TESTS]
    command = [sys.executable, "-c", RUN, str(module), *tests]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout


def test_a_fault_would_be_seen(project: Path, sanitized: tuple[Path, dict[str, str]]) -> None:
    """The module that was tested is the one with the sanitizer, and that ends the process."""
    module, environment = sanitized
    fault = "import ctypes; ctypes.memset(ctypes.create_string_buffer(1), 0, 64)"
    done = subprocess.run(
        [sys.executable, "-c", fault], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
    assert b"__asan_report" in module.read_bytes()
