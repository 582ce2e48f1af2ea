"""What is compiled, and how: read by ``setup.py`` and by ``packaging/cross/build.py``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Native:
    """A module in C: its full name, its room, and the room's files."""

    name: str
    room: str
    source_names: tuple[str, ...]
    header_names: tuple[str, ...]

    def sources(self) -> list[str]:
        """The files to compile, from the project's root."""
        return [f"{self.room}/{name}.c" for name in self.source_names]

    def headers(self) -> list[str]:
        """The files that they include."""
        return [f"{self.room}/{name}.h" for name in self.header_names]


NATIVE = (
    Native(
        "iscsitools.provider._native",
        "provider",
        ("module", "event", "connection", "sdt", "tracepoints"),
        ("uiscsi", "event", "connection", "sdt", "tracepoints", "calls"),
    ),
    Native(
        "iscsitools.datapath._native",
        "datapath",
        (
            "module",
            "path",
            "path_attributes",
            "path_methods",
            "ahead",
            "consume",
            "turn",
            "taker",
            "reads",
            "parts",
            "writes",
            "data_out",
            "transfers",
            "path_transfers",
            "pool",
            "airspace",
            "flights",
            "flight_lists",
            "flight_answers",
            "path_flights",
            "in_place",
            "arriving",
            "command",
            "fire",
            "python",
            "gate",
            "gates",
            "shortcut",
            "shortcut_file",
            "shortcut_ram",
            "users",
            "guest",
            "segment",
            "data_thread",
            "data_thread_turn",
            "data_thread_meeting",
            "data_thread_flights",
            "data_thread_type",
            "tags",
            "words",
            "crc32c",
            "uring",
            "ring",
            "ring_calls",
            "ring_type",
            "carrier",
            "trace",
            "trace_calls",
            "trace_set",
            "trace_marks",
            "trace_map",
            "trace_busy",
            "trace_cells",
            "trace_ring",
            "trace_ring_type",
            "trace_rows",
            "trace_kept",
            "trace_count",
            "trace_answers",
            "trace_sums",
            "trace_provider",
            "trace_fire",
        ),
        (
            "python",
            "path",
            "batch",
            "data_out",
            "in_place",
            "transfers",
            "pool",
            "flights",
            "turn",
            "taker",
            "arriving",
            "consume",
            "command",
            "wire",
            "fire",
            "gate",
            "gates",
            "shortcut",
            "shortcut_file",
            "shortcut_ram",
            "users",
            "guest",
            "segment",
            "data_thread",
            "data_thread_parts",
            "clock",
            "tags",
            "words",
            "crc32c",
            "uring",
            "ring",
            "ring_calls",
            "air",
            "carrier",
            "carrier_interface",
            "trace",
            "trace_calls",
            "trace_set",
            "trace_marks",
            "trace_map",
            "trace_busy",
            "trace_cells",
            "trace_ring",
            "trace_sums",
            "trace_fire",
        ),
    ),
)
LIBUSDT = "iscsitools.provider._libusdt"
LIMITED_API = "0x030b0000"
"""Python 3.11's: one build serves that and every later version."""
FLAGS = [
    *("-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wconversion"),
    *("-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"),  # for ustack() and perf
]
