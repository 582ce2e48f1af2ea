"""A running server is made to match a document: what initiators see of it, and what they do not."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import pytest
from server.harness import IQN, Running, eventually, one_target, running

from iscsitools.control import Code, Control, ControlError
from iscsitools.initiator.session import Session

from .documents import TEST_UNIT_READY, attention, luns_of

READ_ONE = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
REPORT_LUNS = bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])


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
