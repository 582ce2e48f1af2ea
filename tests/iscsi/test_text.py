from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.iscsi import text_pairs as text
from iscsitools.iscsi.errors import TextError

# (pairs, text data segment): encoded from the left, parsed from the right.
PAIRS = [
    ([], ""),
    ([("A", "")], "41 3d 00"),
    ([("MaxBurstLength", "512")], "4d61784275727374 4c656e677468 3d 353132 00"),
    ([("A", "1"), ("B", "a,b")], "41 3d 31 00 42 3d 61 2c 62 00"),
    ([("CHAP_N", "a=b=c")], "434841505f4e 3d 61 3d 62 3d 63 00"),
    ([("InitiatorAlias", "\u00fc\U0001f4be")], "496e69746961746f72416c696173 3d c3bc f09f92be 00"),
    ([("iSCSIProtocolLevel", "2")], "6953435349 50726f746f636f6c 4c6576656c 3d 32 00"),
    ([("X#NodeArchitecture", "x86")], "58 23 4e6f6465 417263686974656374757265 3d 783836 00"),
    ([("K" * 63, "v")], "4b" * 63 + "3d 76 00"),
    ([("A", "v" * text.MAX_VALUE)], "41 3d" + "76" * text.MAX_VALUE + "00"),
]


@pytest.mark.parametrize(("pairs", "wire"), PAIRS)
def test_pairs(pairs, wire):
    data = bytes.fromhex(wire)
    assert text.encode_pairs(pairs) == data
    assert text.parse_pairs(data) == pairs


@pytest.mark.parametrize(("pairs", "wire"), [row for row in PAIRS if row[0]])
def test_a_cut_segment_is_never_taken_for_a_whole_one(pairs, wire):
    data = bytes.fromhex(wire)
    for end in range(1, min(len(data), 100)):
        if data[end - 1]:
            with pytest.raises(TextError, match="NUL"):
                text.parse_pairs(data[:end])
        else:
            assert text.parse_pairs(data[:end]) == pairs[: data[:end].count(0)]


def test_surplus_nuls_are_padding():
    assert text.parse_pairs(b"\0A=1\0\0\0B=2\0\0\0") == [("A", "1"), ("B", "2")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"A=1", "NUL"),
        (b"A\0", "no '='"),
        (b"=1\0", "not a key name"),
        (b"1A=1\0", "not a key name"),
        (b"A b=1\0", "not a key name"),
        (b"A\n=1\0", "not a key name"),
        (b"K" * 64 + b"=1\0", "not a key name"),
        (b"\xc3\x84=1\0", "UTF-8"),
        (b"TargetName=\xff\0", "UTF-8"),
        (b"CHAP_N=\xff\0", "UTF-8"),
        (b"A=1\0A=1\0", "twice"),
        (b"A=" + b"v" * (text.MAX_VALUE + 1) + b"\0", "value of 8193 bytes"),
        (b"".join(b"K%d=1\0" % n for n in range(text.MAX_PAIRS + 1)), "more than 512 keys"),
        (b"\0" * (text.MAX_TEXT + 1), "text of 65537 bytes"),
    ],
)
def test_refused(data, message):
    with pytest.raises(TextError, match=message):
        text.parse_pairs(data)


@pytest.mark.parametrize(
    ("length", "size", "lengths"),
    [(0, 512, [0]), (512, 512, [512]), (513, 512, [512, 1]), (1500, 512, [512, 512, 476])],
)
def test_split(length, size, lengths):
    data = bytes(n % 251 for n in range(length))
    pieces = text.split_text(data, size)
    assert [len(piece) for piece in pieces] == lengths
    assert b"".join(pieces) == data


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("262144", 262144),
        ("0x1F", 31),
        ("0XfF", 255),
        ("0x" + "f" * 16, 2**64 - 1),
        (str(2**64 - 1), 2**64 - 1),
    ],
)
def test_number(value, number):
    assert text.parse_number(value) == number


@pytest.mark.parametrize(
    "value",
    ["", "-1", "+1", " 1", "1 ", "01", "1.0", "0x", "0xg", "1_0", "\u0661", str(2**64), "0x1" + "0" * 16, "9" * 5000],
)
def test_not_a_number(value):
    with pytest.raises(TextError):
        text.parse_number(value)


def test_boolean():
    assert (text.parse_boolean("Yes"), text.parse_boolean("No")) == (True, False)
    assert (text.encode_boolean(True), text.encode_boolean(False)) == ("Yes", "No")
    for value in ("yes", "NO", "", "1", "Yes "):
        with pytest.raises(TextError):
            text.parse_boolean(value)


def test_list():
    assert text.parse_list("CRC32C,None") == ["CRC32C", "None"]
    for value in ("", ",", "a,", ",a", "a,,b"):
        with pytest.raises(TextError):
            text.parse_list(value)


@pytest.mark.parametrize(
    ("value", "wire"),
    [("0x00", "00"), ("0xdeadBEEF", "deadbeef"), ("0Xabc", "0abc"), ("0b3q2+7w==", "deadbeef"), ("0BAA==", "00")],
)
def test_binary(value, wire):
    assert text.decode_binary(value) == bytes.fromhex(wire)


@pytest.mark.parametrize("value", ["", "0x", "0b", "0xzz", "0b!", "0bA", "0bAA", "deadbeef", "12", "0b\u0661"])
def test_not_binary(value):
    with pytest.raises(TextError):
        text.decode_binary(value)


@given(st.binary(min_size=1, max_size=1024))
def test_binary_round_trip(data):
    assert text.decode_binary(text.encode_binary(data)) == data


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: data + b"\0")))
def test_any_bytes_are_parsed_or_refused(data):
    try:
        pairs = text.parse_pairs(data)
    except TextError:
        return
    assert text.parse_pairs(text.encode_pairs(pairs)) == pairs


@given(st.text(max_size=60))
def test_any_value_is_read_or_refused(value):
    for read in (text.parse_number, text.parse_boolean, text.parse_list, text.decode_binary):
        with contextlib.suppress(TextError):
            read(value)
