"""What initiators are told of portals: all families, other addresses behind NAT, link-local ones, bound targets."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from iscsitools.control import Control
from iscsitools.initiator import LoginError, Session

from .harness import IQN, Running, one_target, running

NAME = 'name = "told"\n'


def told(server: Running, host: str = "127.0.0.1", portal: int = 0) -> list[str]:
    with Session.connect((host, server.addresses[portal][1]), "", discovery=True) as session:
        return [value for key, value in session.send_targets() if key == "TargetAddress"]


def test_both_families_at_one_portal(tmp_path: Path) -> None:
    with running(tmp_path, one_target("ram:1M", more='portals = ["[::]:0"]')) as server:
        port = server.address[1]
        assert server.server.addresses == [f"[::]:{port}"]
        assert told(server, "127.0.0.1") == [f"127.0.0.1:{port},1"]
        assert told(server, "::1") == [f"[::1]:{port},1"]
        Session.connect(("127.0.0.1", port), IQN).close()


def test_ipv4_may_have_the_same_port_for_itself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = f'portals = ["[::]:{port}", "0.0.0.0:{port},2"]'
    with running(tmp_path, one_target("ram:1M", more=more)) as server:
        assert told(server, "127.0.0.1") == [f"127.0.0.1:{port},2"]
        assert told(server, "::1") == [f"[::1]:{port},1"]


def test_behind_nat_another_address_is_told_and_changes_while_it_serves(tmp_path: Path) -> None:
    more = NAME + 'portals = ["127.0.0.1:0,advertise=203.0.113.5", "127.0.0.2:0,2,advertise=[2001:db8::5]:860"]'
    with running(tmp_path, one_target("ram:1M", more=more)) as server, Control("told") as control:
        port = server.address[1]
        assert told(server) == [f"203.0.113.5:{port},1", "[2001:db8::5]:860,2"]
        document = control.get().document
        assert document["portals"] == ["127.0.0.1:0,advertise=203.0.113.5", "127.0.0.2:0,2,advertise=[2001:db8::5]:860"]
        with Session.connect(server.address, IQN) as session:
            document["portals"][0] = "127.0.0.1:0,advertise=storage.example:3260"
            document["portals"][1] = "127.0.0.2:0,2"
            assert control.apply(document).lines == [
                "portal 127.0.0.1:0 is told as storage.example:3260",
                "portal 127.0.0.2:0,2 is told as it is",
            ]
            session.nop()
        assert told(server) == ["storage.example:3260,1", f"127.0.0.2:{server.addresses[1][1]},2"]


def test_a_target_in_one_portal_group(tmp_path: Path) -> None:
    other = "iqn.2026-11.example:other"
    more = 'portals = ["127.0.0.1:0", "127.0.0.2:0,2"]'
    text = one_target("ram:1M", more=more) + f'[[target]]\niqn = "{other}"\nportal_groups = [2]\n'
    with running(tmp_path, text + 'lun = [{ store = "ram:2M" }]\n') as server:
        first, second = server.addresses
        with Session.connect(first, "", discovery=True) as session:
            pairs = session.send_targets()
        assert pairs[pairs.index(("TargetName", other)) + 1 :] == [("TargetAddress", f"127.0.0.2:{second[1]},2")]
        with pytest.raises(LoginError):
            Session.connect(first, other)
        with Session.connect(second, other) as session:
            session.command(bytes(6))
            # VPD 83h: relative target port 2, which is the only one, so no target port group is told
            inquiry = session.command(bytes.fromhex("12018300ff00"), read=255).data
            assert bytes.fromhex("5194000400000002") in inquiry
            assert bytes.fromhex("5195000400") not in inquiry


LINK = """
import sys
from pathlib import Path
from server.harness import IQN, one_target, running
from iscsitools.initiator import Session
more = 'portals = ["[fe80::7%lo]:0", "[::1]:0"]'
def told(host, port):
    with Session.connect((host, port), "", discovery=True) as session:
        return [value for key, value in session.send_targets() if key == "TargetAddress"]
with running(Path(sys.argv[1]), one_target("ram:1M", more=more)) as server:
    link, home = (port for _, port in server.addresses)
    print(told("fe80::7%lo", link) == [f"[fe80::7%lo]:{link},1"])
    print(told("::1", home) == [f"[::1]:{home},1"])
    with Session.connect(("fe80::7%lo", link), IQN) as session:
        session.nop()
with running(Path(sys.argv[1]), one_target("ram:1M", more='portals = ["[::]:0"]')) as server:
    port = server.address[1]
    print([told(host, port) == [f"[{host}]:{port},1"] for host in ("fe80::7%lo", "fe80::8%lo")])
"""


def test_a_link_local_portal_is_told_to_who_came_by_that_link(tmp_path: Path) -> None:
    if shutil.which("ip") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("needs ip and a network namespace of its own")
    links = "ip link set lo up"
    for host in (7, 8):
        links += f" && ip -6 addr add fe80::{host}/64 dev lo nodad"
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-ec", f'{links} && exec "$0" -c "$1" "$2"', sys.executable, LINK, str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert (done.stdout.splitlines(), done.returncode) == (["True", "True", "[True, True]"], 0), done.stderr
