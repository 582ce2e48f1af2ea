from __future__ import annotations

import hashlib

import pytest

from iscsi.login_support import (
    FULL,
    INITIATOR,
    OPERATIONAL,
    SECRETS,
    SECURITY,
    chap_policy,
    directory,
    engine,
    keys_of,
    names,
    request,
)
from iscsitools.iscsi.errors import ProtocolError
from iscsitools.iscsi.login.messages import LoginPending
from iscsitools.iscsi.text_pairs import decode_binary
from iscsitools.wire.rfc7143 import LoginStatus


def answer(challenge_keys, user="user", secret=SECRETS["user"], **more):
    challenge = decode_binary(challenge_keys["CHAP_C"])
    digest = hashlib.sha256(bytes([int(challenge_keys["CHAP_I"])]) + secret + challenge)
    return {"CHAP_N": user, "CHAP_R": "0x" + digest.hexdigest(), **more}


def challenged(login, first=None, nsg=None):
    """Bring a login to where the initiator has its challenge."""
    reply = request(login, SECURITY, nsg, first or names(AuthMethod="CHAP,None"))
    assert keys_of(reply)["AuthMethod"] == "CHAP"
    assert not reply.transit
    reply = request(login, SECURITY, nsg, {"CHAP_A": "7,5"})
    assert not reply.transit
    return keys_of(reply)


def authentication_failure(reply):
    assert reply.status is LoginStatus.AUTHENTICATION_FAILURE
    assert reply.done
    assert reply.result is None


@pytest.mark.parametrize("nsg", [None, OPERATIONAL])
def test_one_way(nsg):
    login = engine(auth=chap_policy())
    challenge = challenged(login, nsg=nsg)
    assert set(challenge) == {"CHAP_A", "CHAP_I", "CHAP_C"}
    reply = request(login, SECURITY, OPERATIONAL, answer(challenge))
    assert (reply.flags, reply.data) == (0x81, b"")
    assert request(login, OPERATIONAL, FULL).result.chap_user == "user"


def test_mutual():
    login = engine(auth=chap_policy(mutual_name="disks", mutual_secret=b"the target's own"))
    keys = answer(challenged(login), CHAP_I="9", CHAP_C="0x" + "5a" * 16)
    proof = hashlib.sha256(b"\x09the target's own" + b"\x5a" * 16).hexdigest()
    assert keys_of(request(login, SECURITY, FULL, keys)) == {
        "CHAP_N": "disks", "CHAP_R": "0x" + proof, "MaxRecvDataSegmentLength": "262144",
    }  # fmt: skip


def test_the_stage_may_go_on_after_the_proof():
    login = engine(auth=chap_policy())
    assert request(login, SECURITY, None, answer(challenged(login))).flags == 0
    assert request(login, SECURITY, FULL).result


@pytest.mark.parametrize("changed", [{"user": "nobody"}, {"secret": b"another"}])
def test_wrong(changed):
    login = engine(auth=chap_policy())
    challenge = challenged(login)
    authentication_failure(request(login, SECURITY, OPERATIONAL, answer(challenge, **changed)))
    with pytest.raises(ProtocolError):
        request(login, SECURITY, OPERATIONAL, answer(challenge))


@pytest.mark.parametrize(
    ("csg", "nsg", "keys"),
    [
        (OPERATIONAL, FULL, names()),
        (OPERATIONAL, None, names(AuthMethod="CHAP")),
        (SECURITY, OPERATIONAL, names()),
        (SECURITY, FULL, names()),
        (SECURITY, OPERATIONAL, names(AuthMethod="None")),
        (SECURITY, None, names(AuthMethod="KRB5,None")),
        (SECURITY, None, names(AuthMethod="")),
        (SECURITY, None, names(AuthMethod="Reject")),
        (SECURITY, None, names(CHAP_A="5")),
        (SECURITY, None, names(AuthMethod="CHAP", CHAP_A="5")),
    ],
)
def test_no_way_round(csg, nsg, keys):
    authentication_failure(request(engine(auth=chap_policy()), csg, nsg, keys))


def test_the_stage_is_not_left_in_the_middle():
    login = engine(auth=chap_policy())
    challenged(login)
    reply = request(login, SECURITY, FULL)
    assert (reply.flags, reply.result) == (0, None)


def test_the_method_is_chosen_once():
    login = engine(auth=chap_policy())
    challenged(login)
    authentication_failure(request(login, SECURITY, None, {"AuthMethod": "CHAP"}))


def test_chap_without_need_is_turned_down():
    login = engine()
    assert keys_of(request(login, SECURITY, None, names(AuthMethod="CHAP,None")))["AuthMethod"] == "None"
    authentication_failure(request(login, SECURITY, None, {"CHAP_A": "5"}))
    authentication_failure(request(engine(), SECURITY, None, names(AuthMethod="CHAP")))


def test_a_discovery_session_has_its_own_policy():
    open_target = directory(discovery_auth=chap_policy())
    keys = {"InitiatorName": INITIATOR, "SessionType": "Discovery"}
    authentication_failure(request(engine(directory=open_target), OPERATIONAL, FULL, keys))
    assert request(engine(directory=open_target), OPERATIONAL, FULL, names()).result
    login = engine(directory=open_target)
    challenge = challenged(login, keys | {"AuthMethod": "CHAP"})
    assert request(login, SECURITY, FULL, answer(challenge)).result.discovery
    assert request(engine(auth=chap_policy()), OPERATIONAL, FULL, keys).result.discovery


def test_a_deferred_look_up():
    login = engine(auth=chap_policy(deferred=True))
    pending = request(login, SECURITY, FULL, answer(challenged(login)))
    assert isinstance(pending, LoginPending)
    assert (pending.initiator, pending.user) == (INITIATOR, "user")
    with pytest.raises(ProtocolError):
        request(login, SECURITY, FULL)
    assert login.provide_secret(pending.look_up()).result.chap_user == "user"
    with pytest.raises(ProtocolError):
        login.provide_secret(b"again")


@pytest.mark.parametrize("secret", [None, b"another"])
def test_a_deferred_look_up_that_fails(secret):
    login = engine(auth=chap_policy(deferred=True))
    request(login, SECURITY, FULL, answer(challenged(login)))
    authentication_failure(login.provide_secret(secret))


def test_a_secret_that_is_no_bytes_is_named():
    with pytest.raises(TypeError, match="not str"):
        LoginPending(INITIATOR, "user", lambda initiator, user: "text").look_up()
