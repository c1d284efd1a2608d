"""Spans are timed only while a timer is active, and only the outermost."""

import pytest

from omniseg import profiling
from omniseg.profiling import SpanTimer, span


class Clock:
    """Clock that goes on by a second at every reading."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(profiling.time, "perf_counter", clock)
    return clock


def test_outermost_spans_add_up(clock: Clock):
    waits = []
    with SpanTimer(lambda: waits.append(clock.now)) as timer:
        for _ in range(2):
            with span("outer"), span("inner"):
                clock.now += 10
        with span("inner"):
            pass
    assert timer.seconds == {"outer": 22.0, "inner": 1.0}
    assert len(waits) == 6, "the device is waited for at both ends of a span"


def test_a_span_costs_no_look_at_the_clock_without_a_timer(clock: Clock):
    with SpanTimer():
        pass
    with span("nothing"):
        pass
    assert clock.now == 0


def test_a_span_that_fails_is_ended():
    with SpanTimer() as timer:
        with pytest.raises(KeyError), span("first"):
            raise KeyError
        with span("second"):
            pass
    assert timer.seconds.keys() == {"first", "second"}


def test_one_timer_at_a_time():
    with SpanTimer(), pytest.raises(RuntimeError, match="active already"), SpanTimer():
        pass
    with SpanTimer():
        pass
