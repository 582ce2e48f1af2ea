"""The protocol as bytes on the socket: what it refuses, and what a fuzz of it leaves behind."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server.harness import Running, eventually, one_target, running

from iscsitools.control import Control
from iscsitools.control.protocol import REQUESTS
from iscsitools.trace.names import find

SEEDS = range(40)
REQUESTS_OF_A_SEED = 12


class Wire:
    """A raw conversation on the control socket."""

    def __init__(self, name: str, end: str = "control") -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(getattr(find(name).paths, end)))
        self._lines = self.socket.makefile("rb")
        self.greeting = self.read()

    def read(self) -> Any:
        line = self._lines.readline()
        return json.loads(line) if line else None

    def answer(self) -> Any:
        """The next message that is no progress; None when the server has hung up."""
        while (message := self.read()) is not None and "progress" in message:
            pass
        return message

    def ask(self, message: Any) -> Any:
        self.socket.sendall((message if isinstance(message, str) else json.dumps(message)).encode() + b"\n")
        return self.answer()

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, one_target("ram:1M", more='name = "wire"')) as server:
        yield server


@pytest.fixture
def wire(served: Running) -> Iterator[Wire]:
    found = Wire("wire")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"request": "get"}, "version of get is not 1, which this server speaks"),
        ({"request": "get", "version": 2}, "version of get is not 1, which this server speaks"),
        ({"request": "get", "version": True}, "version of get is not 1, which this server speaks"),
        ({"request": "get", "version": 1, "x": 1}, "unknown field 'x' of get (known: none)"),
        ({"request": "apply", "version": 1}, "apply needs one of document and toml"),
        ({"request": "apply", "version": 1, "document": {}, "toml": ""}, "apply needs one of document and toml"),
        ({"request": "apply", "version": 1, "document": []}, "document of apply is not an object"),
        ({"request": "apply", "version": 1, "toml": 1}, "toml of apply is not a text"),
        ({"request": "apply", "version": 1, "generation": True}, "generation of apply is not a whole number"),
        ({"request": "apply", "version": 1, "toml": "", "dry_run": 1}, "dry_run of apply is not true or false"),
        (
            {"request": "apply", "version": 1, "toml": "", "in_use": "cut"},
            "in_use of apply is not one of refuse, drain, force",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(wire: Wire, message: Any, error: str) -> None:
    assert wire.ask(message) == {"error": error, "code": "request", "lines": [error]}
    assert wire.ask({"request": "get", "version": 1})["generation"] == 1, "the conversation goes on"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400])
@pytest.mark.parametrize(
    ("name", "field", "more"),
    [("power-cut", "drop", ""), ("fault-set", "seconds", '"target":"x","lun":0,"values":{"delay.read":"1"},')],
)
def test_what_no_double_has_is_no_number(wire: Wire, name: str, field: str, more: str, number: str) -> None:
    answer = wire.ask(f'{{"request":"{name}","version":1,{more}"{field}":{number}}}')
    error = f"{field} of {name} is not a number"
    assert answer == {"error": error, "code": "request", "lines": [error]}


@pytest.mark.parametrize("path", ["\ud800", "a\0b", "a" * 200])
def test_a_takeover_by_what_is_no_path_is_refused(wire: Wire, path: str) -> None:
    answer = wire.ask({"request": "takeover", "version": 1, "socket": path})
    assert (answer["code"], "the server failed" in answer["error"]) == ("failed", False)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_only_the_control_socket_takes_them(served: Running, request_name: str) -> None:
    wire = Wire("wire", "watch")
    answer = wire.ask({"request": request_name, "version": 1})
    assert answer == {"error": "only the control socket takes this request"}
    wire.close()


def test_answers_come_in_order_however_fast_one_asks(wire: Wire) -> None:
    wire.socket.sendall(
        b'{"request":"get","version":1}\n{"request":"status"}\n{"request":"get","version":1}\n{"request":"probes"}\n'
    )
    assert [wire.answer()["answer"] for _ in range(4)] == ["get", "status", "get", "probes"]


@pytest.mark.parametrize("end", ["control", "watch"])
def test_who_shuts_its_side_gets_all_its_answers_and_then_the_end(served: Running, end: str) -> None:
    """As netcat does at the end of its input; a request that takes its time is no other."""
    wire = Wire("wire", end)
    names = ("sessions", "status", *(("get", "tree") if end == "control" else ()))
    wire.socket.sendall(b"".join(b'{"request":"%s","version":1}\n' % name.encode() for name in names * 20))
    wire.socket.shutdown(socket.SHUT_WR)
    assert [wire.answer()["answer"] for _ in names * 20] == [*names * 20]
    assert wire.answer() is None
    wire.close()
    wire = Wire("wire", end)
    wire.socket.sendall(b'{"request":"status"}\n{"request":"status"}')
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.answer()["answer"] == "status"
    assert wire.answer() == {"error": "bad request: its line has no end"}
    assert wire.answer() is None
    wire.close()


def test_who_shuts_its_side_and_waits_is_let_go_when_it_is_gone(served: Running) -> None:
    """An answer that comes later, to somebody who does not wait for it any more."""
    peers = served.server.trace._peers  # type: ignore[union-attr]
    session = served.connect()
    other = {"iqn": "iqn.2026-11.example:other", "lun": [{"store": "ram:1M"}]}
    wire = Wire("wire")
    asked = {"request": "apply", "version": 1, "document": {"target": [other]}, "in_use": "drain"}
    wire.socket.sendall(json.dumps(asked).encode() + b"\n")
    wire.socket.shutdown(socket.SHUT_WR)
    assert "progress" in wire.read()
    assert peers
    wire.close()
    eventually(lambda: not peers, "the end of the reader")
    session.close()


def test_a_request_without_end_is_let_go(wire: Wire) -> None:
    end: list[Any] = []
    try:
        for _ in range(200):
            wire.socket.sendall(b"x" * 65536)
        end.append(wire.answer())
    except OSError as error:
        end.append(error)
    assert isinstance(end[0], OSError) or end[0] == {"error": "the request is too long"}


def values(random_: random.Random, depth: int = 0) -> Any:
    """Some JSON value; numbers that are large, texts that are odd, things within things."""
    plain: list[Callable[[], Any]] = [
        lambda: None, lambda: random_.random() < 0.5, lambda: random_.randrange(-(1 << 70), 1 << 70),
        lambda: random_.choice([0, 1, -1, 1e308, float("nan"), float("inf"), 0.5]),
        lambda: "".join(chr(random_.choice([0, 10, 34, 92, 127, 0xD800, 0x1F600, 65, 58])) for _ in range(5)),
        lambda: random_.choice(["ram:1M", "file:/nonexistent", "iqn.2026-11.example:x", "chap", "::1", "0", "1G", "-"]),
    ]  # fmt: skip
    if depth < 4 and random_.random() < 0.3:
        return [values(random_, depth + 1) for _ in range(random_.randrange(4))]
    return random_.choice(plain)()


def spoil(random_: random.Random, value: Any) -> Any:
    """The same document with something of it replaced, removed or added."""
    if isinstance(value, dict) and value and random_.random() < 0.85:
        key = random_.choice(list(value))
        found = dict(value)
        if random_.random() < 0.15:
            del found[key]
        elif random_.random() < 0.15:
            found[str(values(random_))] = values(random_)
        else:
            found[key] = spoil(random_, value[key])
        return found
    if isinstance(value, list) and value and random_.random() < 0.85:
        found_list = list(value)
        found_list[random_.randrange(len(value))] = spoil(random_, random_.choice(value))
        return found_list
    return values(random_)


def request_of(random_: random.Random, document: Any) -> str:
    name = random_.choice([*REQUESTS, "apply", "apply"])
    message: dict[str, Any] = {"request": name, "version": 1}
    if name == "apply":
        message["document"] = document
        message["in_use"] = random_.choice(["refuse", "force"])
    for field in REQUESTS[name]:
        if random_.random() < 0.1:
            message[field] = values(random_)
    text = json.dumps(spoil(random_, message))
    if random_.random() < 0.1:
        place = random_.randrange(len(text))
        text = text[:place] + random_.choice(['"', "}", "\\", "\x00", ""]) + text[place + 1 :]
    return text.replace("\n", " ")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fuzz_leaves_it_serving(served: Running, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    random_ = random.Random(seed)
    with Control("wire") as control:
        document = control.get().document
    wire = Wire("wire")
    for _ in range(REQUESTS_OF_A_SEED):
        text = request_of(random_, document)
        error = wire.ask(text).get("error", "")
        assert "the server failed" not in error, text
        if error.startswith("bad request"):  # it is no JSON: the server hangs up
            assert wire.answer() is None
            wire.close()
            wire = Wire("wire")
    wire.close()
    failures = [record for record in caplog.records if record.levelname == "ERROR" and record.exc_info]
    assert failures == []
    with Control("wire") as control:
        assert control.apply(document, in_use="force").generation >= 1
    with served.connect() as session:
        session.write(0, b"a" * 512)
        assert session.read(0, 1) == b"a" * 512
