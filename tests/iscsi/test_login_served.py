"""Login through a served target, by initiators that share no code with it: the tests' own, and libiscsi's programs."""

from __future__ import annotations

import subprocess

import pytest
from support.target import start_target
from support.tools import needs

from iscsitools.initiator import LoginError, Session

CONFIG = """
[discovery]
method = "chap"
users = [{ name = "finder", secret = "who is out there" }]

[[target]]
iqn = "iqn.2026-11.example:open"
alias = "Open to all"
lun = [{ number = 0, store = "ram:1M" }]

[[target]]
iqn = "iqn.2026-11.example:closed"
initiators = ["iqn.2026-11.example:*", "iqn.2007-10.com.github:*"]
lun = [{ number = 0, store = "ram:2M" }]
[target.auth]
method = "chap"
users = [
  { name = "alice", secret = "correct horse battery" },
  { name = "b\\u00f6b=,\\\\ ", secret = "p\\u00e4ss=w%rd, more \\u20ac" },
]
mutual = { name = "t\\u00e4rget", secret = "the other secret" }
"""
OPEN, CLOSED = "iqn.2026-11.example:open", "iqn.2026-11.example:closed"
ALICE = ("alice", "correct horse battery")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("login")
    config = folder / "target.toml"
    config.write_text(CONFIG, encoding="utf-8")
    config.chmod(0o600)
    with start_target(folder, "--config", str(config), portals=["127.0.0.1:0", "[::1]:0"]) as target:
        yield target


def refused(served, target, **kwargs):
    with pytest.raises(LoginError) as caught:
        Session.connect(served.addresses[0], target, **kwargs)
    return caught.value.status


@pytest.mark.parametrize("which", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("digests", ["None", "CRC32C"])
def test_open_target(served, which, digests):
    with Session.connect(served.addresses[which], OPEN, digests=digests) as session:
        assert session.agreed.answers["TargetAlias"] == "Open to all"
        assert session.agreed.header_digest is (digests == "CRC32C")
        assert session.read_capacity() == (2048, 512)


@pytest.mark.parametrize("algorithm", ["5", "6", "7"])
@pytest.mark.parametrize("user", [ALICE, ("b\u00f6b=,\\ ", "p\u00e4ss=w%rd, more \u20ac")])
@pytest.mark.parametrize("mutual", [None, ("t\u00e4rget", "the other secret")])
def test_chap(served, algorithm, user, mutual):
    with Session.connect(
        served.addresses[0], CLOSED, chap=user, mutual=mutual, algorithms=algorithm, digests="CRC32C,None"
    ) as session:
        assert session.agreed.answers["CHAP_A"] == algorithm
        assert session.read_capacity() == (4096, 512)


@pytest.mark.parametrize(
    ("target", "kwargs", "status"),
    [
        (CLOSED, {}, (2, 1)),
        (CLOSED, {"chap": ("alice", "wrong horse battery")}, (2, 1)),
        (CLOSED, {"chap": ("mallory", "correct horse battery")}, (2, 1)),
        (CLOSED, {"chap": ALICE, "algorithms": "99"}, (2, 1)),
        (CLOSED, {"chap": ALICE, "initiator": "iqn.1999-01.example:stranger"}, (2, 3)),
        (OPEN + "x", {}, (2, 3)),
        (OPEN, {"tsih": 0x7777}, (2, 10)),
        ("", {"discovery": True}, (2, 1)),
    ],
)
def test_refused(served, target, kwargs, status):
    assert refused(served, target, **kwargs) == status


def run(program, *arguments):
    done = subprocess.run(
        [needs(program, "libiscsi-bin"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def test_libiscsi_discovers_and_logs_in(served):
    said = run("iscsi-ls", f"iscsi://finder%who is out there@{served.portal}")
    ports = [port for _, port in served.addresses]
    assert sorted(said.split()) == sorted(
        word
        for name in (OPEN, CLOSED)
        for portal in (f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}")
        for word in (f"Target:{name}", f"Portal:{portal},1")
    )
    assert "Login" in run("iscsi-ls", f"iscsi://{served.portal}")


@pytest.mark.parametrize(
    ("user", "mutual", "works"),
    [
        ("alice%correct horse battery@", "", True),
        ("alice%correct horse battery@", "?target_user=t\u00e4rget&target_password=the other secret", True),
        ("alice%correct horse battery@", "?target_user=t\u00e4rget&target_password=another", False),
        ("alice%wrong@", "", False),
        ("", "", False),
    ],
)
def test_libiscsi_chap(served, user, mutual, works):
    said = run("iscsi-inq", f"iscsi://{user}{served.portal}/{CLOSED}/0{mutual}")
    assert ("DIRECT_ACCESS" in said) is works
    assert works or "Login" in said
