"""A running server is made to match a document: what initiators see of it, and what they do not."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.harness import IQN, Running, eventually, one_target, plugin, running

from iscsitools.control import Code, Control, ControlError
from iscsitools.initiator.login import LoginError
from iscsitools.initiator.session import Session

TEST_UNIT_READY = bytes(6)
READ_ONE = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
REPORT_LUNS = bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Running, Control]]:
    """A server of LUNs 0 and 1 and a control connection to it."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    text = one_target("ram:1M", f"file:{tmp_path / 'disk'}", more='name = "served"')
    with running(tmp_path, text) as server, Control("served") as control:
        yield server, control


def luns_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["target"][0]["lun"]


def attention(session: Session, lun: int = 0) -> tuple[int, int] | None:
    """The ASC and ASCQ that a TEST UNIT READY finds; None: it is good."""
    result = session.command(TEST_UNIT_READY, lun)
    return None if result.good else (result.sense[12], result.sense[13])


def reported(session: Session) -> list[int]:
    data = session.command(REPORT_LUNS, 0, read=256).data
    return [data[at + 1] for at in range(8, 8 + struct.unpack_from(">I", data)[0], 8)]


def test_what_get_says_changes_nothing(served: tuple[Running, Control]) -> None:
    _, control = served
    before = control.get()
    assert [lun["store"]["kind"] for lun in luns_of(before.document)] == ["ram", "file"]
    applied = control.apply(before.document, generation=before.generation)
    assert (applied.changes, applied.generation) == ([], before.generation)


def test_a_lun_that_is_added_is_told_and_served(served: tuple[Running, Control]) -> None:
    server, control = served
    with server.connect() as session:
        document = control.get().document
        luns_of(document).append({"number": 7, "store": "ram:2M"})
        applied = control.apply(document)
        assert applied.lines == [f"LUN 7 of {IQN} is added: ram:2M"]
        assert attention(session) == (0x3F, 0x0E)  # REPORTED LUNS DATA HAS CHANGED
        assert reported(session) == [0, 1, 7]
        assert attention(session, 7) == (0x29, 0x00)
        session.write(0, b"x" * 512, 7)
        assert session.read(0, 1, 7) == b"x" * 512
    assert control.get().generation == applied.generation == 2


def test_a_lun_in_use_is_not_removed_unless_forced(served: tuple[Running, Control]) -> None:
    server, control = served
    with server.connect() as session:
        document = control.get().document
        del luns_of(document)[1]
        with pytest.raises(ControlError) as caught:
            control.apply(document)
        assert caught.value.code is Code.IN_USE
        (line,) = caught.value.lines
        assert line.startswith(f"LUN 1 of {IQN} is used by iqn.2026-11.example:a from 127.0.0.1:")
        assert reported(session) == [0, 1]
        control.apply(document, in_use="force")
        assert attention(session) == (0x3F, 0x0E)
        assert reported(session) == [0]
        assert session.command(TEST_UNIT_READY, 1).sense[12:14] == b"\x25\x00"
        session.write(0, b"y" * 512)


def test_drain_waits_for_the_session_and_can_be_broken_off(served: tuple[Running, Control]) -> None:
    server, control = served
    session = server.connect()
    document = control.get().document
    del luns_of(document)[1]
    waits = threading.Event()

    class Stop(Exception):
        pass

    def stop(text: str) -> None:
        assert "LUN 1" in text
        raise Stop

    with Control("served", progress=stop) as other, pytest.raises(Stop):
        other.apply(document, in_use="drain")
    assert control.get().generation == 1

    def log_out(text: str) -> None:
        if not waits.is_set():
            waits.set()
            session.logout()

    with Control("served", progress=log_out) as other:
        assert other.apply(document, in_use="drain").generation == 2
    assert waits.is_set()
    assert [lun["number"] for lun in luns_of(control.get().document)] == [0]


def test_a_resize_is_told_to_initiators(served: tuple[Running, Control]) -> None:
    server, control = served
    with server.connect() as session:
        document = control.get().document
        luns_of(document)[0]["store"]["what"] = "2M"
        luns_of(document)[1]["store"]["size"] = "3M"
        assert control.apply(document).lines == [
            f"LUN 0 of {IQN} grows from 1M to 2M",
            f"LUN 1 of {IQN} grows from 1M to 3M",
        ]
        assert attention(session, 0) == (0x2A, 0x09)  # CAPACITY DATA HAS CHANGED
        assert attention(session, 1) == (0x2A, 0x09)
        assert session.read_capacity(0) == (4096, 512)
        assert session.read_capacity(1) == (6144, 512)


def test_a_resize_is_told_before_its_answer_though_the_disk_is_at_work(tmp_path: Path) -> None:
    with running(tmp_path, one_target('store = "gate:1M", threads = 1', more='name = "gated"')) as server:
        (gate,) = (store for _, store, _ in server.server.assembly.stores)
        with server.connect() as session, Control("gated") as control:
            gate.held.add("read")
            reads = session.start_command(READ_ONE, read=512)
            while not gate.count("read"):
                session.nop()
            try:
                control.resize_lun(IQN, 0, 2 << 20)
                assert attention(session) == (0x2A, 0x09)
                assert session.read_capacity() == (4096, 512)
            finally:
                gate.release()
            session.wait(reads)


def test_what_comes_while_a_disk_shrinks_is_beyond_its_end(
    served: tuple[Running, Control], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is shorter already, and initiators have not been told yet: that is no error of the medium."""
    server, control = served
    store = next(store for where, store, _ in server.server.assembly.stores if where.endswith("LUN 1"))
    shorter, go = threading.Event(), threading.Event()
    resize = store.resize

    def slow(size: int) -> None:
        resize(size)
        shorter.set()
        go.wait()

    monkeypatch.setattr(store, "resize", slow)
    with server.connect() as session:
        attention(session, 1)
        helper = threading.Thread(target=lambda: control.resize_lun(IQN, 1, "512K", in_use="force"))
        helper.start()
        shorter.wait()
        try:
            write, read = bytes.fromhex("2a000000040000000100"), bytes.fromhex("28000000040000000100")
            for result in (session.command(write, 1, write=bytes(512)), session.command(read, 1, read=512)):
                assert (result.sense[2] & 15, result.sense[12:14]) == (5, b"\x21\0")
            assert session.command(write[:4] + b"\3" + write[5:], 1, write=bytes(512)).good
        finally:
            go.set()
            helper.join()
        assert attention(session, 1) == (0x2A, 0x09)  # CAPACITY DATA HAS CHANGED
        result = session.command(write, 1, write=bytes(512))
        assert (result.sense[2] & 15, result.sense[12:14]) == (5, b"\x21\0")


def test_to_shrink_has_to_be_forced(served: tuple[Running, Control]) -> None:
    _, control = served
    document = control.get().document
    luns_of(document)[0]["store"]["what"] = "512K"
    with pytest.raises(ControlError, match="shrinks from 1M to 512K: what lies beyond is lost"):
        control.apply(document)
    control.apply(document, in_use="force")


def test_what_shrinks_is_the_disk_whatever_the_configuration_says_of_it(
    served: tuple[Running, Control], tmp_path: Path
) -> None:  # fmt: skip
    """A file that is there needs no size in the configuration, and one that has it can be made longer beside it."""
    server, control = served
    disk = tmp_path / "disk"
    with pytest.raises(ControlError, match="shrinks from 1M to 512K: what lies beyond is lost"):
        control.resize_lun(IQN, 1, "512K")
    assert control.resize_lun(IQN, 1, "1M").lines == [f"LUN 1 of {IQN} gets the size 1M"]
    os.truncate(disk, 4 << 20)
    server.server.read_sizes()
    with server.connect() as session:
        eventually(lambda: session.read_capacity(1) == (8192, 512))
    with pytest.raises(ControlError, match="shrinks from 4M to 2M: what lies beyond is lost"):
        control.resize_lun(IQN, 1, "2M")
    assert disk.stat().st_size == 4 << 20
    assert control.resize_lun(IQN, 1, "2M", in_use="force").lines == [f"LUN 1 of {IQN} shrinks from 4M to 2M"]
    assert disk.stat().st_size == 2 << 20


def test_a_lun_that_moves_keeps_content_and_identity(served: tuple[Running, Control]) -> None:
    server, control = served
    with server.connect() as session:
        session.write(3, b"z" * 512)
        before = session.command(bytes([0x12, 1, 0x83, 0, 255, 0]), 0, read=255).data
    document = control.get().document
    luns_of(document)[0]["number"] = 5
    assert control.apply(document, in_use="drain").lines == [f"LUN 0 of {IQN} becomes LUN 5"]
    with Session.connect(server.address, IQN) as session:
        assert attention(session, 5) == (0x29, 0x00)
        assert session.read(3, 1, 5) == b"z" * 512
        assert session.command(bytes([0x12, 1, 0x83, 0, 255, 0]), 5, read=255).data == before


def test_other_options_open_it_anew(served: tuple[Running, Control], tmp_path: Path) -> None:
    server, control = served
    document = control.get().document
    luns_of(document)[1]["readonly"] = True
    assert control.apply(document).lines == [f"LUN 1 of {IQN} is opened anew: readonly is yes"]
    with server.connect() as session, pytest.raises(OSError, match="write protected"):
        session.write(0, bytes(512), 1)


def test_what_cannot_be_opened_changes_nothing(served: tuple[Running, Control], tmp_path: Path) -> None:
    server, control = served
    before = control.get()
    luns = luns_of(before.document)
    luns.append({"number": 2, "store": f"file:{tmp_path / 'other'},size=1M"})
    luns.append({"number": 3, "store": f"file:{tmp_path / 'disk'}"})  # LUN 1 has it
    with pytest.raises(ControlError, match="in use by another server, or by another LUN") as caught:
        control.apply(before.document)
    assert caught.value.code is Code.FAILED
    after = control.get()
    assert after.generation == before.generation
    assert [lun["number"] for lun in luns_of(after.document)] == [0, 1]
    assert len(server.server.assembly.stores) == 2
    del luns[3]
    assert len(control.apply(before.document).changes) == 1, "what had been opened is still locked"


def test_what_cannot_be_opened_anew_is_served_as_before(served: tuple[Running, Control], tmp_path: Path) -> None:
    server, control = served
    with server.connect() as session:
        session.write(5, b"k" * 512, 1)
        session.logout()
    (tmp_path / "small").write_bytes(b"no block")
    document = control.get().document
    luns_of(document)[1]["store"] = f"file:{tmp_path / 'small'}"
    luns_of(document)[0]["serial"] = "other"
    with pytest.raises(ControlError, match="its size, 8 bytes, is no multiple") as caught:
        control.apply(document)
    assert caught.value.lines[1:] == (
        f"{IQN} LUN 1 is served as before",
        f"done: LUN 0 of {IQN} is opened anew: serial is other",
    )
    after = control.get()
    assert [lun["number"] for lun in luns_of(after.document)] == [0, 1]
    assert control.apply(after.document).lines == []
    with server.connect() as session:
        assert session.read(5, 1, 1) == b"k" * 512
        session.logout()
    (tmp_path / "disk").unlink()
    luns_of(after.document)[1]["store"] = f"file:{tmp_path / 'small'}"
    with pytest.raises(ControlError, match="its size, 8 bytes, is no multiple") as caught:
        control.apply(after.document)
    assert "LUN 1 cannot be opened as before either: " in caught.value.lines[1]
    assert [lun["number"] for lun in luns_of(control.get().document)] == [0]


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
