from __future__ import annotations

import stringprep
from dataclasses import replace

import pytest

from iscsi.login_support import DEVICE
from iscsitools.iscsi.login.access import AccessList
from iscsitools.iscsi.login.policy import Directory, Portal, TargetNode, bracketed
from iscsitools.wire.names import fold_name

NAME = "iqn.2026-11.example:disks"


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("IQN.2026-11.Example:Disks", NAME),
        ("iqn.2026-11.example:\uff44isks", NAME),
        ("iqn.2026-11.example:d\u00dc", "iqn.2026-11.example:du\u0308"),
    ],
)
def test_names_that_are_the_same(name, same):
    assert fold_name(name) == fold_name(same)
    directory = Directory()
    target = TargetNode(same, DEVICE)
    directory.add(target)
    assert directory.find(name) is target
    assert directory.find(name + "x") is None


def test_ascii_is_folded_as_the_tables_say():
    """Names in ASCII do not go through the tables of RFC 3722; these say the same of every character."""
    for number in range(128):
        mapped = "" if stringprep.in_table_b1(chr(number)) else stringprep.map_table_b2(chr(number))
        assert fold_name(chr(number)) == mapped


def test_adding_again_replaces():
    directory = Directory()
    directory.add(TargetNode(NAME, DEVICE))
    second = TargetNode(NAME.upper(), DEVICE)
    directory.add(second)
    assert list(directory) == [second]


def test_removing_what_is_not_there():
    directory = Directory()
    directory.remove(NAME)
    assert list(directory) == []


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "[2001:db8::1]"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
        ("2001:db8::1%eth0", "[2001:db8::1]"),
        ("Storage.Example", "storage.example"),
    ],
)
def test_bracketed(address, written):
    assert bracketed(address) == written


V4 = Portal("192.0.2.1", 3260)
V6 = Portal("2001:db8::1", 3260)
HOME = Portal("127.0.0.1", 3260)
LINK = Portal("fe80::1%eth0", 3260)

# (the directory's portals, the target's own, where the connection came in, TargetAddress values)
ADDRESSES = [
    ([], [], V4, ["192.0.2.1:3260,3"]),
    ([Portal("0.0.0.0", 3260)], [], V4, ["192.0.2.1:3260,3"]),
    ([Portal("::", 3260)], [], V6, ["[2001:db8::1]:3260,3"]),
    ([Portal("::", 3260)], [], Portal("::ffff:192.0.2.1", 3260), ["192.0.2.1:3260,3"]),
    ([Portal("0.0.0.0", 3260), Portal("0.0.0.0", 3261)], [], V4, ["192.0.2.1:3260,3", "192.0.2.1:3261,3"]),
    ([Portal("0.0.0.0", 3260), Portal("192.0.2.1", 3260)], [], V4, ["192.0.2.1:3260,3"]),
    ([V4, V6], [], V4, ["192.0.2.1:3260,3", "[2001:db8::1]:3260,3"]),
    ([V4, V6], [V6], V4, ["[2001:db8::1]:3260,3"]),
    ([HOME, V4], [], V4, ["192.0.2.1:3260,3"]),
    ([HOME, V4], [], HOME, ["127.0.0.1:3260,3", "192.0.2.1:3260,3"]),
    ([Portal("localhost", 3260), V4], [], V4, ["192.0.2.1:3260,3"]),
    # A wildcard of the other family says nothing of an address of that family.
    ([Portal("0.0.0.0", 3260), Portal("::", 3261)], [], V4, ["192.0.2.1:3260,3"]),
    ([Portal("0.0.0.0", 3261), Portal("::", 3260)], [], V6, ["[2001:db8::1]:3260,3"]),
    ([Portal("", 3260)], [], V4, ["192.0.2.1:3260,3"]),
    ([Portal("", 3260)], [], V6, ["[2001:db8::1]:3260,3"]),
    # A link-local portal is for who came by that link.
    ([LINK, V6], [], V6, ["[2001:db8::1]:3260,3"]),
    ([LINK, V6], [], LINK, ["[fe80::1%eth0]:3260,3", "[2001:db8::1]:3260,3"]),
    ([LINK], [], Portal("fe80::1%eth1", 3260), []),
    ([Portal("", 3260)], [], LINK, ["[fe80::1%eth0]:3260,3"]),
    # What is advertised is told to everybody.
    ([replace(HOME, told="storage.example:3261"), V4], [], V4, ["storage.example:3261,3", "192.0.2.1:3260,3"]),
    ([Portal("", 3260, told="203.0.113.5:3260")], [], LINK, ["203.0.113.5:3260,3"]),
]


@pytest.mark.parametrize(("portals", "own", "local", "addresses"), ADDRESSES)
def test_addresses(portals, own, local, addresses):
    def in_group(portals: list[Portal]) -> tuple[Portal, ...]:
        return tuple(replace(portal, group=3) for portal in portals)

    target = TargetNode(NAME, DEVICE, portals=in_group(own))
    assert Directory(in_group(portals)).addresses(target, replace(local, group=3)) == addresses


def test_the_group_at_which_a_connection_came_in():
    """The portal of that very address says it; else one that stands for all addresses."""
    target = TargetNode(NAME, DEVICE)
    directory = Directory([Portal("0.0.0.0", 3260, 2), replace(V4, group=3), replace(V6, group=4)])
    assert [directory.group_at(target, place) for place in (V4, V6, HOME)] == [3, 4, 2]
    assert directory.group_at(target, Portal("192.0.2.1", 9)) == 1
    own = TargetNode(NAME, DEVICE, portals=(replace(V4, group=9),))
    assert directory.group_at(own, V4) == 9


@pytest.mark.parametrize(
    ("portal", "local", "accepts"),
    [
        (Portal("0.0.0.0", 3260), V4, True),
        (Portal("0.0.0.0", 3261), V4, False),
        (Portal("0.0.0.0", 3260), V6, False),
        (Portal("::", 3260), V6, True),
        (Portal("::", 3260), Portal("::ffff:192.0.2.1", 3260), True),
        (Portal("", 3260), V6, True),
        (V4, Portal("::ffff:192.0.2.1", 3260), True),
        (V4, HOME, False),
        (LINK, LINK, True),
        (LINK, Portal("fe80::1%eth1", 3260), False),
    ],
)
def test_portal_accepts(portal, local, accepts):
    assert portal.accepts(local) is accepts


def test_visible_targets_are_those_that_admit():
    directory = Directory()
    for name, initiators in (("iqn.a", ()), ("iqn.b", ("iqn.me",)), ("iqn.c", ("iqn.you", "iqn.m*"))):
        directory.add(TargetNode(name, DEVICE, access=AccessList(initiators)))
    assert [target.name for target in directory.visible("iqn.me")] == ["iqn.a", "iqn.b", "iqn.c"]
    assert [target.name for target in directory.visible("iqn.you")] == ["iqn.a", "iqn.c"]
    assert [target.name for target in directory.visible("iqn.she")] == ["iqn.a"]
