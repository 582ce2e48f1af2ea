from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from http_server import CONTENT, FAST, KIB, ImageServer
from iscsitools.backstores.base import Backstore
from iscsitools.plugins import PluginManager
from iscsitools.testing.store_calls import read

Opened = Callable[..., Backstore]


def test_the_plugin_is_found_as_any_other(manager: PluginManager) -> None:
    plugin = next(p for p in manager.plugins if p.name == "http")
    assert (plugin.status, plugin.distribution, plugin.provides) == ("loaded", "iscsitools-http", ["backstore http"])


def test_every_option_has_its_line_in_the_readme(manager: PluginManager) -> None:
    page = Path(__file__).parent.with_name("README.md").read_text()
    for option in manager.registry.backstore("http").options:
        assert f"\n| `{option.name}` |" in page


@pytest.mark.parametrize("options", ["cache_size=0,fetch_size=4K,read_ahead=64K", "fetch_size=64K,read_ahead=0"])
def test_threads_on_a_server_that_fails_at_random_read_the_image(
    server: ImageServer, opened: Opened, options: str
) -> None:
    store = opened(server.url, options + ",retries=50,backoff=0")
    faults: list[str | int] = ["", "", "", 503, "truncate", "close", "garbage", 500]
    server.faults = random.Random(1).choices(faults, k=5000)
    wrong: list[tuple[int, int]] = []

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        for _ in range(25):
            offset = numbers.randrange(0, len(CONTENT) // 512) * 512
            for start in (offset, offset + 8192):  # the second one is sequential
                length = min(8192, len(CONTENT) - start)
                if length > 0 and read(store, start, length) != CONTENT[start : start + length]:
                    wrong.append((start, length))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(server.requests) > 17  # blocks; some were asked for more than once


def test_the_disk_is_the_image(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url)
    assert store.size == len(CONTENT)
    assert store.capabilities.read_only
    assert store.identity == f"http:{server.url}"
    for offset, length in ((0, 512), (64 * KIB - 512, 1024), (999 * KIB, KIB + 512), (0, len(CONTENT))):
        assert read(store, offset, length) == CONTENT[offset : offset + length]
    with pytest.raises(OSError, match="cannot be written"):
        store.write(0, memoryview(bytes(512)))


def test_one_request_for_a_run_of_blocks_and_none_for_what_is_kept(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url)
    assert server.asked == ["bytes=0-0"]
    read(store, 64 * KIB, 128 * KIB)
    assert server.asked == ["bytes=65536-196607"]
    read(store, 100 * KIB, KIB)
    buffer = memoryview(bytearray(KIB))
    assert store.try_read_into(100 * KIB, buffer)
    assert buffer == CONTENT[100 * KIB : 101 * KIB]
    assert not store.try_read_into(0, buffer)
    assert server.asked == []
    assert len(server.connections) == 1


def test_the_least_recently_used_block_goes_first(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url, FAST + ",cache_size=128K")
    for block in (0, 1, 0, 2):
        read(store, block * 64 * KIB, 512)
    assert len(server.asked) == 4
    read(store, 0, 512)
    assert server.asked == []
    read(store, 64 * KIB, 512)
    assert server.asked == ["bytes=65536-131071"]


def test_sequential_reads_fetch_ahead(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url, "fetch_size=64K,read_ahead=256K")
    for block in range(8):
        assert read(store, block * 64 * KIB, 64 * KIB) == CONTENT[block * 64 * KIB : (block + 1) * 64 * KIB]
    assert server.asked == ["bytes=0-0", "bytes=0-65535", "bytes=65536-393215", "bytes=393216-720895"]
    assert read(store, 15 * 64 * KIB, len(CONTENT) - 15 * 64 * KIB) == CONTENT[15 * 64 * KIB :]


def test_threads_have_connections_of_their_own_and_fetch_nothing_twice(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url)
    server.gate.clear()
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        results[number] = read(store, number // 2 * 64 * KIB, 64 * KIB)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    server.gate.set()
    for thread in threads:
        thread.join()
    assert all(results[n] == CONTENT[n // 2 * 64 * KIB :][: 64 * KIB] for n in range(8))
    asked = server.asked
    assert sorted(asked) == sorted({*asked})
    assert len(asked) == 5


@pytest.mark.parametrize("fault", [500, 503, 429, "close", "truncate", "garbage"])
def test_passing_failures_are_tried_again(server: ImageServer, opened: Opened, fault: str | int) -> None:
    store = opened(server.url)
    server.faults = [fault] * 5
    assert read(store, 0, 4096) == CONTENT[:4096]
    assert server.faults == []


def test_tries_come_to_an_end_and_the_next_read_begins_anew(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url, FAST + ",retries=2")
    server.faults = [503] * 4  # the kept-alive connection's, and one for each of three tries
    with pytest.raises(OSError, match="503"):
        read(store, 0, 4096)
    assert server.faults == []
    assert read(store, 0, 4096) == CONTENT[:4096]


def test_a_server_that_says_nothing_is_given_up_after_the_timeout(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url, "backoff=1ms,timeout=400ms,retries=2")
    server.gate.clear()
    with pytest.raises(OSError, match="timed out"):
        read(store, 0, 512)
    server.gate.set()
    assert read(store, 0, 512) == CONTENT[:512]


def test_a_server_that_was_restarted_is_found_again(server: ImageServer, opened: Opened) -> None:
    store = opened(server.url)
    store._image._link.connection.sock.shutdown(2)  # type: ignore[attr-defined]
    assert read(store, 0, 512) == CONTENT[:512]


@pytest.mark.parametrize("fault", ["shifted", "no range header"])
def test_another_range_than_asked_for_is_an_error(server: ImageServer, opened: Opened, fault: str) -> None:
    store = opened(server.url)
    server.faults = [fault]
    with pytest.raises(OSError, match="another range"):
        read(store, 0, 512)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"etag": '"v2"'}),
        ({}, {"content": CONTENT + bytes(512), "etag": '"v2"'}),
        ({"etag": None}, {"modified": "Tue, 03 Nov 2026 10:00:00 GMT"}),
        ({"etag": 'W/"v1"'}, {"etag": 'W/"v2"'}),
        ({"etag": None, "modified": None}, {"content": CONTENT + bytes(512)}),
        ({"etag": None, "modified": None}, {"content": CONTENT[:4096]}),
        ({"etag": None, "modified": "not a date"}, {"content": CONTENT[: 512 * KIB]}),
    ],
)  # fmt: skip
def test_an_image_that_changes_is_an_error_for_good(
    server: ImageServer, opened: Opened, before: dict[str, object], change: dict[str, object]
) -> None:
    for name, value in before.items():
        setattr(server, name, value)
    original = dict(vars(server))
    store = opened(server.url)
    assert read(store, 0, 512) == CONTENT[:512]
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(OSError, match="has changed on the server"):
        read(store, 512 * KIB, 512)
    for name in change:
        setattr(server, name, original[name])
    for offset in (0, 512 * KIB):  # what is kept belongs to the old image as well
        with pytest.raises(OSError, match="has changed on the server"):
            read(store, offset, 512)
    assert not store.try_read_into(0, memoryview(bytearray(512)))
