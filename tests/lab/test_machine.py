"""The lab's machine: what it gives a script, and what it keeps of one."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from lab.disk import Disk
from lab.home import Home, LabError
from lab.machine import HOST, NO_END, Machine, Setup, run
from lab.testing import needs_lab

pytestmark = [pytest.mark.lab]
LIMIT = 600.0
"""Seconds: a boot takes seven on an idle machine, and minutes on one that is not."""


@pytest.fixture
def home() -> Home:
    return needs_lab()


def answer(listener: socket.socket) -> None:
    """Echo what one client says."""
    client, _ = listener.accept()
    with client:
        client.sendall(client.recv(100))


def test_a_script_has_dtrace_the_host_s_folder_and_the_host_s_ports(home: Home, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from the host")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=[listener], daemon=True).start()
        script = f"""
            dtrace -qn 'BEGIN {{ printf("traced\\n"); exit(0); }}'
            cp /host/given /host/taken
            python3 -c 'import socket
            s = socket.create_connection(("{HOST}", {listener.getsockname()[1]}))
            s.sendall(b"echoed"); print(s.recv(100).decode())'
            for module in dm_multipath scsi_dh_alua iscsi_tcp xfs; do modprobe $module || echo no $module; done
            for tool in iscsiadm multipath sg_inq smartctl mkfs.xfs dmsetup; do
                command -v $tool > /dev/null || echo no $tool
            done
            touch /changed
            exit 7
        """.replace("\n            ", "\n")
        result = run(Setup(script, host=tmp_path), LIMIT, home)
    assert [line for line in result.output.splitlines() if line] == ["traced", "echoed"]
    assert result.status == 7
    assert (tmp_path / "taken").read_text() == "from the host"
    # What it changed in its root is gone.
    assert not (home.root / "changed").exists()
    assert run(Setup("[ -e /changed ]"), LIMIT, home).status == 1


def test_systemd_is_the_first_process_where_it_is_wanted(home: Home) -> None:
    result = run(Setup("cat /proc/1/comm; systemctl is-system-running", systemd=True), LIMIT, home)
    assert result.output.splitlines() == ["systemd", "running"]
    assert result.status == 0


# On the disk itself: a file system flushes when it sees fit.
WRITE = """
set -e
disk=/dev/disk/by-id/virtio-data
cat /sys/block/$(basename $(readlink -f $disk))/queue/write_cache
printf %-4096s flushed | dd of=$disk bs=4096 seek=1 oflag=direct conv=fsync status=none
printf %-4096s cached | dd of=$disk bs=4096 seek=2 oflag=direct status=none
dd if=$disk bs=4096 skip=2 count=1 iflag=direct status=none | cut -d' ' -f1
echo written
sleep 600
"""
LOOK = """
dd if=/dev/disk/by-id/virtio-data bs=4096 skip=1 count=1 status=none | cut -d' ' -f1
dd if=/dev/disk/by-id/virtio-data bs=4096 skip=2 count=1 status=none | tr -d '\\0' | wc -c
printf again | dd of=/dev/disk/by-id/virtio-data status=none
"""


def test_a_power_cut_loses_what_was_not_flushed_and_nothing_else(home: Home, tmp_path: Path) -> None:
    disk = Disk.create("data", tmp_path / "data", 1 << 20)
    with Machine(Setup(WRITE, disks=(disk,)), home) as machine:
        machine.wait_for("written", LIMIT)
        cut = machine.cut()
    assert cut.status == NO_END
    assert cut.output.splitlines() == ["write back", "cached", "written"]
    result = run(Setup(LOOK, disks=(disk,)), LIMIT, home)
    assert (result.status, result.output.splitlines()) == (0, ["flushed", "0"])
    # A guest that ends in peace loses nothing.
    assert disk.file.read_bytes()[:5] == b"again"


def test_a_guest_s_port_can_be_reached(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = """python3 -c 'import socket
s = socket.create_server(("0.0.0.0", 3260)); print("listens", flush=True); s.accept()[0].sendall(b"from inside")'"""
    with Machine(Setup(script, forward={port: 3260}), home) as machine:
        machine.wait_for("listens", LIMIT)
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(100) == b"from inside"
        assert machine.wait(LIMIT).status == 0


def test_a_script_without_an_end_is_ended(home: Home) -> None:
    with Machine(Setup("echo begun; sleep 600"), home) as machine:
        machine.wait_for("begun", LIMIT)
        with pytest.raises(LabError, match="did not print 'more' within 0 s"):
            machine.wait_for("more", 0.1)
        assert machine.wait(0.1).status == NO_END
        assert not machine.running
        with pytest.raises(LabError, match="ended without 'more'"):
            machine.wait_for("more", 1)


def test_a_kernel_that_panics_ends_the_guest(home: Home) -> None:
    result = run(Setup("echo before; echo c > /proc/sysrq-trigger"), LIMIT, home)
    assert (result.status, result.output) == (NO_END, "before\n")
    assert "sysrq triggered crash" in result.console
