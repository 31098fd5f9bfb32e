"""Limits by the minute, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.oracles.rate_limit import RateLimit, Sent, backoff_s, retry_after_s


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def sent_by(limit: RateLimit, sizes: list[int], settled: list[int]) -> list[Sent]:
    async def send() -> list[Sent]:
        found = []
        for size, true_size in zip(sizes, settled, strict=True):
            sent = await limit.acquire(size)
            sent.n_tokens = true_size
            found.append(sent)
        return found

    return asyncio.run(send())


@settings(max_examples=60, deadline=None)
@given(
    rpm=st.none() | st.integers(1, 6),
    tpm=st.none() | st.integers(20, 100),
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=30),
)
def test_no_window_has_more_than_the_limits(
    rpm: int | None, tpm: int | None, sizes: list[tuple[int, int]]
) -> None:
    clock = Clock()
    limit = RateLimit(rpm, tpm, clock=clock, sleep=clock.sleep)
    found = sent_by(limit, [max(pair) for pair in sizes], [min(pair) for pair in sizes])
    assert len(found) == len(sizes)
    for last in found:
        # Half a microsecond is what sums of floats may be off.
        window = [s for s in found if last.at - 60.0 + 5e-7 < s.at <= last.at]
        assert rpm is None or len(window) <= rpm
        assert tpm is None or sum(s.n_tokens for s in window) <= tpm or len(window) == 1
    if rpm is None and tpm is None:
        assert clock.now == 0.0


def test_the_limit_is_used_up() -> None:
    clock = Clock()
    found = sent_by(RateLimit(3, None, clock=clock, sleep=clock.sleep), [1] * 7, [1] * 7)
    assert [sent.at for sent in found] == [0.0, 0.0, 0.0, 60.25, 60.25, 60.25, 120.5]
    clock = Clock()
    found = sent_by(RateLimit(None, 100, clock=clock, sleep=clock.sleep), [60, 60, 60], [40, 40, 9])
    assert [sent.at for sent in found] == [0.0, 0.0, 60.25]


def test_a_server_that_asks_to_wait_holds_all_back() -> None:
    clock = Clock()
    limit = RateLimit(clock=clock, sleep=clock.sleep)
    limit.hold(7.0)
    limit.hold(3.0)
    assert [sent.at for sent in sent_by(limit, [1, 1], [1, 1])] == [7.0, 7.0]


def test_waits_grow_and_are_spread() -> None:
    rng = random.Random(1)
    waits = [[backoff_s(n, rng) for _ in range(50)] for n in (1, 2, 3, 12)]
    for found, longest in zip(waits, (0.5, 1.0, 2.0, 30.0), strict=True):
        assert longest / 2 <= min(found) < max(found) <= longest


@pytest.mark.parametrize("written", ["", "-1", "inf", "nan", "tomorrow"])
def test_a_wait_that_says_nothing_is_left_out(written: str) -> None:
    assert retry_after_s({"retry-after": written}) is None
