"""Texts that came before: what is known of them is what would be found."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.iscsi import text_pairs
from iscsitools.iscsi.errors import LoginError
from iscsitools.iscsi.login.negotiation import Negotiator
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.precedents import LONGEST, MOST
from iscsitools.wire.keys import KEYS, When

VALUES = ("Yes", "No", "0", "1", "512", "70000", "99999999", "CRC32C,None", "RFC3720", "Irrelevant", "x", "")
NAMES = (*KEYS, "X-ours", "FirstBurstLength", "InitialR2T", "ImmediateData", "MaxRecvDataSegmentLength")
texts = st.lists(
    st.tuples(
        st.sampled_from((When.SECURITY, When.OPERATIONAL)),
        st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=8, unique_by=lambda pair: pair[0]
        ),
        st.booleans(),
    ),
    max_size=4,
)


def outcome(limits: NegotiationLimits, said: list[tuple[int, list[tuple[str, str]], bool]], kind: dict[str, bool]):
    """All that a login gets from its negotiator; ``said``: stage, pairs, and whether an offer follows."""
    negotiator = Negotiator(limits, **kind)
    found: list[object] = []
    for stage, pairs, offers in said:
        try:
            found.append(negotiator.receive(list(pairs), stage))
        except LoginError as error:
            return [*found, error.status, str(error)]
        if offers:
            found += [negotiator.offer(), negotiator.declare()]
        found += [negotiator.settled, negotiator.unsettled, dict(negotiator.declared)]
    return [*found, asdict(negotiator.finish())]


@given(texts, st.booleans(), st.booleans(), st.booleans())
def test_a_second_time_is_as_the_first(said, discovery, leading, strict) -> None:
    limits = NegotiationLimits(header_digest=("CRC32C",), max_burst_length=4096) if strict else NegotiationLimits()
    kind = {"discovery": discovery, "leading": leading}
    first = outcome(limits, said, kind)
    assert outcome(limits, said, kind) == first
    assert outcome(limits, said, kind) == first, "the second one has changed what is known"


def test_what_differs_in_anything_is_another() -> None:
    limits = NegotiationLimits()
    pairs = [("MaxBurstLength", "4096"), ("InitialR2T", "No")]
    plain = outcome(limits, [(When.OPERATIONAL, pairs, False)], {})
    assert outcome(limits, [(When.OPERATIONAL, pairs, False)], {"discovery": True}) != plain
    assert outcome(limits, [(When.OPERATIONAL, pairs, False)], {"leading": False}) != plain
    assert outcome(limits, [(When.SECURITY, pairs, False)], {}) != plain
    assert outcome(limits, [(When.OPERATIONAL, pairs[:1], False)], {}) != plain
    assert outcome(NegotiationLimits(max_burst_length=1024), [(When.OPERATIONAL, pairs, False)], {}) != plain


def test_nobody_fills_the_memory() -> None:
    limits = NegotiationLimits()
    for number in range(3 * MOST):
        Negotiator(limits).receive([("InitiatorName", f"iqn.2026-11.example:{number}")], When.SECURITY)
        Negotiator(limits).receive([("InitiatorAlias", f"{number}" + "x" * LONGEST)], When.SECURITY)
    assert len(limits.precedents) == MOST


@pytest.mark.parametrize(
    ("data", "known"), [(b"InitiatorName=a\0", 1), (b"CHAP_N=me\0CHAP_R=0x00\0", 0), (b"X-a=" + b"x" * 1100 + b"\0", 0)]
)
def test_what_is_remembered_of_texts(data: bytes, known: int) -> None:
    text_pairs._parse_short.cache_clear()
    found = text_pairs.parse_pairs(data)
    found.append(("mine", "own"))
    assert text_pairs.parse_pairs(data) == found[:-1]
    assert text_pairs._parse_short.cache_info().currsize == known


def test_a_wrong_text_is_wrong_each_time() -> None:
    data = random.Random(5).randbytes(40) + b"\0"
    for _ in range(2):
        with pytest.raises(text_pairs.TextError):
            text_pairs.parse_pairs(data)
