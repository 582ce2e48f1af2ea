"""A target directory, sessions and a request builder for the login tests."""

from __future__ import annotations

import struct
from types import SimpleNamespace

from iscsitools.iscsi.errors import LoginError
from iscsitools.iscsi.login.chap import Challenges
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.policy import AuthPolicy, Directory, Portal, TargetNode
from iscsitools.iscsi.login.state_machine import LoginEngine
from iscsitools.iscsi.text_pairs import encode_pairs, parse_pairs
from iscsitools.wire.rfc7143 import LoginStatus

TARGET = "iqn.2026-11.example:disks"
INITIATOR = "iqn.2026-11.example:host"
ISID = bytes.fromhex("80123456789a")
LOCAL = Portal("192.0.2.1", 3260)
DEVICE = SimpleNamespace()
SECRETS = {"user": b"a secret of its own"}
SECURITY, OPERATIONAL, FULL = 0, 1, 3


class Admission:
    """Session 7 exists, with CID 1 in it, and takes no second connection."""

    def __init__(self):
        self.next = 1
        self.owner = ""
        self.tried = []
        self.verdicts = []

    def join(self, initiator, isid, target, tsih, cid, group):
        if (initiator, isid, tsih) != (INITIATOR, ISID, 7):
            raise LoginError(LoginStatus.SESSION_DOES_NOT_EXIST, "no such session")
        if cid != 1:
            raise LoginError(LoginStatus.TOO_MANY_CONNECTIONS, "one connection only")

    def owner_of(self, tsih, user):
        if user != self.owner:
            raise LoginError(LoginStatus.AUTHORIZATION_FAILURE, "another one's session")

    def may_try(self, user):
        self.tried.append(user)

    def judged(self, user, right):
        self.verdicts.append((user, right))

    def new_tsih(self, initiator, isid, target, user, group):
        if self.next > 3:
            raise LoginError(LoginStatus.OUT_OF_RESOURCES, "no TSIH left")
        self.next += 1
        return self.next - 1


def random_bytes(count):
    return b"\x27" if count == 1 else bytes(range(count))


def secret_for(initiator, user):
    return SECRETS.get(user) if initiator == INITIATOR else None


def chap_policy(**kwargs):
    return AuthPolicy(secret_for=secret_for, **kwargs)


def directory(auth=None, discovery_auth=None, **kwargs):
    found = Directory([Portal("0.0.0.0", 3260)], discovery_auth)
    found.add(TargetNode(TARGET, DEVICE, auth=auth or AuthPolicy(), **kwargs))
    return found


def engine(auth=None, limits=None, admission=None, local=LOCAL, challenges=None, **kwargs):
    address = kwargs.pop("address", "")
    where = kwargs.pop("directory", None) or directory(auth, **kwargs)
    return LoginEngine(
        where, limits or NegotiationLimits(), admission or Admission(), local, random_bytes,
        Challenges() if challenges is None else challenges, address,
    )  # fmt: skip


def header(csg, nsg=None, *, more=False, isid=ISID, tsih=0, cid=1, version_min=0, opcode=0x43):
    """The BHS of a Login Request; ``nsg`` given: with the T bit."""
    flags = (nsg is not None) << 7 | more << 6 | csg << 2 | (nsg or 0)
    return struct.pack(">BBBB4x6sHIH26x", opcode, flags, 0, version_min, isid, tsih, 0x11, cid)


def names(**more):
    return {"InitiatorName": INITIATOR, "TargetName": TARGET, **more}


def request(login, csg, nsg=None, keys=(), **kwargs):
    return login.on_request(header(csg, nsg, **kwargs), encode_pairs(dict(keys).items()))


def keys_of(reply):
    return dict(parse_pairs(reply.data))


def failed(reply, status, match=""):
    assert reply.status is status
    assert reply.done
    assert reply.result is None
    assert not reply.transit
    assert reply.data == b""
    assert match in reply.message
    assert reply.message
    return reply
