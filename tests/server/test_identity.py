"""Who is who: sessions belong to CHAP names, secrets prove one thing only, limits and the brake, over the wire."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import pytest

from iscsitools.initiator import Channel, LoginError, Session, encode_keys
from iscsitools.initiator.chap import decode_binary, response

from .harness import IQN, TEST_UNIT_READY, Running, eventually, running

ALICE, BOB = ("alice", "alice-secret-123"), ("bob", "bobs-secret-4567")
VICTIM = "iqn.2026-11.example:victim"
USERS = """[target.auth]
method = "chap"
users = [
  { name = "alice", secret = "alice-secret-123" },
  { name = "bob", secret = "bobs-secret-4567" },
  { name = "carol", secret = "carols-secret-89", initiators = ["iqn.2026-11.example:carol*"] },
]
"""
RESERVE_EXCLUSIVE = 3
EVERYWHERE = 'portals = ["0.0.0.0:0"]\n'


def chap_target(limits: str = "") -> str:
    return f'[limits]\n{limits}\n[[target]]\niqn = "{IQN}"\n{USERS}[[target.lun]]\nstore = "ram:1M"\n'


def refused(target: Running, **kwargs: object) -> tuple[int, int]:
    with pytest.raises(LoginError) as caught:
        Session.connect(target.address, IQN, **kwargs)  # type: ignore[arg-type]
    return caught.value.status


def reserve(session: Session) -> None:
    """Register and reserve the unit for this initiator port alone (SPC-4 6.16)."""
    session.command(TEST_UNIT_READY)
    for action, key, new in ((6, 0, 0xA11CE), (1, 0xA11CE, 0)):
        cdb = bytes([0x5F, action, RESERVE_EXCLUSIVE, 0, 0, 0, 0, 0, 24, 0])
        assert session.command(cdb, write=struct.pack(">QQ8x", key, new)).good


@pytest.mark.parametrize("join", [False, True], ids=["session", "connection"])
def test_nobody_takes_the_session_of_another_chap_name(tmp_path: Path, join: bool) -> None:
    with running(tmp_path, chap_target()) as target:
        alice = Session.connect(target.address, IQN, initiator=VICTIM, chap=ALICE)
        reserve(alice)
        tsih = alice.agreed.tsih if join else 0
        assert refused(target, initiator=VICTIM, chap=BOB, tsih=tsih) == (2, 2)
        assert alice.nop(b"x").data == b"x"
        alice.write(0, b"a" * 512)
        again = Session.connect(target.address, IQN, initiator=VICTIM, chap=ALICE, tsih=tsih)
        again.cmd_sn = again.agreed.exp_cmd_sn
        assert again.nop(b"x").data == b"x"
        assert len(target.server.table) == 1
        again.close()
        alice.close()


def test_a_user_is_bound_to_initiator_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    carol = ("carol", "carols-secret-89")
    with running(tmp_path, chap_target()) as target:
        assert refused(target, initiator=VICTIM, chap=carol) == (2, 2)
        assert refused(target, initiator="iqn.2026-11.example:carol7", chap=("carol", "wrong-secret-0000")) == (2, 1)
        Session.connect(target.address, IQN, initiator="iqn.2026-11.example:Carol7", chap=carol).close()
    (line,) = (r for r in caplog.records if r.__dict__.get("status") == "0202")
    assert (line.__dict__["initiator"], line.__dict__["chap"]) == (VICTIM, "carol")
    assert line.__dict__["remote"].startswith("127.0.0.1:")


def test_the_log_says_who_came_and_who_was_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(tmp_path, chap_target()) as target:
        Session.connect(target.address, IQN, initiator=VICTIM, chap=ALICE).close()
        refused(target, initiator=VICTIM, chap=("alice", "not her secret..."))
        refused(target, initiator=VICTIM, chap=("mallory", "alice-secret-123"))
    lines: dict[str, list[dict[str, Any]]] = {r.getMessage(): [] for r in caplog.records}
    for record in caplog.records:
        lines[record.getMessage()].append(record.__dict__)
    assert lines["session opened"][0]["chap"] == "alice"
    assert [(line["initiator"], line["chap"], line["status"]) for line in lines["login failed"]] == [
        (VICTIM, "alice", "0201"), (VICTIM, "mallory", "0201"),
    ]  # fmt: skip


def test_taking_over_from_another_address_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = f'[[target]]\niqn = "{IQN}"\n[[target.lun]]\nstore = "ram:1M"\n'
    with running(tmp_path, EVERYWHERE + text) as target:
        port = target.address[1]
        first = Session.connect(("127.0.0.1", port), IQN, initiator=VICTIM)
        second = Session.connect(("127.0.0.1", port), IQN, initiator=VICTIM)
        assert not [r for r in caplog.records if "another address" in r.getMessage()]
        third = Session.connect(("127.0.0.2", port), IQN, initiator=VICTIM, source=("127.0.0.3", 0))
        for session in (first, second, third):
            session.close()
    (line,) = (r for r in caplog.records if "another address" in r.getMessage())
    assert line.levelno == logging.WARNING
    assert line.__dict__["before"].startswith("127.0.0.1:")
    assert line.__dict__["remote"].startswith("127.0.0.3:")


def test_a_challenge_of_ours_is_answered_on_no_connection(tmp_path: Path) -> None:
    """Who can have discovery prove itself must not get an answer for a login to a target (RFC 7143 9.2.1)."""
    text = (
        '[discovery]\nmethod = "chap"\nusers = [{ name = "a", secret = "AAAAAAAAAAAAAAAA" }]\n'
        'mutual = { name = "m", secret = "CCCCCCCCCCCCCCCC" }\n' + chap_target()
    )
    with running(tmp_path, text) as target:
        waiting, asked = challenged(target, {"SessionType": "Normal", "TargetName": IQN})
        discovery, own = challenged(target, {"SessionType": "Discovery"})
        proof = response("7", int(own["CHAP_I"]), "AAAAAAAAAAAAAAAA", decode_binary(own["CHAP_C"]))
        theirs = {"CHAP_I": asked["CHAP_I"], "CHAP_C": asked["CHAP_C"]}
        with pytest.raises(LoginError) as caught:
            discovery.phase.exchange(0, 1, {"CHAP_N": "a", "CHAP_R": "0x" + proof.hex(), **theirs})
        assert caught.value.status == (2, 1)
        assert caught.value.pdu.data == b""
        waiting.close()
        discovery.close()


def challenged(target: Running, names: dict[str, str]) -> tuple[Channel, dict[str, str]]:
    """A login as far as the target's challenge."""
    channel = Channel(target.address)
    channel.phase.exchange(0, 1, {"InitiatorName": "iqn.2026-11.example:a", "AuthMethod": "CHAP"} | names, False)
    channel.phase._exchange(0, 1, encode_keys({"CHAP_A": "7"}), False, {})
    return channel, channel.phase.agreed.answers


def test_the_brake_holds_guesses_and_nobody_else(tmp_path: Path) -> None:
    with running(tmp_path, EVERYWHERE + chap_target("chap_failures = 3")) as target:
        known = Session.connect(target.address, IQN, initiator=VICTIM, chap=ALICE, source=("127.0.0.9", 0))
        statuses = [refused(target, chap=("alice", f"guess number {n:04}")) for n in range(6)]
        assert statuses == [(2, 1)] * 3 + [(3, 1)] * 3
        assert refused(target, chap=ALICE) == (3, 1)  # the right one too, from there
        assert refused(target, chap=BOB) == (3, 1)
        Session.connect(target.address, IQN, chap=BOB, source=("127.0.0.8", 0)).close()
        assert refused(target, chap=ALICE, source=("127.0.0.8", 0)) == (3, 1)
        Session.connect(target.address, IQN, initiator=VICTIM, chap=ALICE, source=("127.0.0.9", 0)).close()
        known.close()


def test_one_address_has_its_own_bound(tmp_path: Path) -> None:
    text = chap_target("max_connections_per_address = 2")
    with running(tmp_path, EVERYWHERE + text) as target:
        sessions = [Session.connect(target.address, IQN, initiator=f"{VICTIM}{n}", chap=ALICE) for n in range(2)]
        assert refused(target, chap=ALICE) == (3, 2)
        sessions.append(Session.connect(target.address, IQN, chap=ALICE, source=("127.0.0.8", 0)))
        sessions.pop(0).close()
        eventually(lambda: len(target.server.connections.tcp) == 2)
        sessions.append(Session.connect(target.address, IQN, chap=ALICE))
        for session in sessions:
            session.close()


def test_one_initiator_has_its_own_bound(tmp_path: Path) -> None:
    with running(tmp_path, chap_target("max_sessions_per_initiator = 2")) as target:
        sessions = [Session.connect(target.address, IQN, initiator=VICTIM, isid=n, chap=ALICE) for n in (1, 2)]
        assert refused(target, initiator=VICTIM, isid=3, chap=ALICE) == (3, 2)
        sessions.append(Session.connect(target.address, IQN, initiator=VICTIM, isid=2, chap=ALICE))  # reinstated
        sessions.append(Session.connect(target.address, IQN, chap=ALICE))
        for session in sessions:
            session.close()


def test_the_last_places_are_for_newcomers(tmp_path: Path) -> None:
    """Of 8 connections one stays free for an address, and of 8 sessions one for an initiator, that has none yet."""
    text = chap_target("max_connections = 8\nmax_sessions = 8")
    with running(tmp_path, EVERYWHERE + text) as target:
        sessions = [Session.connect(target.address, IQN, initiator=VICTIM, isid=n, chap=ALICE) for n in range(7)]
        assert refused(target, initiator=VICTIM, isid=9, chap=ALICE) == (3, 2)
        elsewhere = {"chap": ALICE, "source": ("127.0.0.8", 0)}
        assert refused(target, initiator=VICTIM, isid=9, **elsewhere) == (3, 2)
        eventually(lambda: len(target.server.connections.tcp) == 7)
        sessions.append(Session.connect(target.address, IQN, initiator=f"{VICTIM}2", **elsewhere))  # type: ignore[arg-type]
        for session in sessions:
            session.close()


@pytest.mark.parametrize("name", ["straße", "\u03bf\u03b4\u03cc\u03c2", "soft\u00adhyphen", "\u65e5\u672c", "UPPER"])
def test_a_target_is_reached_by_its_name_as_it_was_written(tmp_path: Path, name: str) -> None:
    iqn = f"iqn.2026-11.example:{name}"
    with running(tmp_path, f'[[target]]\niqn = "{iqn}"\n[[target.lun]]\nstore = "ram:1M"\n') as target:
        for spelling in (iqn, iqn.upper(), iqn.casefold()):
            with Session.connect(target.address, spelling) as session:
                assert session.nop(b"x").data == b"x"
        with Session.connect(target.address, discovery=True) as discovery:
            assert [key for key, _ in discovery.send_targets(iqn)][:1] == ["TargetName"]


def test_a_forbidden_and_a_missing_target_look_the_same(tmp_path: Path) -> None:
    head = f'[[target]]\niqn = "{IQN}"\ninitiators = ["iqn.2026-11.example:friend"]\n'
    text = f'{head}{USERS}[[target.lun]]\nstore = "ram:1M"\n'
    with running(tmp_path, text) as target:
        replies = []
        for name in (IQN, IQN + "x"):
            channel = Channel(target.address)
            names = {"InitiatorName": "iqn.2026-11.example:foe", "TargetName": name, "AuthMethod": "CHAP,None"}
            with pytest.raises(LoginError) as caught:
                channel.phase.exchange(0, 1, names, False)
            replies.append((caught.value.status, caught.value.pdu.bhs, caught.value.pdu.data))
            channel.close()
        assert replies[0] == replies[1]
        assert replies[0][0] == (2, 3)
