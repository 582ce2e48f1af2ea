"""The native module's arguments, byte by byte, against the probe table."""

from __future__ import annotations

import ctypes
import random
import socket
import struct
import sys
from typing import Any

import pytest
from support.native import needs_native

from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe, info_of

STRINGS = {"target": 16, "initiator": 24, "isid": 72, "tsih": 80, "transport": 88, "local": 96, "remote": 104}
STRINGS["protocol"] = 112


@pytest.fixture
def native() -> Any:
    module = needs_native()
    yield module
    module.forget()


def connection(ident: int = 1, **changes: str) -> ConnectionInfo:
    strings: dict[str, Any] = {
        "local": "192.0.2.1:3260",
        "remote": "[2001:db8::7]:51234",
        "target": "iqn.2024-01.example:disk",
        "initiator": "iqn.1993-08.org.debian:01:abc",
    }
    return ConnectionInfo(ident, **{**strings, **changes})


def text_at(structure: bytes, offset: int) -> str:
    return ctypes.string_at(struct.unpack_from("=Q", structure, offset)[0]).decode()


@pytest.mark.parametrize("probe", [p for p in PROVIDER_PROBES if p not in XFER_PROBES])
def test_numbers_are_those_of_the_table(native: Any, probe: Probe) -> None:
    source = random.Random(probe)
    for _ in range(50):
        bhs, lun = source.randbytes(48), source.randrange(1 << 14)
        native.on_pdu(probe, 0, connection(), lun, bhs, b"", 0)
        proto = native.last_event()[0]
        info = info_of(probe, bhs, lun)
        assert struct.unpack_from("=Q8I", proto, 32) == (*info, 0)  # 4 bytes of padding behind the flags


def test_layout(native: Any) -> None:
    bhs = bytes([0x01, 0xC1, 0, 0, 0, 0x12, 0x34, 0x56]) + bytes(8) + bytes(range(0x10, 0x30))
    native.on_pdu(Probe.SCSI_COMMAND, 0, connection(), 5, bhs, b"\x28" + bytes(9), 0)
    proto, command, xfer = native.last_event()
    assert (len(proto), len(command), len(xfer)) == (120, 16, 40)
    assert struct.unpack_from("=Q", proto, 32) == (5,)  # lun
    assert struct.unpack_from("=I", proto, 40) == (0x10111213,)  # itt
    assert struct.unpack_from("=I", proto, 44) == (0xFFFFFFFF,)  # ttt
    assert struct.unpack_from("=I", proto, 48) == (0x18191A1B,)  # cmdsn
    assert struct.unpack_from("=I", proto, 52) == (0x1C1D1E1F,)  # statsn
    assert struct.unpack_from("=I", proto, 56) == (0,)  # datasn
    assert struct.unpack_from("=I", proto, 60) == (0x123456,)  # datalen
    assert struct.unpack_from("=I", proto, 64) == (0xC1,)  # flags
    info = connection()
    assert {name: text_at(proto, at) for name, at in STRINGS.items()} == {n: getattr(info, n) for n in STRINGS}


def test_command(native: Any) -> None:
    cdb = bytes(range(0x88, 0x88 + 16))
    native.on_pdu(Probe.SCSI_COMMAND, 0, connection(), 0, bytes(48), cdb, 0)
    length, address = struct.unpack("=QQ", native.last_event()[1])
    assert ctypes.string_at(address, length) == cdb


def test_xfer(native: Any) -> None:
    xfer = Xfer(itt=1, ttt=0xFFFFFFFE, laddr=0x7F0012345678, loffset=65536, length=4096, type=1)
    native.on_xfer(Probe.XFER_DONE, 0, connection(), 300, xfer)
    proto, _, moved = native.last_event()
    assert struct.unpack_from("=Q8I", proto, 32) == (300, 1, 0xFFFFFFFE, 0, 0, 0, 0, 0, 0)
    assert struct.unpack("=QIIQIIII", moved) == (0x7F0012345678, 65536, 0, 0, 0, 0, 4096, 1)


@pytest.mark.parametrize(
    ("text", "family", "address"),
    [
        ("192.0.2.9:3260", socket.AF_INET, "192.0.2.9"),
        ("[2001:db8::9]:3260", socket.AF_INET6, "2001:db8::9"),
        ("[fe80::1%eth0]:3260", socket.AF_INET6, "fe80::1"),
        ("", socket.AF_UNSPEC, ""),
        ("[::1", socket.AF_UNSPEC, ""),
        ("nonsense:1", socket.AF_UNSPEC, ""),
        ("[", socket.AF_UNSPEC, ""),
    ],
)
def test_socket_addresses(native: Any, text: str, family: int, address: str) -> None:
    native.on_pdu(Probe.NOP_SEND, 0, connection(remote=text), 0, bytes(48), b"", 0)
    storage = ctypes.string_at(struct.unpack_from("=Q", native.last_event()[0], 8)[0], 28)
    assert struct.unpack_from("=H", storage) == (family,)
    if family == socket.AF_UNSPEC:
        assert storage == bytes(28)
        return
    at, length = (4, 4) if family == socket.AF_INET else (8, 16)
    assert storage[2:4] == (3260).to_bytes(2, "big")
    assert storage[at : at + length] == socket.inet_pton(family, address)


def test_strings_follow_the_generation(native: Any) -> None:
    info = connection(target="")

    def target() -> str:
        native.on_pdu(Probe.LOGIN_COMMAND, 0, info, 0, bytes(48), b"", 0)
        return text_at(native.last_event()[0], STRINGS["target"])

    assert target() == ""
    info.target = "iqn.2024-01.example:other"
    assert target() == ""  # a copy, until the generation says that it is old
    info.generation += 1
    assert target() == "iqn.2024-01.example:other"


def test_connections_that_share_a_slot_keep_their_own_strings(native: Any) -> None:
    infos = [connection(ident, remote=f"192.0.2.1:{ident}") for ident in range(1, 200)]  # more than there are slots
    for info in [*infos, *reversed(infos)] * 2:
        native.on_pdu(Probe.NOP_SEND, 0, info, 0, bytes(48), b"", 0)
        assert text_at(native.last_event()[0], STRINGS["remote"]) == info.remote


def test_a_connection_in_the_memory_of_a_former_one_has_its_own_strings(native: Any) -> None:
    for ident in range(1, 1000):
        info = connection(ident, remote=f"192.0.2.1:{ident}")
        native.on_pdu(Probe.NOP_SEND, 0, info, 0, bytes(48), b"", 0)
        assert text_at(native.last_event()[0], STRINGS["remote"]) == f"192.0.2.1:{ident}"
        del info


def test_connections_are_let_go(native: Any) -> None:
    info = connection()
    before = sys.getrefcount(info)
    for _ in range(3):
        native.on_pdu(Probe.NOP_SEND, 0, info, 0, bytes(48), b"", 0)
        info.generation += 1
    assert sys.getrefcount(info) == before + 1
    native.forget()
    assert sys.getrefcount(info) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (18, 0, connection(), 0, bytes(48), b"", 0),
        (-1, 0, connection(), 0, bytes(48), b"", 0),
        (0, 0, connection(), 0, bytes(47), b"", 0),
        (0, 0, connection(), 0, bytearray(48), b"", 0),
        (0, 0, connection(), 0, bytes(48), None, 0),
        (0, 0, None, 0, bytes(48), b"", 0),
        (0, 0, connection(local="a\ud800"), 0, bytes(48), b"", 0),
        (0, 0, connection()),
    ],
)
def test_wrong_arguments_are_refused(native: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        native.on_pdu(*arguments)


class Refusing:
    """A number that cannot be read."""

    def __index__(self) -> int:
        raise RuntimeError("not now")


@pytest.mark.parametrize("numbers", [(Refusing(), Refusing(), 3, 4, 5, 0), ("x", Refusing(), 3, 4, 5, 0)])
def test_the_first_error_is_the_one_that_is_raised(native: Any, numbers: tuple[Any, ...]) -> None:
    """Python calls its methods with no error pending: else what they raise becomes a SystemError."""
    with pytest.raises((TypeError, RuntimeError)) as caught:
        native.on_xfer(Probe.XFER_DONE, 0, connection(), Refusing(), numbers)
    assert caught.value.__cause__ is None


def test_nothing_is_enabled_when_nobody_looks(native: Any) -> None:
    assert native.mask() == 0
    assert not any(native.enabled(probe) for probe in PROVIDER_PROBES)
