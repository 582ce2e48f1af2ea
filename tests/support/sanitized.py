"""The native modules built under the address and undefined behaviour sanitizers, and programs run over them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .tools import missing, needs

FLAGS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
THREAD_FLAGS = "-g -O1 -fsanitize=thread"
PRELUDE = """
import importlib, importlib.util, sys
name, file = sys.argv[1:3]
package, _, last = name.rpartition(".")
spec = importlib.util.spec_from_file_location(name, file)
sys.modules[name] = importlib.util.module_from_spec(spec)
setattr(importlib.import_module(package), last, sys.modules[name])
spec.loader.exec_module(sys.modules[name])
del sys.argv[1:3]
"""


@dataclass(frozen=True)
class Sanitized:
    """One module's file, and the environment that it needs."""

    name: str
    module: Path
    environment: dict[str, str]

    def run(self, program: str, *words: str, cwd: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a program in Python in which this module stands for the one that was installed."""
        command = [sys.executable, "-c", PRELUDE + program, self.name, str(self.module), *words]
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=seconds, env=self.environment
        )


def runtime(compiler: str, library: str) -> str:
    """The sanitizer's library, which has to be loaded before Python."""
    words = [compiler, f"-print-file-name={library}"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(found):
        missing("gcc's sanitizers are not installed (Debian package libgcc-12-dev or later)")
    return found


def build(name: str, project: Path, made: Path, *, threads: bool = False) -> Sanitized:
    """Build a module by its full name, or end the running test with what it would take.

    ``threads``: under the thread sanitizer instead of the other two. It makes no program fail before its end.
    """
    compiler = needs("gcc", "gcc")
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    flags, library = (THREAD_FLAGS, "libtsan.so") if threads else (FLAGS, "libasan.so")
    environment = {**os.environ, "CC": compiler, "ISCSITOOLS_CFLAGS": flags, "ISCSITOOLS_REQUIRE_NATIVE": "1"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(made), "--build-temp", str(made / "o")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    folder = made.joinpath(*name.split(".")[:-1])
    (module,) = folder.glob(f"{name.rpartition('.')[2]}*.so")
    run = {"LD_PRELOAD": runtime(compiler, library), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    run["TSAN_OPTIONS"] = "exitcode=66"
    return Sanitized(name, module, {**os.environ, **run})
