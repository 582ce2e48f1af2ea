"""Whether a secret is one with which this server answers initiators: asked at each login with CHAP (RFC 7143 9.2.1)."""

from __future__ import annotations

import sys

from iscsitools.iscsi.login.policy import AuthPolicy, Directory, TargetNode

OWN, OTHER, THIRD = b"the target's own", b"another's secret", b"a third one's own"


def node(name: str, secret: bytes = OWN) -> TargetNode:
    return TargetNode(f"iqn.2026-11.example:{name}", None, auth=AuthPolicy(mutual_secret=secret))  # type: ignore[arg-type]


def known(directory: Directory) -> list[bytes]:
    return [secret for secret in (OWN, OTHER, THIRD, b"") if directory.is_mutual_secret(secret)]


def test_those_of_targets_and_of_discovery_are_known_as_they_change() -> None:
    directory = Directory(discovery_auth=AuthPolicy(mutual_secret=THIRD))
    assert known(directory) == [THIRD]
    first = node("a")
    directory.add(first)
    directory.add(node("b"))
    assert known(directory) == [OWN, THIRD]
    first.auth = AuthPolicy(mutual_secret=OTHER)  # as a change of the configuration does it
    directory.add(first)
    assert known(directory) == [OWN, OTHER, THIRD]
    directory.add(node("B", OTHER))
    assert known(directory) == [OTHER, THIRD], "of the two, the other has another one now"
    directory.remove("iqn.2026-11.example:A")
    assert known(directory) == [OTHER, THIRD]
    directory.remove("iqn.2026-11.example:b")
    directory.remove("iqn.2026-11.example:b")
    directory.change((), AuthPolicy())
    assert known(directory) == []
    directory.add(node("c", b""))
    assert known(directory) == []


def calls_of_a_question(targets: int) -> int:
    """How many calls and returns there are in one."""
    directory = Directory()
    for number in range(targets):
        directory.add(node(f"t{number}", f"secret {number}".encode()))
    events: list[str] = []
    sys.setprofile(lambda _frame, event, _argument: events.append(event))
    try:
        directory.is_mutual_secret(OWN)
    finally:
        sys.setprofile(None)
    return len(events)


def test_a_question_costs_the_same_with_many_targets() -> None:
    assert calls_of_a_question(1000) == calls_of_a_question(1)
