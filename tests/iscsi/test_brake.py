"""The brake on wrong secrets: by address, by name, and whom it must not hold."""

import pytest

from iscsitools.iscsi.login.brake import Brake, network_of

HERE, THERE = "192.0.2.1:40000", "192.0.2.2:40000"
SECOND = 10**9


def guess(brake, remote, user, times, now=0):
    """How many of so many guesses were looked at."""
    seen = 0
    for _ in range(times):
        if not brake.holds(remote, user, now):
            brake.wrong(remote, user, now)
            seen += 1
    return seen


def test_so_many_at_once_and_as_many_in_each_minute():
    brake = Brake(5)
    assert guess(brake, HERE, "alice", 100) == 5
    assert guess(brake, HERE, "alice", 100, 11 * SECOND) == 0
    assert guess(brake, HERE, "alice", 100, 12 * SECOND) == 1
    assert guess(brake, HERE, "alice", 100, 72 * SECOND) == 5
    assert sum(guess(brake, HERE, "alice", 3, 72 * SECOND + s * SECOND) for s in range(1, 601)) == 50


def test_an_address_is_held_whatever_names_it_tries():
    brake = Brake(5)
    assert sum(guess(brake, HERE, f"user{n}", 1) for n in range(100)) == 5
    assert brake.holds(HERE, "another", 0)
    assert not brake.holds(THERE, "another", 0)


def test_a_name_is_held_from_every_address_but_its_owners():
    brake = Brake(5)
    brake.right(THERE, "alice")
    assert sum(guess(brake, f"198.51.100.{n}:1", "alice", 1) for n in range(100)) == 5
    assert brake.holds(HERE, "alice", 0)
    assert not brake.holds(THERE, "alice", 0)
    assert not brake.holds(HERE, "bob", 0)


def test_an_owner_who_guesses_is_held_by_the_address():
    brake = Brake(5)
    brake.right(HERE, "alice")
    assert guess(brake, HERE, "alice", 100) == 5


def test_zero_never_brakes():
    assert guess(Brake(0), HERE, "alice", 1000) == 1000


def test_what_is_remembered_is_bounded():
    brake = Brake(5)
    for n in range(20000):
        brake.wrong(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1", f"user{n}", 0)
        brake.right(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1", f"user{n}")
    assert len(brake._wrong) <= 4096
    assert len(brake._proved) <= 4096
    # What is new is remembered all the same: the oldest are forgotten for it.
    brake.right(THERE, "alice")
    assert guess(brake, HERE, "alice", 100) == 5
    assert brake.holds(HERE, "alice", 0)
    assert not brake.holds(THERE, "alice", 0)


def test_a_long_quiet_saves_up_no_more_tries():
    brake = Brake(5)
    assert guess(brake, HERE, "alice", 100) == 5
    assert guess(brake, HERE, "alice", 100, 3600 * SECOND) == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1:1", "192.0.2.1:2", True),
        ("192.0.2.1:1", "192.0.2.2:1", False),
        ("[2001:db8::1]:1", "[2001:db8::ffff:1]:9", True),
        ("[2001:db8::1]:1", "[2001:db8::8000:0:0:1]:1", True),
        ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", False),
        ("[fe80::1%eth0]:1", "[fe80::2%eth0]:1", True),
    ],
)
def test_one_host_of_ipv6_has_a_whole_network(one, other, same):
    assert (network_of(one) == network_of(other)) is same
