"""Widths of aggregates where a proxy is sure of itself, rightly or wrongly."""

from __future__ import annotations

import numpy as np
import pytest

from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.asymptotic import estimate_aggregates_normal
from thresher.sampling.measures import Column, Measure
from thresher.sampling.values import CountedValues

N = 6000
RNG = np.random.default_rng(3)
COUNTS = RNG.random(N) < 0.3
PRICE = np.minimum(np.round(RNG.gamma(4.0, 12.0, N) + 5, 2), 98.99)


def _right(share: float) -> np.ndarray:
    """A guess that is right for this share of the rows."""
    return np.where(RNG.random(N) < share, COUNTS, ~COUNTS)


SURE = _right(0.95)
ALMOST = _right(0.995)
PROXIES = {
    "0 and 1, 95 % right": (SURE.astype(float), np.where(SURE, 0.95, 0.05)),
    "0 and 1, 99.5 % right": (ALMOST.astype(float), np.where(ALMOST, 0.99, 0.01)),
    "perfect": (COUNTS.astype(float), np.where(COUNTS, 0.99, 0.01)),
    "all 1": (np.ones(N), np.full(N, 0.3)),
    "all 0": (np.zeros(N), np.full(N, 0.3)),
    "always wrong": (1.0 - COUNTS, np.full(N, 0.3)),
}
KINDS = ["count", "sum", "mean", "quantile"]


def widths(scores: np.ndarray, kind: str, normal: bool = False) -> list[float]:
    values = np.where(COUNTS, PRICE, np.nan)
    out = []
    for seed in range(5):
        answer = (estimate_aggregates_normal if normal else estimate_aggregates)(
            scores,
            CountedValues(lambda rows: values[rows], 300),
            [Column(PRICE, PRICE)],
            [Measure(kind, 0, share=0.5 if kind == "quantile" else None)],  # type: ignore[arg-type]
            delta=0.05,
            rng=np.random.default_rng(seed),
        )
        (found,) = answer.measures
        out.append(float(found.high[0] - found.low[0]))
    return out


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("name", PROXIES)
def test_a_sure_proxy_costs_little_more_than_one_that_knows_its_errors(
    name: str, kind: str
) -> None:
    sure, modest = (float(np.median(widths(scores, kind))) for scores in PROXIES[name])
    assert sure < 1.6 * modest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in PROXIES if n != "always wrong"])
def test_normal_limits_of_a_sure_proxy(name: str, kind: str) -> None:
    sure, modest = (float(np.median(widths(s, kind, normal=True))) for s in PROXIES[name])
    assert sure < 1.6 * modest


@pytest.mark.parametrize("name", PROXIES)
def test_the_median_of_positions_is_bounded(name: str) -> None:
    """Values that are all different, with no relation to what counts."""
    place = np.arange(N, dtype=float)
    values = np.where(COUNTS, place, np.nan)
    answer = estimate_aggregates(
        PROXIES[name][0],
        CountedValues(lambda rows: values[rows], 300),
        [Column(place, place)],
        [Measure("quantile", 0, share=0.5)],
        delta=0.05,
        rng=np.random.default_rng(1),
    )
    (found,) = answer.measures
    assert found.high[0] - found.low[0] < N / 2
