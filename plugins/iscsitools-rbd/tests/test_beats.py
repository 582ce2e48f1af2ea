"""Which head may take over, by a clock of the test's."""

from __future__ import annotations

import pytest

from iscsitools_rbd import beats
from iscsitools_rbd.beats import GONE, Beats
from iscsitools_rbd.shared import State


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(beats, "time", made)
    return made


def test_an_active_head_is_left_alone_until_it_is_silent_for_too_long(clock: Clock) -> None:
    seen = Beats(2, takeover=5)
    state = State(active=1, beats={1: "7"})
    seen.take_in(state)
    clock.now += 5
    seen.take_in(state)  # the same beat is no sign of life
    assert not seen.is_free(state)
    clock.now += 0.5
    assert seen.is_free(state)
    assert seen.silence == 0.5
    seen.take_in(State(active=1, beats={1: "8"}))
    assert not seen.is_free(state)


def test_lower_numbers_that_live_go_first(clock: Clock) -> None:
    seen = Beats(3, takeover=60)
    free = State(active=0, beats={1: "7", 2: GONE, 3: "1"})
    seen.take_in(free)
    assert [seen.lives(number) for number in (1, 2, 3, 4)] == [True, False, True, False]
    assert not seen.is_free(free)
    clock.now += 3
    assert seen.is_free(free)
    first = Beats(1, takeover=60)
    first.take_in(free)
    assert first.is_free(free)


def test_who_is_written_down_as_active_takes_over_at_once(clock: Clock) -> None:
    assert Beats(1, takeover=5).is_free(State(active=1))
