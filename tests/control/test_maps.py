"""LUN maps and masking: what is not mapped is not there, and a change of a map is told to who sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import iscsitools as iscsitools
from server.harness import IQN, TEST_UNIT_READY, Running, eventually, running

from iscsitools.control import Code, Control, ControlError
from iscsitools.initiator import LoginError, Session

Run = Callable[..., Any]

NAMES = "iqn.2026-11.example"
MAPPED = f"""
name = "mapped"
data_path = "PATH"
[[target]]
iqn = "{IQN}"
lun = [{{ store = "ram:1M" }}, {{ number = 3, store = "ram:2M" }}, {{ number = 7, store = "ram:3M" }}]
[[target.map]]
name = "web"
initiators = ["{NAMES}:web*"]
luns = ["0=7", "2=3"]
[[target.map]]
name = "admin"
initiators = ["{NAMES}:admin"]
networks = ["127.0.0.0/8"]
[[target.map]]
name = "far"
initiators = ["{NAMES}:far"]
networks = ["192.0.2.0/24"]
[[target.map]]
name = "nothing"
initiators = ["{NAMES}:nothing"]
luns = []
"""
LUN_RESET, COMPLETE, NO_SUCH_LUN = 5, 0, 2


@pytest.fixture(params=["python", "native"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    if request.param == "native":
        pytest.importorskip("iscsitools.datapath._native")
    with running(tmp_path, MAPPED.replace("PATH", request.param)) as server:
        yield server


def log_in(server: Running, name: str) -> Session:
    return Session.connect(server.address, IQN, initiator=f"{NAMES}:{name}")


def capacities(session: Session) -> dict[int, int]:
    """Blocks of the LUNs that REPORT LUNS tells of; unit attentions are taken."""
    data = session.command(bytes.fromhex("a00000000000000001000000"), read=256).data
    luns = [data[at + 1] for at in range(8, 8 + struct.unpack_from(">I", data)[0], 8)]
    for lun in luns:
        while not session.command(TEST_UNIT_READY, lun).good:
            pass
    return {lun: session.read_capacity(lun)[0] for lun in luns}


def write(session: Session, lun: int, byte: bytes) -> None:
    session.write(0, byte * 512, lun)


def test_each_sees_its_units_by_its_own_numbers(served: Running) -> None:
    with log_in(served, "web1") as web, log_in(served, "admin") as admin:
        assert capacities(web) == {0: 6144, 2: 4096}
        assert capacities(admin) == {0: 2048, 3: 4096, 7: 6144}
        for number in range(3):  # the first goes by the device server, the others by the data path
            write(web, 0, bytes([65 + number]))
            write(web, 2, bytes([97 + number]))
            write(admin, 0, b"0")
            assert admin.read(0, 1, lun=7) == bytes([65 + number]) * 512 == web.read(0, 1, lun=0)
            assert admin.read(0, 1, lun=3) == bytes([97 + number]) * 512
            assert admin.read(0, 1, lun=0) == b"0" * 512


def test_what_is_not_mapped_is_not_there(served: Running) -> None:
    with log_in(served, "web1") as web:
        capacities(web)
        for lun in (1, 3, 7):
            assert web.command(b"\x12\0\0\0\x24\0", lun, read=36).data[0] == 0x7F
            assert web.command(TEST_UNIT_READY, lun).sense[12:14] == b"\x25\x00"
            assert web.command(b"\x28" + bytes(7) + b"\x01\0", lun, read=512).sense[12:14] == b"\x25\x00"
            assert web.manage(LUN_RESET, lun).response == NO_SUCH_LUN
        assert web.manage(LUN_RESET, 0).response == COMPLETE


def test_who_sees_nothing_has_nothing_to_probe(served: Running) -> None:
    for name in ("stranger", "far", "nothing"):
        with Session.connect(served.address, "", initiator=f"{NAMES}:{name}", discovery=True) as session:
            assert session.send_targets() == []
        with pytest.raises(LoginError) as caught:
            log_in(served, name)
        assert caught.value.status == (2, 3)  # as if there was no such target
    with Session.connect(served.address, "", initiator=f"{NAMES}:web9", discovery=True) as session:
        assert session.send_targets()[0] == ("TargetName", IQN)


def test_a_changed_map_is_told_and_the_old_numbers_lead_nowhere(served: Running) -> None:
    with Control("mapped") as control, log_in(served, "web1") as web, log_in(served, "admin") as admin:
        capacities(web), capacities(admin)
        write(web, 0, b"7"), write(web, 0, b"7"), write(admin, 0, b"0")
        with pytest.raises(ControlError) as caught:
            control.set_map(IQN, "web", "0", "2=3", initiators=[f"{NAMES}:web*"])
        assert caught.value.code is Code.IN_USE
        assert caught.value.lines[0].startswith(f"LUN 7 of {IQN} is used by {NAMES}:web1")
        applied = control.set_map(IQN, "web", "0", "2=3", initiators=[f"{NAMES}:web*"], in_use="force")
        assert applied.lines == [f"map web of {IQN} is changed, for {NAMES}:web*: LUNs 0, 2=3"]
        assert web.command(TEST_UNIT_READY, 2).sense[12:14] == b"\x3f\x0e"  # REPORTED LUNS DATA HAS CHANGED
        assert web.command(TEST_UNIT_READY, 0).sense[12:14] == b"\x29\x00"  # another unit than before
        assert capacities(web) == {0: 2048, 2: 4096}
        assert web.read(0, 1, lun=0) == b"0" * 512
        write(web, 0, b"n")
        assert admin.read(0, 1, lun=7) == b"7" * 512
        assert admin.read(0, 1, lun=0) == b"n" * 512
        assert admin.command(TEST_UNIT_READY, 7).good  # whose map did not change


def test_a_lun_that_comes_and_goes_is_told_to_who_sees_it(served: Running) -> None:
    with Control("mapped") as control, log_in(served, "web1") as web, log_in(served, "admin") as admin:
        capacities(web), capacities(admin)
        control.add_lun(IQN, "ram:1M", 9)
        assert web.command(TEST_UNIT_READY, 0).good
        assert admin.command(TEST_UNIT_READY, 0).sense[12:14] == b"\x3f\x0e"
        control.set_map(IQN, "web", "0=7", "2=3", "9", initiators=[f"{NAMES}:web*"])
        assert web.command(TEST_UNIT_READY, 0).sense[12:14] == b"\x3f\x0e"
        assert capacities(web) == {0: 6144, 2: 4096, 9: 2048}
        control.move_lun(IQN, 9, 8, in_use="force")
        control.remove_lun(IQN, 3, in_use="force")
        maps = control.get().document["target"][0]["map"]
        assert maps[0]["luns"] == ["0=7", "9=8"]
        assert capacities(web) == {0: 6144, 9: 2048}


def test_a_session_that_would_see_nothing_ends_only_by_force(served: Running) -> None:
    with Control("mapped") as control, log_in(served, "web1") as web:
        capacities(web)
        with pytest.raises(ControlError) as caught:
            control.remove_map(IQN, "web")
        assert caught.value.lines[0].startswith(f"the access to {IQN} is used by {NAMES}:web1")
        control.remove_map(IQN, "web", in_use="force")
        eventually(lambda: len(served.server.table) == 0)
        with pytest.raises(LoginError):
            log_in(served, "web1")


def test_networks_let_in_and_keep_out(served: Running) -> None:
    with Control("mapped") as control:
        control.let_in(IQN, "192.0.2.0/24", f"{NAMES}:*")
        with pytest.raises(LoginError):
            log_in(served, "admin")
        applied = control.let_in(IQN, "127.0.0.1/32")
        assert applied.lines == [f"network 127.0.0.1/32 is let in to {IQN}"]
        log_in(served, "admin").close()
        with pytest.raises(ControlError, match="an empty one lets everybody in"):
            control.keep_out(IQN, f"{NAMES}:*")
        control.keep_out(IQN, "192.0.2.0/24")
        control.let_all_in(IQN)
        assert {"networks", "initiators"} & control.get().document["target"][0].keys() == set()


def test_maps_by_command_and_in_the_tree(served: Running, iscsitools: Run) -> None:
    said = iscsitools("map", "set", IQN, "lab", "1=0", "--network", "198.51.100.0/24")
    assert (said.status, said.err) == (0, "")
    assert (said.status, said.out) == (0, f"map lab of {IQN} is added, for 198.51.100.0/24: LUNs 1=0\n")
    tree = iscsitools("ls").out
    assert f"    map web: LUN 7 as 0, 3 as 2 for {NAMES}:web*\n" in tree
    assert f"    map admin: all LUNs for {NAMES}:admin from 127.0.0.0/8\n" in tree
    assert "    map lab: LUN 0 as 1 for everybody from 198.51.100.0/24\n" in tree
    assert iscsitools("map", "remove", IQN, "lab").out == f"map lab of {IQN} is removed\n"
    for arguments, error in (
        (("set", IQN, "lab", "1=5"), "luns: there is no LUN 5 in this target"),
        (("set", IQN, "lab", "1=0", "1=3"), "luns: LUN 1 is mapped twice"),
        (("set", IQN, "lab", "x"), "luns: 'x': LUN=NUMBER was expected"),
        (("set", IQN, "lab", "--network", "10.0.0.1/8"), "networks: '10.0.0.1/8' is no network"),
        (("remove", IQN, "lab"), f"there is no map lab of {IQN}"),
    ):
        said = iscsitools("map", *arguments)
        assert said.status in (1, 2)
        assert said.err.startswith(f"iscsitools: {error}")
        assert said.err.count("\n") == 1


def test_apply_of_what_get_says_changes_nothing(served: Running, iscsitools: Run, tmp_path: Path) -> None:
    file = tmp_path / "got.toml"
    file.write_text(iscsitools("get").out)
    assert iscsitools("apply", "-f", str(file), "--diff").out == "nothing to change\n"
