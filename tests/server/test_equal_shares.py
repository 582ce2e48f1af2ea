"""Ten equal connections get equal shares of the loop: counted in a model of the kernel's list of ready descriptors."""

from __future__ import annotations

import heapq

import pytest

from iscsitools.server import loop as loop_module
from iscsitools.server.loop import Loop
from iscsitools.server.poller import READ

CONNECTIONS = 10
SERVED = 6000


class ReadyList:
    """Epoll's order and equal clients, in a time of its own, whose unit is what it takes to serve one request.

    The kernel keeps what is ready in a list, in the order of becoming ready. A level-triggered descriptor that was
    reported goes to the end of it and falls out when it is found not to be ready at the next look. Each client asks
    again when it has its answer, ``latency`` after that was sent; all of them share one processor, which takes
    ``thinking`` for each.
    """

    def __init__(self, thinking: float, latency: float) -> None:
        self.thinking, self.latency = thinking, latency
        self.now = self.free = 0.0
        self.listed: list[int] = []
        self.asked: set[int] = set()
        self.coming: list[tuple[float, int]] = []

    def register(self, fd: int, interest: int) -> None:
        """A client comes and asks."""
        heapq.heappush(self.coming, (self.now, fd))

    def modify(self, fd: int, interest: int) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def arrive(self) -> None:
        while self.coming and self.coming[0][0] <= self.now:
            fd = heapq.heappop(self.coming)[1]
            self.asked.add(fd)
            if fd not in self.listed:
                self.listed.append(fd)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        self.now += 0.3
        self.arrive()
        if not self.asked:
            self.now = self.coming[0][0]
            self.arrive()
        self.listed = [fd for fd in self.listed if fd in self.asked]
        return [(fd, READ) for fd in self.listed]

    def answer(self, fd: int) -> None:
        """The server has read a request and answers it."""
        self.now += 1.0
        self.asked.remove(fd)
        self.free = max(self.free, self.now + self.latency) + self.thinking
        heapq.heappush(self.coming, (self.free + self.latency, fd))
        self.arrive()


@pytest.mark.parametrize("thinking", [0.1, 0.5, 0.9, 1.0, 1.2])
@pytest.mark.parametrize("latency", [0.1, 1.0, 5.0])
def test_who_is_served_last_is_not_always_the_same(
    thinking: float, latency: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = ReadyList(thinking, latency)
    monkeypatch.setattr(loop_module, "make_poller", lambda: kernel)
    loop = Loop()
    kernel.coming.clear()  # its own descriptor for wake-ups
    counts = dict.fromkeys(range(1000, 1000 + CONNECTIONS), 0)

    def serve(fd: int) -> None:
        kernel.answer(fd)
        counts[fd] += 1
        if sum(counts.values()) >= SERVED:
            loop.stop()

    for fd in counts:
        loop.watch(fd, READ, lambda what, fd=fd: serve(fd))
    loop.run()
    loop.close()
    assert min(counts.values()) / max(counts.values()) >= 0.9
