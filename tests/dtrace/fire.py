"""Registers the provider and fires each probe N + 1 times (N: its number) with known values, once a tracer is there.

Prints ``pid PID``, ``warning ...`` lines and ``ready`` at the start, ``fired PROBE COUNT`` and what is left enabled at
the end. ``--on-line``: fires when a line is read besides: a tracer may enable a probe before it listens to it.
``--hold``: only registers, says ``ready``, and ends at SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from iscsitools.probes.firing import Probes
from iscsitools.probes.subscribers import ConnectionInfo, Xfer
from iscsitools.probes.table import PROVIDER_PROBES, XFER_PROBES, Probe
from iscsitools.provider import registration
from iscsitools.provider.backend import choose
from iscsitools.provider.subscriber import ProviderSubscriber

CONNECTION = ConnectionInfo(
    7,
    local="192.0.2.1:3260",
    remote="[2001:db8::7]:51234",
    protocol="ipv6",
    target="iqn.2024-01.example:disk",
    initiator="iqn.1993-08.org.debian:01:abc",
    isid="00023d000001",
    tsih="0x0001",
)
LUN = 5
CDB = bytes.fromhex("88 01 02030405060708 09 0000 0a0b 00 00".replace(" ", ""))


def bhs(probe: Probe) -> bytes:
    """A header whose every number names its place and probe."""
    header = bytearray(48)
    header[1] = 0x81 if probe is Probe.DATA_SEND else 0xC0 + probe
    header[5:8] = (0x010000 + probe).to_bytes(3, "big")
    for place in range(16, 40, 4):
        header[place : place + 4] = (place << 24 | 0x020304 << 4 | probe).to_bytes(4, "big")
    return bytes(header)


def xfer(probe: Probe) -> Xfer:
    return Xfer(0x11111111, 0x22222222, 0x7F0012345678, 65536, 4096 + probe, 1)


def fire_all(probes: Probes) -> None:
    """As the engine does: test the mask, then fire."""
    for probe in PROVIDER_PROBES:
        for _ in range(probe + 1):
            if not probes.mask >> probe & 1:
                continue
            if probe in XFER_PROBES:
                probes.xfer(probe, CONNECTION, LUN, *xfer(probe))
            else:
                probes.pdu(probe, CONNECTION, LUN, bhs(probe), 0, CDB if probe is Probe.SCSI_COMMAND else b"")
        print("fired", probe.label, probe + 1, flush=True)


def wait_for(subscriber: ProviderSubscriber, mask: int, seconds: float) -> bool:
    """Poll until exactly these probes are enabled."""
    end = time.monotonic() + seconds
    while subscriber.mask != mask and time.monotonic() < end:
        time.sleep(0.02)
        subscriber.poll()
    return subscriber.mask == mask


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--provider", default="dtrace")
    parser.add_argument("--mask", type=lambda text: int(text, 0), default=(1 << 18) - 1)
    parser.add_argument("--on-line", action="store_true")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--dof", type=Path, help="write the DOF here")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    probes = Probes(time.monotonic_ns)
    backend = choose(arguments.provider)
    print("pid", os.getpid(), flush=True)
    for line in backend.warnings:
        print("warning", line, flush=True)
    subscriber = ProviderSubscriber(probes, backend)
    if arguments.dof:
        held = backend.registration
        assert isinstance(held, registration.Registration)
        arguments.dof.write_bytes(held.image())
    print("ready", json.dumps(backend.names), flush=True)
    if arguments.hold:
        time.sleep(600)
    elif not wait_for(subscriber, arguments.mask, 300):
        print(f"enabled {subscriber.mask:#x}, not {arguments.mask:#x}", flush=True)
        return 1
    else:
        if arguments.on_line:
            sys.stdin.readline()
        fire_all(probes)
        wait_for(subscriber, 0, 60)
        print(f"left enabled {subscriber.mask:#x}", flush=True)
    subscriber.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
