"""What is left of the probes where a system or a service's unit forbids something, and how that is said."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.native import needs_libusdt, needs_native
from support.tools import missing, needs

from iscsitools.provider import building, memory, places
from iscsitools.provider.errors import ProviderError

# As systemd's MemoryDenyWriteExecute= (kernel 6.3 and later) or a hardened runtime of macOS: what was writable cannot
# become executable.
DENY = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
"""

SERVE = """
import json, platform
from pathlib import Path
from iscsitools.provider import backend, libusdt, registration
from provider import systems
folder = Path({folder!r})
library = systems.library({system!r}, folder)
libusdt.load = lambda system: library
platform.system = lambda: {system!r}
registration.DEVICES[{system!r}] = "/dev/null"
{deny}
chosen = backend.choose("dtrace")
print(json.dumps([chosen.names, chosen.mask(), chosen.warnings]))
"""


def under_denial(code: str) -> str:
    """Run Python code in a process of its own; what it printed. Skips where the kernel has no such rule."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3 and later)")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("system", ["SunOS", "FreeBSD", "Darwin"])
def test_memory_that_may_not_become_executable_is_one_line(tmp_path: Path, system: str) -> None:
    """The target serves on without probes; once it died at its first look at them."""
    needs_native()
    needs_libusdt()
    out = under_denial(SERVE.format(folder=str(tmp_path), system=system, deny=DENY))
    reason = "the tracepoints' memory may not be made executable: Permission denied"
    assert json.loads(out) == [[], 0, [f"no DTrace probes: {reason}"]]


PLACE = """
from pathlib import Path
from iscsitools.provider import backend, registration
from iscsitools.provider.placement import Placement
from provider import systems
native = backend.native_module()
library = systems.library("Linux", Path({folder!r}))
{deny}
placement = Placement(library, "Linux")
placement.fill()
registration.set_tracepoints(native, library, placement.tracepoints)
native.use_sdt(True)
print(native.mask())
placement.close()
"""


def test_probes_on_linux_live_with_memory_deny_write_execute(tmp_path: Path) -> None:
    """Their code is in the file before it is mapped. SDT notes are the module's own code."""
    needs_native()
    needs_libusdt()
    assert under_denial(PLACE.format(folder=str(tmp_path), deny=DENY)) == "0\n"


def with_mounts(script: str) -> str:
    """Run a shell script as root in a mount namespace of its own; what it printed."""
    unshare = needs("unshare", "util-linux")
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = [unshare, *root, "--mount", "sh", "-ec", script]
    if subprocess.run([unshare, *root, "--mount", "true"], capture_output=True, check=False).returncode:
        missing("a mount namespace cannot be made here")
    environment = {**os.environ, "TMPDIR": "/tmp", "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


FOLDERS = '"$PYTHON" -c "from iscsitools.provider import places; print(*places.folders())"'


def test_a_private_folder_for_temporary_files_comes_last(tmp_path: Path) -> None:
    """A tracer outside of the service would look for a file in its own /tmp: PrivateTmp= leaves /dev/shm."""
    private = tmp_path / "systemd-private-1f-iscsitools.service-x"
    for name in ("tmp", "var"):
        (private / name).mkdir(parents=True)
    script = (
        f"mount -t tmpfs x /dev/shm; mount --bind {private}/var /var/tmp; mount --bind {private}/tmp /tmp; {FOLDERS}"
    )
    assert with_mounts(script) == "/dev/shm /tmp /var/tmp\n"


BUILD = """from iscsitools.provider import building
with building.build_folder() as made:
    print(made.parent)
"""


def test_nothing_is_built_where_no_code_may_be_mapped() -> None:
    script = f"mount -t tmpfs -o noexec x /tmp; \"$PYTHON\" -c '{BUILD}'"
    assert with_mounts(script) == "/var/tmp\n"


def test_no_folder_that_code_may_be_mapped_from_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "folders", lambda: iter(()))
    with pytest.raises(ProviderError, match="no folder to load code from: tried /"), building.build_folder():
        pass
    held = memory.FileMemory(1)
    with pytest.raises(ProviderError, match="no folder to map code from: /"):
        held.fill(b"code")
    held.close()


def test_a_full_folder_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first file cannot be written, and is removed; the second is taken."""
    full, other = tmp_path / "full", tmp_path / "other"
    full.mkdir()
    other.mkdir()
    written = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(full)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(fd, data[:1000], at)  # a part at a time, as a system may

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(places, "folders", lambda: iter((full, other)))
    held = memory.FileMemory(5000)
    held.fill(b"code" * 1000)
    assert held.path is not None
    assert (held.path.parent, held.path.read_bytes()[:4000]) == (other, b"code" * 1000)
    held.close()
    assert list(tmp_path.rglob(f"{memory.PREFIX}*")) == []
    monkeypatch.setattr(places, "folders", lambda: iter((full,)))
    held = memory.FileMemory(1)
    with pytest.raises(ProviderError, match=f"{full}: No space left on device"):
        held.fill(b"code")
    held.close()
