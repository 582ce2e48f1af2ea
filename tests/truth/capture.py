"""What really went over the loopback: dumpcap captures, tshark's iSCSI dissector says what it was."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.tools import missing, needs

_BEGIN = b"capture begins here"
_END = b"capture ends here"
_PATIENCE = 60.0
BHS = 48


@dataclass(frozen=True)
class WireField:
    """A field of a header: where it is, and the bytes there (of a bit field, the whole bytes it lies in)."""

    name: str
    place: int
    raw: bytes
    value: int
    """Of a bit field, its bits alone."""


@dataclass(frozen=True)
class WirePdu:
    """One PDU as tshark dissected it. ``client``: the initiator's ``address:port``."""

    client: str
    sent: bool
    """By the target."""
    opcode: int
    fields: tuple[WireField, ...] = field(repr=False)

    def get(self, name: str) -> int | None:
        """The value of the first field of this name that stands in the header; None without one."""
        return next((f.value for f in self.fields if f.name == name), None)


class Capture:
    """Captures these TCP ports of the loopback from ``with`` to :meth:`stop`, without losing a packet of either end."""

    def __init__(self, file: Path, *ports: int) -> None:
        self.file = file
        self.ports = ports
        # First of all: a test that ends here leaves nothing open.
        self._tshark, dumpcap = needs("tshark", "tshark"), needs("dumpcap", "wireshark-common")
        self._marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._marker.bind(("127.0.0.1", 0))
        number = self._marker.getsockname()[1]
        wanted = " or ".join(f"tcp port {port}" for port in ports) + f" or udp port {number}"
        command = [dumpcap, "-q", "-i", "lo", "-B", "64", "-f", wanted, "-w", "-"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._seen = {_BEGIN: threading.Event(), _END: threading.Event()}
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self._process.stdout is not None
        last = b""
        with self.file.open("wb") as file:
            while got := os.read(self._process.stdout.fileno(), 1 << 16):
                file.write(got)
                for mark, event in self._seen.items():
                    if mark in last + got:
                        event.set()
                last = got[-64:]

    def __enter__(self) -> Capture:
        self._reader.start()
        for _ in range(int(_PATIENCE / 0.1)):
            # Sent until it is seen: nothing says when dumpcap is ready.
            self._marker.sendto(_BEGIN, self._marker.getsockname())
            if self._seen[_BEGIN].wait(0.1):
                return self
            if self._process.poll() is not None:
                missing(f"dumpcap may not capture here: {self._end().strip()}")
        self._end()
        raise AssertionError("dumpcap shows nothing of what is sent")

    def stop(self) -> None:
        """End when everything that was sent up to now is in the file."""
        while not self._seen[_END].is_set():
            self._marker.sendto(_END, self._marker.getsockname())
            self._seen[_END].wait(0.1)
        errors = self._end()
        assert re.search(r"dropped on interface .*: \d+/0 ", errors), errors

    def _end(self) -> str:
        self._process.terminate()
        self._reader.join(_PATIENCE)
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            errors = stderr.read().decode()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()
        self._marker.close()
        return errors

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self._end()

    def pdus(self) -> Iterator[WirePdu]:
        """Every iSCSI PDU, in order."""
        command = [self._tshark, "-r", str(self.file), "-T", "pdml", "-Y", "iscsi"]
        for port in self.ports:
            command += ["-d", f"tcp.port=={port},iscsi"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        with process.stdout as output:
            for _, element in ElementTree.iterparse(output):
                if element.tag == "packet":
                    yield from _pdus_of(element, self.ports)
                    element.clear()
        assert process.wait() == 0


def _pdus_of(packet: ElementTree.Element, ports: tuple[int, ...]) -> Iterator[WirePdu]:
    source, target = (int(_text(packet, f"tcp.{end}port")) for end in ("src", "dst"))
    sent = source in ports
    end, port = ("dst", target) if sent else ("src", source)
    if packet.find(".//proto[@name='ipv6']") is not None:
        client = f"[{_text(packet, f'ipv6.{end}')}]:{port}"
    else:
        client = f"{_text(packet, f'ip.{end}')}:{port}"
    for proto in packet.iter("proto"):
        if proto.get("name") == "iscsi":
            yield WirePdu(client, sent, *_header(proto))


def _text(element: ElementTree.Element, name: str) -> str:
    found = element.find(f".//field[@name='{name}']")
    assert found is not None, name
    return found.get("show", "")


def _header(proto: ElementTree.Element) -> tuple[int, tuple[WireField, ...]]:
    opcode = proto.find(".//field[@name='iscsi.opcode']")
    assert opcode is not None
    first = int(opcode.get("pos", ""))
    fields = []
    for element in proto.iter("field"):
        place, name, value = int(element.get("pos", "0")) - first, element.get("name", ""), element.get("value", "")
        if name.startswith(("iscsi.", "scsi.lun")) and value and 0 <= place < BHS and int(element.get("size", "0")):
            raw = bytes.fromhex(element.get("unmaskedvalue", value))
            fields.append(WireField(name, place, raw, int(value, 16)))
    return int(opcode.get("value", ""), 16), tuple(fields)
