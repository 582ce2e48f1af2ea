"""A running server is made to match a document: targets, users, portals, limits, and documents that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from server.harness import IQN, Running, one_target, plugin, running

from iscsitools.control import Code, Control, ControlError
from iscsitools.initiator.login import LoginError
from iscsitools.initiator.session import Session

from .documents import TEST_UNIT_READY, attention, luns_of


def test_targets_and_users_come_and_go(served: tuple[Running, Control]) -> None:
    server, control = served
    other = "iqn.2026-11.example:other"
    document = control.get().document
    user = {"name": "alice", "secret": "correct horse battery"}
    document["target"].append({"iqn": other, "lun": [{"store": "ram:1M"}], "auth": {"method": "chap", "users": [user]}})
    control.apply(document)
    with pytest.raises(LoginError):
        Session.connect(server.address, other, chap=("alice", "wrong secret!"))
    session = Session.connect(server.address, other, chap=("alice", user["secret"]))
    document = control.get().document
    users = document["target"][1]["auth"]["users"]
    users[0]["secret"] = "another horse battery"
    users.append({"name": "bob", "secret": "battery of horses"})
    assert control.apply(document).lines == [
        f"user alice of {other} has another secret", f"user bob of {other} is added",
    ]  # fmt: skip
    session.command(TEST_UNIT_READY)
    session.command(TEST_UNIT_READY)
    assert attention(session) is None, "a session has noticed that its secret was changed"
    Session.connect(server.address, other, initiator="iqn.2026-11.example:b", chap=("bob", "battery of horses")).close()
    del document["target"][1]["auth"]["users"][0]
    with pytest.raises(ControlError, match="is used by"):
        control.apply(document)
    del document["target"][1]
    control.apply(document, in_use="force")
    session.close()
    with pytest.raises(LoginError):
        Session.connect(server.address, other, chap=("bob", "battery of horses"))


def test_a_portal_comes_and_goes(served: tuple[Running, Control]) -> None:
    server, control = served
    document = control.get().document
    document["portals"].append("[::1]:0")
    control.apply(document)
    (address,) = [text for text in server.server.addresses if text.startswith("[::1]")]
    port = int(address.rpartition(":")[2])
    with Session.connect(("::1", port), IQN) as session:
        assert attention(session) == (0x29, 0x00)
        document["portals"].pop()
        with pytest.raises(ControlError, match=r"portal \[::1\]:0 is used by"):
            control.apply(document)
        control.apply(document, in_use="force")
    with pytest.raises(OSError, match="refused"):
        Session.connect(("::1", port), IQN)


def test_the_second_of_two_is_told_what_changed(served: tuple[Running, Control]) -> None:
    _, control = served
    mine = control.get()
    with Control("served") as other:
        theirs = other.get()
        theirs.document["target"][0]["alias"] = "theirs"
        other.apply(theirs.document, generation=theirs.generation)
    mine.document["target"][0]["alias"] = "mine"
    with pytest.raises(ControlError) as caught:
        control.apply(mine.document, generation=mine.generation)
    assert caught.value.code is Code.CHANGED
    assert caught.value.lines[1:] == (f"alias of {IQN} becomes 'theirs'",)
    assert control.get().document["target"][0]["alias"] == "theirs"


def test_what_needs_a_restart_is_refused(served: tuple[Running, Control]) -> None:
    _, control = served
    document = control.get().document
    document["name"] = "another"
    with pytest.raises(ControlError, match="name cannot change while the server runs") as caught:
        control.apply(document)
    assert caught.value.code is Code.RESTART
    del document["name"], document["portals"]
    assert control.apply(document).changes == []


def test_a_dry_run_touches_nothing(served: tuple[Running, Control]) -> None:
    server, control = served
    document = control.get().document
    luns_of(document).append({"number": 2, "store": "ram:1M"})
    assert len(control.apply(document, dry_run=True).changes) == 1
    assert len(server.server.assembly.stores) == 2
    assert control.get().generation == 1


def test_problems_are_told_by_line_and_key(served: tuple[Running, Control]) -> None:
    _, control = served
    text = f'[[target]]\niqn = "{IQN}"\n[[target.lun]]\nstore = "ram:1M"\nreadonyl = true\n'
    with pytest.raises(ControlError) as caught:
        control.apply(toml=text, file="site.toml")
    assert caught.value.code is Code.CONFIGURATION
    assert caught.value.lines[0].startswith("site.toml:5: target[0].lun[0].readonyl: unknown key")


def test_a_null_is_called_one(served: tuple[Running, Control]) -> None:
    _, control = served
    with pytest.raises(ControlError, match="name: a name was expected, not null"):
        control.apply(control.get().document | {"name": None})


def test_limits_hold_at_once(served: tuple[Running, Control]) -> None:
    server, control = served
    document = control.get().document
    document.setdefault("limits", {})["max_sessions"] = 1
    assert control.apply(document).lines == ["limit max_sessions goes from 256 to 1"]
    with server.connect(), pytest.raises(LoginError):
        server.connect(name="b")


def test_plugins_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    hooks = plugin(
        lun_added=lambda lun: told.append(f"+{lun.target[-1]}{lun.number}"),
        lun_removed=lambda lun: told.append(f"-{lun.target[-1]}{lun.number}"),
        target_started=lambda target: told.append(f"+{target.name[-1]}"),
        target_stopped=lambda target: told.append(f"-{target.name[-1]}"),
    )
    with running(tmp_path, one_target("ram:1M", more='name = "hooks"'), hooks) as server, Control("hooks") as control:
        document = control.get().document
        luns_of(document).append({"number": 4, "store": "ram:1M"})
        document["target"].append({"iqn": "iqn.2026-11.example:x", "lun": [{"store": "ram:1M"}]})
        control.apply(document)
        del luns_of(document)[1], document["target"][1]
        control.apply(document)
        server.end()
    assert told == ["+r", "+r0", "+x", "+r4", "+x0", "-x0", "-x", "-r4", "-r0", "-r"]
