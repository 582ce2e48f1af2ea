"""Which backend is chosen, and how the subscriber follows it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tools import needs

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import Probe
from iscsitools.provider import backend, building, libusdt, registration
from iscsitools.provider.backend import Backend, choose
from iscsitools.provider.errors import NotBuiltError, ProviderError
from iscsitools.provider.subscriber import ProviderSubscriber


class Native:
    """Stands in for the native module: a mask that a test sets, and what was fired."""

    HAVE_SDT = 1

    def __init__(self) -> None:
        self.now = 0
        self.sdt = False
        self.fired: list[tuple[Any, ...]] = []

    def mask(self) -> int:
        return self.now

    def enabled(self, probe: int) -> bool:
        return bool(self.now >> probe & 1)

    def on_pdu(self, *arguments: Any) -> None:
        self.fired.append(arguments)

    on_xfer = on_pdu

    def use_sdt(self, on: bool) -> None:
        self.sdt = on

    def forget(self) -> None:
        self.fired.clear()


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Native:
    module = Native()
    monkeypatch.setattr(backend, "native_module", lambda: module)
    return module


def refuse(reason: str) -> Any:
    def registration(native: Any) -> None:
        raise ProviderError(reason)

    return registration


def test_none_is_never_enabled() -> None:
    chosen = choose("none")
    assert (chosen.names, chosen.warnings, chosen.mask()) == ((), (), 0)
    assert not chosen.enabled(Probe.NOP_SEND)
    chosen.fire(Probe.NOP_SEND, ConnectionInfo(1), 0, bytes(48))
    chosen.close()


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="ktrace"):
        choose("ktrace")


def test_auto_on_linux_without_dtrace_is_silent(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registration.DEVICES, "Linux", "/nonexistent/helper")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    chosen = choose("auto")
    assert (chosen.names, chosen.warnings) == (("sdt",), ())
    assert native.sdt
    chosen.close()
    assert not native.sdt


def test_auto_serves_both_when_both_are_there(native: Native, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(registration.DEVICES, "Linux", str(tmp_path))
    monkeypatch.setattr(registration, "Registration", lambda native: SimpleNamespace(close=lambda: None))
    chosen = choose("auto")
    assert (chosen.names, chosen.warnings) == (("dtrace", "sdt"), ())
    chosen.close()


@pytest.mark.parametrize(("name", "left"), [("auto", ("sdt",)), ("dtrace", ())])
def test_a_refused_registration_is_one_line(
    native: Native, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, left: tuple[str, ...]
) -> None:
    monkeypatch.setitem(registration.DEVICES, "Linux", str(tmp_path))
    monkeypatch.setattr(registration, "Registration", refuse("no permission"))
    chosen = choose(name)
    assert (chosen.names, chosen.warnings) == (left, ("no DTrace probes: no permission",))
    assert not chosen.mask()


def test_a_missing_native_module_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise NotBuiltError("the native module was not built")

    monkeypatch.setattr(backend, "native_module", absent)
    line = "no probes: the native module was not built"
    chosen = choose("auto")
    assert (chosen.warnings, chosen.notes) == ((), (line,))
    assert not chosen.enabled(0)
    # Who asks for probes is warned, and so is everybody where what was built does not work.
    assert choose("sdt").warnings == choose("dtrace").warnings == (line,)

    def broken() -> None:
        raise ProviderError("the native module does not load")

    monkeypatch.setattr(backend, "native_module", broken)
    assert choose("auto").warnings == ("no probes: the native module does not load",)


@pytest.mark.parametrize(
    ("system", "machine", "reason"),
    [
        ("Windows", "AMD64", "no DTrace"),
        ("Darwin", "arm64", "/dev/dtracehelper does not exist"),
        ("Linux", "aarch64", "/dev/dtrace/helper does not exist"),
        ("Linux", "riscv64", "x86 and arm64 processors only, not for riscv64"),
        ("FreeBSD", "amd64", "/dev/dtrace/helper does not exist"),
    ],
)
def test_why_there_is_no_dtrace(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, reason: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("os.path.exists", lambda path: False)
    assert reason in registration.unavailable()


SOURCES = {
    "nothing in it": {},
    "a damaged archive": {"libusdt.a": "not an archive"},
    "sources that do not compile": dict.fromkeys(building.SOURCES, "#error no luck\n"),
    "another libusdt": dict.fromkeys(building.SOURCES, "")
    | {"usdt.c": "int usdt_dof_file_generate(void) { return 0; }"},
}


@pytest.mark.parametrize("files", SOURCES.values(), ids=SOURCES)
def test_a_broken_python_usdt_is_one_line(
    native: Native, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str]
) -> None:
    needs("cc", "gcc")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "helper").touch()
    monkeypatch.setitem(registration.DEVICES, "Linux", str(tmp_path / "helper"))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(building, "package_folder", lambda: tmp_path)
    monkeypatch.setattr(libusdt, "INSTALLED", tmp_path / "none")
    chosen = choose("auto")
    (warning,) = chosen.warnings
    assert warning.startswith("no DTrace probes: libusdt cannot be built: ")
    assert "\n" not in warning
    assert chosen.names == ("sdt",)
    chosen.close()


def test_a_compiler_that_cannot_be_named_is_one_line(
    native: Native, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(registration.DEVICES, "Linux", str(tmp_path))
    monkeypatch.setattr(libusdt, "INSTALLED", tmp_path / "none")
    monkeypatch.setenv("CC", "cc '")
    (warning,) = choose("dtrace").warnings
    assert "CC=cc ' is no command" in warning


def test_subscriber_follows_the_mask(native: Native) -> None:
    probes = Probes(lambda: 1)
    subscriber = ProviderSubscriber(probes, Backend(("sdt",), mask=native.mask, _native=native))  # type: ignore[arg-type]
    info, bhs = ConnectionInfo(1), bytes(range(48))
    subscriber.poll()
    assert probes.mask == 0
    native.now = 1 << Probe.SCSI_COMMAND | 1 << Probe.XFER_DONE
    subscriber.poll()
    assert probes.mask == native.now
    probes.pdu(Probe.SCSI_COMMAND, info, 3, b"??" + bhs, 2, b"\x28" + bytes(9))
    probes.xfer(Probe.XFER_DONE, info, 3, 1, 2, 3, 4, 5, 0)
    assert [f[0] for f in native.fired] == [Probe.SCSI_COMMAND, Probe.XFER_DONE]
    assert native.fired[0][2:6] == (info, 3, bhs, b"\x28" + bytes(9))
    assert native.fired[1][2:] == (info, 3, Xfer(1, 2, 3, 4, 5, 0))
    native.now = 0
    subscriber.poll()
    assert probes.mask == 0
    native.now = 1
    subscriber.close()
    subscriber.poll()
    assert probes.mask == 0
