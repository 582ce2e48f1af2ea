from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsitools.iscsi.errors import LoginError
from iscsitools.iscsi.login.chap import MAX_CHALLENGE, Challenges, ChapExchange, response
from iscsitools.iscsi.login.policy import AuthPolicy, ChapAlgorithm
from iscsitools.wire.rfc7143 import LoginStatus

HASHES = {5: hashlib.md5, 6: hashlib.sha1, 7: hashlib.sha256, 8: hashlib.sha3_256}
SECRET = b"a secret of its own"
CHALLENGE = bytes(range(32))


def random_bytes(count):
    """Predictable: the identifier is 0x27, the challenge 00 01 .. 1f."""
    return b"\x27" if count == 1 else bytes(range(count))


def exchange(challenges=None, mutual_secrets=(), **kwargs):
    policy = AuthPolicy(secret_for=lambda initiator, user: None, **kwargs)
    ours = {policy.mutual_secret, *mutual_secrets} - {b""}
    return ChapExchange(policy, random_bytes, Challenges() if challenges is None else challenges, ours.__contains__)


def answer(number, secret=SECRET, identifier=0x27, challenge=CHALLENGE):
    return "0x" + HASHES[number](bytes([identifier]) + secret + challenge).hexdigest()


def refused(call, match=None):
    with pytest.raises(LoginError, match=match) as caught:
        call()
    assert caught.value.status is LoginStatus.AUTHENTICATION_FAILURE


def test_known_answers():
    # printf "\x27secret\x00\x01..\x0f" through md5sum, sha1sum, sha256sum and openssl dgst -sha3-256.
    challenge = bytes(range(16))
    known = {
        ChapAlgorithm.MD5: "e13322b3768e8f436d297533b6c30ed4",
        ChapAlgorithm.SHA1: "54b8c0807cf3490f7279546fedbabe2bea02ca71",
        ChapAlgorithm.SHA256: "e7dd9fd9601e5989f33a383dd9083383dd27963a1fb8fcc4dfb457361557e65d",
        ChapAlgorithm.SHA3_256: "f0efc6813ada6fd7914542b1969318c56df3674ebe333244b031908ce00e9793",
    }
    assert {a: response(a, 0x27, b"secret", challenge).hex() for a in ChapAlgorithm} == known


@pytest.mark.parametrize("number", HASHES)
def test_one_way(number):
    chap = exchange()
    assert chap.receive({"CHAP_A": f"99,{number},5"}) == [
        ("CHAP_A", str(number)), ("CHAP_I", "39"), ("CHAP_C", "0x" + CHALLENGE.hex()),
    ]  # fmt: skip
    assert chap.receive({"CHAP_N": "user", "CHAP_R": answer(number)}) is None
    assert (chap.user, chap.done) == ("user", False)
    assert chap.verify(SECRET) == []
    assert chap.done


@pytest.mark.parametrize("number", HASHES)
@pytest.mark.parametrize("length", [1, 16, MAX_CHALLENGE])
def test_mutual(number, length):
    chap = exchange(mutual_name="t\u00e4rget", mutual_secret=b"the target's own")
    chap.receive({"CHAP_A": str(number)})
    theirs = b"\x77" * length
    keys = {"CHAP_N": "user", "CHAP_R": answer(number), "CHAP_I": "200", "CHAP_C": "0x" + theirs.hex()}
    assert chap.receive(keys) is None
    proof = answer(number, b"the target's own", 200, theirs)
    assert chap.verify(SECRET) == [("CHAP_N", "t\u00e4rget"), ("CHAP_R", proof)]


@pytest.mark.parametrize("secret", [b"p\xc3\xa4ss=w,rd \x00\xff", b"x", b"s" * 300])
def test_odd_secrets_and_names(secret):
    chap = exchange()
    chap.receive({"CHAP_A": "7"})
    chap.receive({"CHAP_N": "d\u00f6main\\us=er,\U0001f511", "CHAP_R": answer(7, secret)})
    assert chap.user == "d\u00f6main\\us=er,\U0001f511"
    assert chap.verify(secret) == []


def test_base64_response():
    chap = exchange()
    chap.receive({"CHAP_A": "5"})
    digest = hashlib.md5(b"\x27" + SECRET + CHALLENGE).digest()
    chap.receive({"CHAP_N": "u", "CHAP_R": "0b" + base64.b64encode(digest).decode()})
    assert chap.verify(SECRET) == []


@pytest.mark.parametrize("offered", ["5,8,7", "7,8", "8,5,7,6"])
def test_only_allowed_algorithms_and_our_preference(offered):
    chap = exchange(algorithms=(ChapAlgorithm.SHA256, ChapAlgorithm.SHA3_256))
    assert chap.receive({"CHAP_A": offered})[0] == ("CHAP_A", "7")
    assert exchange().receive({"CHAP_A": offered})[0] == ("CHAP_A", str(max(map(int, offered.split(",")))))
    refused(lambda: exchange(algorithms=(ChapAlgorithm.SHA256,)).receive({"CHAP_A": "5,6"}), "no CHAP algorithm")


@pytest.mark.parametrize("secret", [b"another", None, b""])
def test_wrong_secret_and_unknown_user_look_the_same(secret):
    chap = exchange()
    chap.receive({"CHAP_A": "7"})
    chap.receive({"CHAP_N": "user", "CHAP_R": answer(7)})
    refused(lambda: chap.verify(secret), "wrong response or unknown user")
    assert not chap.done


def test_an_empty_secret_proves_nothing():
    chap = exchange()
    chap.receive({"CHAP_A": "7"})
    chap.receive({"CHAP_N": "user", "CHAP_R": answer(7, b"")})
    refused(lambda: chap.verify(b""))


def test_an_unknown_user_costs_a_hash_too(monkeypatch):
    made = []
    real = hashlib.new
    monkeypatch.setattr(hashlib, "new", lambda *args, **kwargs: made.append(args[0]) or real(*args, **kwargs))
    for secret in (b"another", None):
        chap = exchange()
        chap.receive({"CHAP_A": "7"})
        chap.receive({"CHAP_N": "user", "CHAP_R": answer(7)})
        refused(lambda chap=chap, secret=secret: chap.verify(secret))
    assert made == ["sha256", "sha256"]


def started(**kwargs):
    chap = exchange(mutual_name="t", mutual_secret=b"the target's own", **kwargs)
    chap.receive({"CHAP_A": "7"})
    return chap


GOOD = {"CHAP_N": "user", "CHAP_R": answer(7)}


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        (GOOD | {"CHAP_I": "1", "CHAP_C": "0x" + CHALLENGE.hex()}, "challenge of our own"),
        (GOOD | {"CHAP_I": "1"}, "one is missing"),
        (GOOD | {"CHAP_C": "0x01"}, "one is missing"),
        (GOOD | {"CHAP_I": "256", "CHAP_C": "0x01"}, "more than one byte"),
        (GOOD | {"CHAP_I": "1", "CHAP_C": "0x" + "00" * (MAX_CHALLENGE + 1)}, "1025 bytes"),
        (GOOD | {"CHAP_I": "1", "CHAP_C": "0x"}, "not a binary"),
        (GOOD | {"CHAP_A": "7"}, "out of their order"),
        ({"CHAP_N": "user"}, "missing"),
        ({"CHAP_R": answer(7)}, "missing"),
        ({"CHAP_A": "7"}, "out of their order"),
        ({"CHAP_N": "user", "CHAP_R": "39"}, "not a binary"),
    ],
)
def test_refused_responses(keys, match):
    refused(lambda: started().receive(keys), match)


@pytest.mark.parametrize("keys", [{}, {"CHAP_N": "u"}, {"CHAP_A": ""}, {"CHAP_A": "7", "CHAP_N": "u"}])
def test_refused_beginnings(keys):
    refused(lambda: exchange().receive(keys))


def test_a_response_of_another_length_is_wrong():
    for value in ("0x00", answer(7) + "00", answer(5)):
        chap = started()
        chap.receive({"CHAP_N": "user", "CHAP_R": value})
        refused(lambda chap=chap: chap.verify(SECRET), "wrong response")


def test_one_secret_for_both_directions_is_refused():
    chap = exchange(mutual_name="t", mutual_secret=SECRET)
    chap.receive({"CHAP_A": "7"})
    chap.receive(GOOD | {"CHAP_I": "1", "CHAP_C": "0x01"})
    refused(lambda: chap.verify(SECRET), "answers initiators")


def test_a_secret_that_another_target_answers_with_proves_nobody():
    chap = exchange(mutual_secrets=[SECRET])
    chap.receive({"CHAP_A": "7"})
    chap.receive(GOOD)
    refused(lambda: chap.verify(SECRET), "answers initiators")
    assert not chap.done


def test_a_challenge_of_another_connection_is_not_answered():
    challenges = Challenges()
    first, second = exchange(challenges), exchange(challenges, mutual_name="t", mutual_secret=b"the target's own")
    first.receive({"CHAP_A": "7"})
    theirs = "0x" + bytes(range(1, 33)).hex()
    challenges.add(bytes(range(1, 33)))
    second.receive({"CHAP_A": "7"})
    refused(lambda: second.receive(GOOD | {"CHAP_I": "1", "CHAP_C": theirs}), "a challenge of our own")


def test_a_challenge_counts_until_its_exchange_ends():
    challenges = Challenges()
    chap = exchange(challenges)
    chap.receive({"CHAP_A": "7"})
    assert CHALLENGE in challenges
    chap.end()
    assert len(challenges) == 0


def test_a_proof_that_we_cannot_give_is_refused():
    chap = exchange()
    chap.receive({"CHAP_A": "7"})
    chap.receive(GOOD | {"CHAP_I": "1", "CHAP_C": "0x01"})
    refused(lambda: chap.verify(SECRET), "no secret of its own")


def test_the_response_is_taken_once():
    chap = started()
    chap.receive(GOOD)
    refused(lambda: chap.receive(GOOD), "out of their order")


NAMES = st.sampled_from(["CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"])


@given(st.lists(st.dictionaries(NAMES, st.one_of(st.text(max_size=8), st.sampled_from(["7", "0x01"]))), max_size=4))
def test_any_keys_give_a_step_or_a_failure(rounds):
    chap = started()
    try:
        for keys in rounds:
            if chap.receive(keys) is None:
                chap.verify(SECRET)
    except LoginError as error:
        assert error.status is LoginStatus.AUTHENTICATION_FAILURE  # noqa: PT017
    assert not chap.done
