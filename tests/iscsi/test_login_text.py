"""The text of a login: in pieces, bounded, of any encoding; and anything at all instead of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iscsi.login_support import (
    FULL,
    OPERATIONAL,
    SECURITY,
    TARGET,
    chap_policy,
    engine,
    failed,
    header,
    names,
    request,
)
from iscsitools.iscsi.errors import ProtocolError
from iscsitools.iscsi.login import state_machine as login_module
from iscsitools.iscsi.login.messages import LoginPending
from iscsitools.iscsi.text_pairs import encode_pairs, parse_pairs
from iscsitools.wire.keys import KEYS
from iscsitools.wire.rfc7143 import LoginStatus


def test_text_in_pieces_of_one_byte(monkeypatch):
    monkeypatch.setattr(login_module, "MAX_REQUESTS", 1000)
    login = engine()
    data = encode_pairs(names(HeaderDigest="CRC32C").items())
    for at in range(len(data) - 1):
        reply = login.on_request(header(OPERATIONAL, more=True), data[at : at + 1])
        assert (reply.flags, reply.data, reply.done) == (0x04, b"", False)
    assert login.on_request(header(OPERATIONAL, FULL), data[-1:]).result.parameters.header_digest


def test_text_is_bounded():
    login = engine()
    for _ in range(8):
        assert not login.on_request(header(SECURITY, more=True), b"A" * 8192).done
    failed(login.on_request(header(SECURITY, more=True), b"A"), LoginStatus.INITIATOR_ERROR, "65536")


def test_requests_are_bounded():
    login = engine()
    request(login, SECURITY, None, names())
    for _ in range(login_module.MAX_REQUESTS - 1):
        assert not request(login, SECURITY).done
    failed(request(login, SECURITY), LoginStatus.INITIATOR_ERROR, "128")


@pytest.mark.parametrize("again", [FULL, None])
def test_our_text_in_pieces(again):
    login = engine()
    unknown = {f"X-{n}-{'x' * 50}": "1" for n in range(300)}
    data = encode_pairs(names(**unknown).items())
    login.on_request(header(OPERATIONAL, more=True), data[:8192])
    replies = [login.on_request(header(OPERATIONAL, again), data[8192:])]
    while replies[-1].more:
        assert len(replies[-1].data) == 8192
        assert (replies[-1].flags, replies[-1].done) == (0x44, False)
        replies.append(request(login, OPERATIONAL, again))
    answers = parse_pairs(b"".join(reply.data for reply in replies))
    assert [name for name, value in answers if value == "NotUnderstood"] == list(unknown)
    assert len(replies) == 3
    if again is None:
        replies.append(request(login, OPERATIONAL, FULL))
    assert replies[-1].result


def test_text_while_ours_is_not_sent():
    login = engine()
    unknown = {f"X-{n}-{'x' * 50}": "1" for n in range(300)}
    assert login.on_request(header(OPERATIONAL, FULL), encode_pairs(names(**unknown).items())).more
    failed(request(login, OPERATIONAL, FULL, {"InitialR2T": "No"}), LoginStatus.INITIATOR_ERROR, "text before")


@pytest.mark.parametrize("data", [b"InitiatorName", b"\0\xff=\0", b"A=1\0A=1\0"])
def test_text_that_is_none(data):
    failed(engine().on_request(header(SECURITY), data), LoginStatus.INITIATOR_ERROR)


@pytest.mark.parametrize(
    "line",
    [
        "InitiatorAlias=Büro-PC".encode("latin-1"),
        ("InitiatorAlias=" + "a" * 31 + "ü").encode()[:-1],
        "X-org.invent.site=Köln".encode("latin-1"),
    ],
)
def test_values_that_nothing_depends_on_may_have_any_encoding(line):
    reply = engine().on_request(header(OPERATIONAL, FULL), encode_pairs(names().items()) + line + b"\0")
    assert reply.result


HEADERS = st.builds(
    header,
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 3)),
    more=st.booleans(),
    tsih=st.sampled_from([0, 0, 0, 7]),
    cid=st.sampled_from([1, 1, 2]),
)
TEXTS = st.one_of(
    st.binary(max_size=64),
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(list(KEYS)), st.text(max_size=5)),
            st.one_of(st.sampled_from(["None", "CHAP", "7", "0x01", "Yes", "1024", TARGET]), st.text(max_size=5)),
        ),
        max_size=6,
    ).map(encode_pairs),
    st.just(encode_pairs(names(AuthMethod="CHAP").items())),
    st.just(encode_pairs([("CHAP_A", "5")])),
    st.just(encode_pairs([("CHAP_N", "user"), ("CHAP_R", "0x00")])),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(HEADERS, TEXTS), min_size=1, max_size=6), st.sampled_from(["open", "chap", "deferred"]))
def test_anything_gets_a_reply_or_drops_the_connection(requests, kind):
    login = engine(auth=None if kind == "open" else chap_policy(deferred=kind == "deferred"))
    for bhs, data in requests:
        try:
            reply = login.on_request(bhs, data)
            if isinstance(reply, LoginPending):
                reply = login.provide_secret(reply.look_up())
        except ProtocolError:
            break
        assert len(reply.data) <= 8192
        assert kind == "open" or reply.result is None
        if reply.done:
            assert (reply.result is None) == (reply.status is not LoginStatus.SUCCESS)


@given(st.binary(min_size=48, max_size=48), st.binary(max_size=64))
def test_any_header_gets_a_reply_or_drops_the_connection(bhs, data):
    for first in (bhs[:1], b"\x43"):
        try:
            reply = engine().on_request(first + bhs[1:], data)
        except ProtocolError:
            continue
        assert reply.result is None
