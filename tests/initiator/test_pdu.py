"""The initiator's own encoders, from tables of (value, hex), and its log."""

from __future__ import annotations

import socket

import pytest

from iscsitools.initiator import (
    NO_TAG,
    Agreed,
    ConnectionClosedError,
    DigestError,
    Log,
    Opcode,
    Pdu,
    PduSocket,
    decode_pairs,
    encode_keys,
    encode_lun,
    make_bhs,
)
from iscsitools.initiator.chap import decode_binary, response
from iscsitools.initiator.pdu_socket import crc32c_plain, digest
from iscsitools.initiator.session import extended_cdb

HEADERS = [
    (
        make_bhs(
            Opcode.SCSI_COMMAND, cdb=b"\x28\0\0\0\0\x07\0\0\x08", flags=0xC1, itt=5, edtl=4096, cmd_sn=9, exp_stat_sn=3
        ),
        "01c10000 00000000 0000000000000000 00000005 00001000 00000009 00000003 28000000000700000800000000000000",
    ),
    (
        make_bhs(Opcode.NOP_OUT, immediate=True, itt=NO_TAG, ttt=7, cmd_sn=1, exp_stat_sn=2),
        "40800000 00000000 0000000000000000 ffffffff 00000007 00000001 00000002 00000000000000000000000000000000",
    ),
    (
        make_bhs(Opcode.DATA_OUT, flags=0, itt=1, ttt=2, lun=encode_lun(3), data_sn=4, buffer_offset=512),
        "05000000 00000000 0003000000000000 00000001 00000002 00000000 00000000 00000000 00000004 00000200 00000000",
    ),
    (
        make_bhs(Opcode.LOGOUT_REQUEST, immediate=True, flags=0x81, itt=1, cid=2, cmd_sn=3),
        "46810000 00000000 0000000000000000 00000001 00020000 00000003 00000000 00000000000000000000000000000000",
    ),
]


OPCODES = (
    "NOP_OUT 00, SCSI_COMMAND 01, TASK_REQUEST 02, LOGIN_REQUEST 03, TEXT_REQUEST 04, DATA_OUT 05, LOGOUT_REQUEST 06, "
    "SNACK_REQUEST 10, NOP_IN 20, SCSI_RESPONSE 21, TASK_RESPONSE 22, LOGIN_RESPONSE 23, TEXT_RESPONSE 24, DATA_IN 25, "
    "LOGOUT_RESPONSE 26, R2T 31, ASYNC_MESSAGE 32, REJECT 3f"
)
"""RFC 7143 11.2.1.2, written again: the target has its numbers from the same table as the initiator."""
LAYOUTS = [
    (Opcode.LOGIN_REQUEST, {"version_max": 1, "version_min": 2, "isid": 0x0A0B0C0D0E0F, "tsih": 3, "cid": 4},
     "0380 01 02 00000000 0a0b0c0d0e0f 0003 00000000 0004 0000" + "00" * 24),
    (Opcode.TASK_REQUEST, {"lun": 1, "rtt": 2, "ref_cmd_sn": 3, "exp_data_sn": 4},
     "02800000 00000000 0000000000000001 00000000 00000002 00000000 00000000 00000003 00000004" + "00" * 8),
    (Opcode.SNACK_REQUEST, {"ttt": 1, "exp_stat_sn": 2, "beg_run": 3, "run_length": 4},
     "10800000 00000000 0000000000000000 00000000 00000001 00000000 00000002" + "00" * 8 + "00000003 00000004"),
    (Opcode.SCSI_RESPONSE, {"response": 1, "status": 2, "stat_sn": 3, "exp_cmd_sn": 4, "max_cmd_sn": 5,
                            "exp_data_sn": 6, "bidi_residual": 7, "residual": 8},
     "21800102 00000000 0000000000000000 00000000 00000000 00000003 00000004 00000005 00000006 00000007 00000008"),
    (Opcode.R2T, {"ttt": 1, "r2t_sn": 2, "buffer_offset": 3, "desired_length": 4},
     "31800000 00000000 0000000000000000 00000000 00000001" + "00" * 12 + "00000002 00000003 00000004"),
    (Opcode.ASYNC_MESSAGE, {"event": 1, "vcode": 2, "parameter1": 3, "parameter2": 4, "parameter3": 5},
     "32800000" + "00" * 32 + "01 02 0003 0004 0005 00000000"),
    (Opcode.LOGIN_RESPONSE, {"status_class": 2, "status_detail": 1}, "23800000" + "00" * 32 + "0201" + "00" * 10),
    (Opcode.LOGOUT_RESPONSE, {"response": 1, "time2wait": 2, "time2retain": 3},
     "26800100" + "00" * 36 + "0002 0003 00000000"),
    (Opcode.REJECT, {"reason": 9, "data_sn": 1}, "3f800900" + "00" * 32 + "00000001" + "00" * 8),
]  # fmt: skip


def test_opcodes_are_those_of_the_standard() -> None:
    assert ", ".join(f"{opcode.name} {opcode:02x}" for opcode in Opcode) == OPCODES


@pytest.mark.parametrize(("opcode", "fields", "text"), LAYOUTS)
def test_layouts(opcode: Opcode, fields: dict[str, int], text: str) -> None:
    bhs = make_bhs(opcode, **fields)
    assert bhs.hex() == text.replace(" ", "")
    pdu = Pdu(bhs)
    assert {name: getattr(pdu, name) for name in fields} == fields


@pytest.mark.parametrize(("bhs", "text"), HEADERS)
def test_headers(bhs: bytes, text: str) -> None:
    assert bhs == bytes.fromhex(text)


def test_fields_are_read_where_they_are_written() -> None:
    pdu = Pdu(make_bhs(Opcode.DATA_IN, flags=0x81, status=8, stat_sn=1, data_sn=2, buffer_offset=3, residual=4, itt=5))
    assert (pdu.status, pdu.stat_sn, pdu.data_sn, pdu.buffer_offset, pdu.residual, pdu.itt) == (8, 1, 2, 3, 4, 5)
    assert pdu.final
    with pytest.raises(AttributeError, match="r2t_sn"):
        pdu.r2t_sn  # noqa: B018


@pytest.mark.parametrize(
    ("data", "crc"),
    # RFC 7143 appendix A (RFC 3720 B.4): the examples of CRC32C.
    [
        (bytes(32), "aa36918a"),
        (b"\xff" * 32, "43aba862"),
        (bytes(range(32)), "4e79dd46"),
        (bytes(range(31, -1, -1)), "5cdb3f11"),
    ],
)
def test_digests(data: bytes, crc: str) -> None:
    assert digest(data) == bytes.fromhex(crc)
    assert crc32c_plain(data).to_bytes(4, "little") == bytes.fromhex(crc)


def test_log_counts_sums_and_xors() -> None:
    log = Log()
    for itt in (1, 2, 7):
        log.note(make_bhs(Opcode.SCSI_COMMAND, itt=itt, edtl=512), sent=True)
    log.note(make_bhs(Opcode.SCSI_RESPONSE, itt=1), sent=False)
    assert log.counts() == {Opcode.SCSI_COMMAND: 3, Opcode.SCSI_RESPONSE: 1}
    assert log.total(Opcode.SCSI_COMMAND, "edtl") == 1536
    assert log.xor(Opcode.SCSI_COMMAND, "itt") == 4
    log.clear()
    assert log.counts() == {}


def test_keys() -> None:
    assert encode_keys({"A": "1", "B": "x=y"}) == b"A=1\0B=x=y\0"
    assert decode_pairs(b"A=1\0A=2\0B=x=y\0") == [("A", "1"), ("A", "2"), ("B", "x=y")]


def test_agreed_values_are_the_smaller_and_the_safer() -> None:
    agreed = Agreed(answers={"MaxBurstLength": "131072", "ImmediateData": "No", "InitialR2T": "Yes"})
    agreed.settle({"MaxBurstLength": "262144", "FirstBurstLength": "262144", "InitialR2T": "No"})
    assert (agreed.max_burst, agreed.first_burst, agreed.target_segment) == (131072, 131072, 8192)
    assert agreed.initial_r2t
    assert not agreed.immediate_data


def test_chap_values() -> None:
    assert decode_binary("0x0aFf") == decode_binary("0bCv8=") == b"\x0a\xff"
    # printf '\\1secret\\2' | md5sum (RFC 1994 4.1)
    assert response("5", 1, "secret", b"\x02").hex() == "26e2404abf0a021266913811ae589855"


def test_long_cdb_goes_to_an_ahs() -> None:
    assert extended_cdb(bytes(16)) == b""
    assert extended_cdb(bytes(16) + b"\x01\x02\x03\x04\x05") == bytes.fromhex("00060100 0102030405 000000")


@pytest.mark.parametrize("corrupt", ["header", "data"])
def test_wire_digests(corrupt: str) -> None:
    left, right = socket.socketpair()
    with left, right:
        wires = []
        for end in (left, right):
            wire = PduSocket.__new__(PduSocket)
            wire.sock, wire.log, wire.timeout, wire._got = end, Log(), 5.0, bytearray()
            wire.header_digest = wire.data_digest = True
            wires.append(wire)
        bhs = make_bhs(Opcode.NOP_OUT, itt=1)
        wires[0].send(bhs, data=b"abcde")
        pdu = wires[1].recv()
        assert (pdu.data, pdu.data_length) == (b"abcde", 5)
        wires[0].send(bhs, data=b"abcde", corrupt=corrupt)
        with pytest.raises(DigestError, match=corrupt):
            wires[1].recv()
        assert wires[0].log.count(Opcode.NOP_OUT) == 2
        left.close()
        wires[1]._got.clear()
        with pytest.raises(ConnectionClosedError):
            wires[1].recv()
