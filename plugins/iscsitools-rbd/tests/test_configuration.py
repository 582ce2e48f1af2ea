"""One configuration for all heads: real servers, each with its own file, and one object in the pool."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ceph_cluster import Cluster
from iscsitools.backstores.base import BackstoreError
from iscsitools.control import Control, ControlError
from iscsitools.errors import RunError
from iscsitools.initiator import Session

import iscsitools_rbd
from iscsitools_rbd.ceph import Account, modules
from iscsitools_rbd.configuration import SharedConfiguration, text_of

pytestmark = pytest.mark.ceph
Image = Callable[..., str]
IQN = "iqn.2026-11.example:heads"


@pytest.fixture
def pool() -> str:
    """A namespace of the pool, so that each test has an object of its own."""
    return f"rbd/{os.urandom(4).hex()}"


class Head:
    """A server in a process of its own, with two portals' worth of nothing but its own file."""

    def __init__(self, cluster: Cluster, pool: str, number: int, folder: Path, *luns: str) -> None:
        self.name = f"head{number}-{os.urandom(3).hex()}"
        self._log = folder / f"{number}.log"
        self._command = [
            sys.executable, "-m", "iscsitools", "serve", "--name", self.name, "--iqn", IQN, "--provider", "none",
            "--portal", f"127.0.0.1:0,{number}", "--state", str(folder / f"state-{number}"),
            "--plugin", f"rbd,heads={pool},head={number},conf={cluster.conf}",
            *(argument for lun in luns for argument in ("--lun", lun)),
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = next((line for line in self._process.stdout if "listens on" in line), "")
        assert line, self._log.read_text()[-2000:]
        self.port = int(line.rpartition(":")[2])

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def luns(self) -> list[str]:
        with Control(self.name) as control:
            return [lun["store"]["what"] for lun in control.get().document["target"][0]["lun"]]

    def apply(self, *luns: str) -> None:
        """As ``iscsitools apply`` of a file with these LUNs."""
        stores = ", ".join(f'{{ store = "{lun}" }}' for lun in luns)
        with Control(self.name) as control:
            control.apply(toml=f'[[target]]\niqn = "{IQN}"\nlun = [{stores}]\n')

    def said(self) -> str:
        return self._log.read_text()


@contextmanager
def ended(*heads: Head) -> Iterator[None]:
    try:
        yield
    finally:
        for head in heads:
            head.kill()


def test_an_apply_at_one_head_reaches_all_and_one_that_was_down_when_it_begins(
    cluster: Cluster, image: Image, pool: str, tmp_path: Path
) -> None:
    one_image, other_image = (f"rbd:{image()},conf={cluster.conf}" for _ in range(2))
    what = [spec.partition(":")[2].partition(",")[0] for spec in (one_image, other_image)]
    one, two = (Head(cluster, pool, number, tmp_path, one_image) for number in (1, 2))
    with ended(one, two):
        wait(cluster, one, "its configuration is that of all heads now")
        wait(cluster, two, "nothing to do")
        one.apply(one_image, other_image)
        cluster.wait_for(lambda: two.luns() == what, "head 2 has the new LUN")
        assert states(two, 1) == {1: 0, 2: 2}, "each head has its own number for the image"
        two.kill()
        one.apply(other_image)
        two.start()  # with its old file
        cluster.wait_for(lambda: two.luns() == what[1:], "head 2 obeys when it is back")
        two.apply(one_image)
        cluster.wait_for(lambda: one.luns() == what[:1], "it goes the other way, too")


def wait(cluster: Cluster, head: Head, line: str) -> None:
    cluster.wait_for(lambda: line in head.said(), f"{head.name}: {line!r}")


def states(head: Head, lun: int) -> dict[int, int]:
    """The states of the target port groups that the head reports of a LUN (SPC-4 6.37)."""
    with Session.connect(("127.0.0.1", head.port), IQN) as session:
        session.command(bytes(6), lun)
        data = session.command(bytes.fromhex("a30a00000000000001000000"), lun, read=256).data
        return {int.from_bytes(data[at + 2 : at + 4], "big"): data[at] & 15 for at in range(4, len(data) - 7, 12)}


class Kept:
    """A server that only keeps what it is told."""

    def __init__(self, text: str) -> None:
        self.document: dict[str, Any] = {"portals": ["a"], "target": [text]}
        self.applied = threading.Event()
        self.fails = ""

    def get(self) -> dict[str, Any]:
        return self.document

    def apply(self, document: dict[str, Any]) -> list[str]:
        if self.fails:
            raise RunError(self.fails)
        assert document["portals"] == self.document["portals"]
        self.document = document
        self.applied.set()
        return ["something"]


@pytest.fixture
def shared(cluster: Cluster, pool: str) -> Iterator[Callable[..., tuple[SharedConfiguration, Kept]]]:
    made: list[SharedConfiguration] = []

    def begin(number: int, text: str) -> tuple[SharedConfiguration, Kept]:
        configuration, server = SharedConfiguration(Account(str(cluster.conf), "admin", 10.0), pool, number), Kept(text)
        configuration._server = server  # type: ignore[assignment]
        with pytest.raises(OSError, match="not been read yet"):
            configuration.changing({"target": ["too early"]})
        configuration.begin(server)  # type: ignore[arg-type]
        cluster.wait_for(lambda: configuration._generation, "it has been read")
        made.append(configuration)
        return configuration, server

    yield begin
    for each in made:
        each.end()


def test_of_two_that_change_at_once_the_slower_one_is_refused(cluster: Cluster, shared: Any) -> None:
    one, kept_one = shared(1, "old")
    two, kept_two = shared(2, "its own file")
    assert kept_two.document["target"] == ["old"]
    read, both = one._shared.read, threading.Barrier(2)
    for each in (one, two):
        each._look = lambda: None  # neither hears of the other's in time

    def read_together() -> Any:
        state = read()
        both.wait(10)
        return state

    one._shared.read = two._shared.read = read_together
    told: dict[str, OSError | None] = {}

    def change(head: SharedConfiguration, text: str) -> None:
        told[text] = None
        try:
            head.changing({"portals": ["x"], "target": [text]})
        except OSError as error:
            told[text] = error

    threads = [threading.Thread(target=change, args=pair) for pair in ((one, "of one"), (two, "of two"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (text for text, error in told.items() if error is None)
    (loser,) = (text for text, error in told.items() if error is not None)
    assert "at the same time" in str(told[loser])
    one._shared.read = two._shared.read = read
    del one._look, two._look
    kept = {"of one": kept_two, "of two": kept_one}[winner]
    cluster.wait_for(lambda: kept.document["target"] == [winner], "the slower one has the faster one's")
    late = {"of one": two, "of two": one}[winner]
    cluster.wait_for(lambda: late._generation == one._shared.read().generation, "it knows the generation")
    late.changing({"target": ["next"]})
    late._look = lambda: None
    late._generation = "1"
    with pytest.raises(OSError, match="another head has changed the configuration"):
        late.changing({"target": ["stale"]})


def test_what_a_head_cannot_do_is_said_once_and_tried_again(
    cluster: Cluster, shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = shared(1, "old")
    two, kept = shared(2, "old")
    kept.fails = "there is no file"
    one.changing({"target": ["new"]})
    cluster.wait_for(lambda: "there is no file" in caplog.text, "it is said")
    kept.fails = ""
    two._wake.set()
    cluster.wait_for(lambda: kept.document["target"] == ["new"], "it is done when it can be")
    assert caplog.text.count("there is no file") == 1
    two._lost_watch()
    one.changing({"target": ["newer"]})
    cluster.wait_for(lambda: kept.document["target"] == ["newer"], "a lost watch is made anew")


def test_what_is_shared_is_targets_and_discovery() -> None:
    document = {"portals": ["a"], "name": "n", "target": [1], "discovery": {"method": "chap"}, "plugin": {}}
    assert text_of(document) == '{"discovery": {"method": "chap"}, "target": [1]}'


@pytest.mark.parametrize("options", [{"heads": "rbd", "head": 0}, {"heads": "", "head": -1}])
def test_heads_without_a_number_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="head is a number from 1 on"):
        iscsitools_rbd.configure({"conf": "", "user": "admin", **options})


def test_the_number_of_a_server_is_that_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    store = iscsitools_rbd.RbdBackstore
    monkeypatch.setattr(store, "head_of_server", 2)
    assert (store("rbd/a")._number, store("rbd/a", head=3)._number, store("rbd/a@s")._number) == (2, 3, 0)
    with pytest.raises(BackstoreError, match="no client_cache"):
        store("rbd/a", client_cache=True)


def test_who_is_slower_is_told_by_apply(cluster: Cluster, image: Image, pool: str, tmp_path: Path) -> None:
    spec = f"rbd:{image()},conf={cluster.conf}"
    head = Head(cluster, pool, 1, tmp_path, spec)
    with ended(head):
        wait(cluster, head, "its configuration is that of all heads now")
        place, _, namespace = pool.partition("/")
        ioctx = cluster.client.open_ioctx(place)
        ioctx.set_namespace(namespace)
        with pytest.raises(ControlError, match="another head has changed the configuration"):
            change_often(head, spec, ioctx)
        ioctx.close()
        assert head.luns()[0] == spec.partition(":")[2].partition(",")[0]


def change_often(head: Head, spec: str, pool: Any) -> None:
    """The head looks every two seconds, and may just have seen the other's change."""
    for number in range(10, 60):
        set_generation(pool, 10 * number)
        head.apply(spec, f"ram:{number}M")


def set_generation(pool: Any, generation: int) -> None:
    """As another head does that has changed something."""
    with modules()[0].WriteOpCtx() as operation:
        pool.set_omap(operation, ("gen",), (str(generation).encode(),))
        pool.operate_write_op(operation, "iscsitools.configuration")
