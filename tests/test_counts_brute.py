"""COUNT on tiny populations: coverage over all outcomes, and the search against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import hypergeom

from thresher.sampling import buehler, outcomes
from thresher.sampling.buehler import TotalTest, total_upper
from thresher.sampling.counts import count_limits
from thresher.sampling.outcomes import DROP, Bundled, Outcomes, Sample, smaller, stratum_box

Table = tuple[tuple[int, ...], tuple[int, ...]]


def pmf(n_rows: int, n_sample: int) -> np.ndarray:
    """P(X = x) for every T (rows) and x (columns), exact to the last digits."""
    marked, x = np.arange(n_rows + 1)[:, None], np.arange(n_sample + 1)
    return hypergeom.pmf(x, n_rows, marked, n_sample) if n_rows else np.ones((1, 1))


def misses(rows: tuple[int, ...], sizes: tuple[int, ...], delta: float) -> tuple[float, float]:
    """The highest chance, over every T, of a total above `high` and of one below `low`."""
    xs = list(product(*(range(n + 1) for n in sizes)))
    limits = np.array([count_limits(list(zip(rows, sizes, x, strict=True)), delta) for x in xs]).T
    tables = [pmf(a, b) for a, b in zip(rows, sizes, strict=True)]
    places = np.array(xs).T
    worst_high = worst_low = 0.0
    for marked in product(*(range(n + 1) for n in rows)):
        chance = np.prod([t[m][x] for t, m, x in zip(tables, marked, places, strict=True)], axis=0)
        total = sum(marked)
        worst_high = max(worst_high, float(chance[limits[1] < total].sum()))
        worst_low = max(worst_low, float(chance[limits[0] > total].sum()))
    return worst_high, worst_low


@pytest.mark.parametrize(
    ("rows", "sizes", "delta"),
    [
        ((14, 9), (5, 4), 0.1),
        ((30, 6), (6, 5), 0.3),
        ((9, 7, 6), (3, 3, 3), 0.1),
        ((16, 5, 5), (5, 3, 2), 0.3),
        ((25,), (8,), 0.2),
        ((6, 12, 4), (6, 4, 2), 0.2),  # with a census
    ],
)
def test_no_population_is_missed_more_often_than_delta(
    rows: tuple[int, ...], sizes: tuple[int, ...], delta: float
) -> None:
    above, below = misses(rows, sizes, delta)
    # The split of delta holds on each side, not only for both together.
    assert above <= 0.6 * delta + 1e-12
    assert below <= 0.4 * delta + 1e-12
    assert above + below > 0.05 * delta  # not vacuous


@pytest.mark.full
@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_a_thin_corner_of_the_nuisance_is_not_overlooked(delta: float) -> None:
    # A coarse grid of nuisance values loses the coverage here.
    rows, sizes = (10, 60, 40), (3, 7, 6)
    xs = list(product(*(range(n + 1) for n in sizes)))
    limits = [count_limits(list(zip(rows, sizes, x, strict=True)), delta) for x in xs]
    low, high = (np.array(v).reshape(4, 8, 7) for v in zip(*limits, strict=True))
    one, two, three = (pmf(a, b) for a, b in zip(rows, sizes, strict=True))
    first, second = np.indices((61, 41)).reshape(2, -1)
    for marked in range(11):
        chance = np.einsum("a,tb,tc->tabc", one[marked], two[first], three[second])
        total = (marked + first + second)[:, None, None, None]
        assert (chance * (total > high)).sum((1, 2, 3)).max() <= 0.6 * delta + 1e-12
        assert (chance * (total < low)).sum((1, 2, 3)).max() <= 0.4 * delta + 1e-12


TABLES = [
    ([Sample(40, 12, 2), Sample(30, 10, 3), Sample(20, 9, 5)], 0.05),
    ([Sample(60, 10, 0), Sample(12, 6, 3), Sample(10, 5, 5)], 0.02),
    ([Sample(35, 8, 7), Sample(24, 9, 8), Sample(18, 9, 1)], 0.1),
    ([Sample(80, 20, 1), Sample(25, 10, 4), Sample(0, 0, 0)], 0.03),
]


def exact_chances(samples: list[Sample], z: float) -> np.ndarray:
    """P_T(statistic at most the observed one) for every T, in plain loops over the definition."""

    def statistic(x: tuple[int, ...]) -> float:
        estimate, square = 0.0, 0.0
        for s, k in zip(samples, x, strict=True):
            if s.n_rows:
                p, q = k / s.n_sample, z * z * (1 - s.n_sample / s.n_rows) / s.n_sample
                upper = (p + q / 2 + np.sqrt(q * p * (1 - p) + q * q / 4)) / (1 + q)
                estimate += s.n_rows * p
                square += (s.n_rows * (upper - p)) ** 2
        return estimate + float(np.sqrt(square))

    observed = statistic(tuple(s.n_found for s in samples)) + 1e-9
    sizes = [range(s.n_sample + 1) for s in samples]
    inside = np.array([statistic(x) <= observed for x in product(*sizes)])
    inside = inside.reshape([len(r) for r in sizes])
    tables = [pmf(s.n_rows, s.n_sample) for s in samples]
    return np.einsum("ia,jb,kc,abc->ijk", *tables, inside.astype(float), optimize=True)


@pytest.mark.parametrize(("samples", "level"), TABLES)
@pytest.mark.parametrize("blocks", [160, 4])
def test_cells_are_bounded_from_above(
    samples: list[Sample], level: float, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_BLOCKS", blocks)
    exact = exact_chances(samples, 1.7)
    boxes = [s.certain for s in samples]
    test = TotalTest(samples, boxes, level, 1.7)
    rng = np.random.default_rng(blocks)
    corners = np.array([[b[0], b[0], c[0], c[0]] for b, c in [boxes[1:]]])
    room = np.array([b[1] - b[0] + 1 for b in boxes[1:]])
    sharper = 0
    for total in range(sum(b[0] for b in boxes), sum(b[1] for b in boxes) + 1, 5):
        start = rng.integers(0, room, (25, 2))
        side = np.minimum(rng.integers(0, 6, (25, 2)), room - 1 - start)
        cells = corners + np.stack([start, start + side], axis=-1).reshape(25, 4)
        for cell, bound in zip(cells, test.bounds(cells, total), strict=True):
            ones = np.arange(cell[0], cell[1] + 1)[:, None]
            twos = np.arange(cell[2], cell[3] + 1)
            rest = total - ones - twos
            real = (rest >= boxes[0][0]) & (rest <= boxes[0][1])
            if not real.any():
                continue
            values = exact[np.where(real, rest, 0), ones, twos]
            assert bound >= values[real].max() - 1e-12
            corner = test.chance((int(rest[real].min()), int(cell[0]), int(cell[2])))
            sharper += bool(bound < corner - 1e-6)
    assert sharper > 0  # the corner of a cell alone would be a weaker bound


@pytest.mark.parametrize(("samples", "level"), TABLES)
@pytest.mark.parametrize("blocks", [160, 5])
def test_limit_against_every_nuisance(
    samples: list[Sample], level: float, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_BLOCKS", blocks)
    exact = exact_chances(samples, 1.7)
    boxes = [samples[0].certain, *(stratum_box(s, 0.01) for s in samples[1:])]
    inside = np.zeros(exact.shape, dtype=bool)
    inside[tuple(slice(b[0], b[1] + 1) for b in boxes)] = True
    totals = sum(np.indices(exact.shape))
    best = int(totals[inside & (exact > level)].max())
    limit = total_upper(samples, boxes, level, 1.7)
    assert limit >= best
    if blocks == 160:
        assert limit <= best + 1
    test = TotalTest(samples, boxes, level, 1.7)
    for total in range(best - 8, min(best + 9, sum(b[1] for b in boxes)) + 1):
        largest = exact[inside & (totals == total)].max()
        verdict = test.judge(total)
        assert verdict != "refused" or largest <= level
        if blocks == 160:
            assert verdict != "reached" or largest > level * (1 - 20 * DROP) - 1e-9


def test_without_an_allowance_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, level = TABLES[0]
    boxes = [s.certain for s in samples]
    monkeypatch.setattr(buehler, "_CELLS", 0)
    assert total_upper(samples, boxes, level, 1.7) == sum(b[1] for b in boxes)


@pytest.mark.parametrize(
    ("n_rows", "n_sample"), [(50, 20), (5000, 400), (5000, 4990), (200_000, 900), (7, 1)]
)
def test_distributions_are_bounded_on_the_safe_side(n_rows: int, n_sample: int) -> None:
    level, rng = 0.02, np.random.default_rng(n_rows)
    sample = Sample(n_rows, n_sample, n_sample // 2)
    for found in {0, 1, n_sample // 3, n_sample // 2, n_sample}:
        low, high = Sample(n_rows, n_sample, found).certain
        kept = Outcomes(sample, (low, high), level)
        for marked in {low, high, *rng.integers(low, high + 1, 4).tolist()}:
            start, value = kept.chances(marked)
            x = np.arange(start, start + len(value))
            exact = hypergeom.pmf(x, n_rows, marked, n_sample)
            assert kept.first <= start
            assert x[-1] <= kept.last
            assert (value >= exact * (1 - 1e-8)).all()
            assert value @ np.ones(len(x)) <= 1 + 1e-12
            assert exact.sum() >= 1 - 4 * DROP * level
            wide = min(high, marked + max(1, n_rows // 50))
            first, least = smaller((start, value), kept.chances(wide))
            x = np.arange(first, first + len(least))
            for between in {marked, wide, *rng.integers(marked, wide + 1, 4).tolist()}:
                exact = hypergeom.pmf(x, n_rows, between, n_sample)
                assert (least * 0.9999 <= exact * (1 + 1e-8)).all()


def test_blocks_hold_the_mass_of_their_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "_BLOCKS", 7)
    kept = Bundled(Sample(300, 90, 30), (60, 160), 0.05)
    assert kept.size > 1
    for marked in range(60, 161, 9):
        low, value = kept.chances(marked)
        first, blocks = kept.blocks(marked)
        whole = np.zeros(kept.size * (len(kept.starts) + 1))
        whole[low - kept.first : low - kept.first + len(value)] = value
        sums = whole.reshape(-1, kept.size).sum(1)
        np.testing.assert_allclose(blocks, sums[first : first + len(blocks)], atol=1e-15)
        assert sums.sum() == pytest.approx(blocks.sum())


@pytest.mark.parametrize(
    "samples",
    [
        [Sample(10_535, 724, 1), Sample(348, 174, 21), Sample(282, 102, 79)],
        [Sample(3835, 290, 30), Sample(3665, 418, 136), Sample(2500, 292, 190)],
    ],
)
def test_total_beyond_the_limit_is_refused_at_real_sizes(samples: list[Sample]) -> None:
    level, z, rng = 0.03, 1.9, np.random.default_rng(7)
    boxes = [samples[0].certain, *(stratum_box(s, 0.0005) for s in samples[1:])]
    total = total_upper(samples, boxes, level, z) + 1
    x0, x1, x2 = np.ogrid[tuple(slice(s.n_sample + 1) for s in samples)]
    parts = [
        buehler._statistic_parts(s, z, x.ravel())
        for s, x in zip(samples, (x0, x1, x2), strict=True)
    ]
    observed = sum(e[s.n_found] for s, (e, _) in zip(samples, parts, strict=True))
    observed += np.sqrt(sum(d[s.n_found] for s, (_, d) in zip(samples, parts, strict=True)))
    largest = 0.0
    for one, two in rng.integers([b[0] for b in boxes[1:]], [b[1] + 1 for b in boxes[1:]], (40, 2)):
        marked = (total - one - two, one, two)
        if not boxes[0][0] <= marked[0] <= boxes[0][1]:
            continue
        chances, kept = [], []
        for s, m in zip(samples, marked, strict=True):
            p = hypergeom.pmf(np.arange(s.n_sample + 1), s.n_rows, m, s.n_sample)
            kept.append(np.flatnonzero(p > 1e-9))
            chances.append(p[kept[-1]])
        e = [parts[k][0][kept[k]] for k in range(3)]
        d = [parts[k][1][kept[k]] for k in range(3)]
        value = e[0][:, None, None] + e[1][:, None] + e[2]
        value = value + np.sqrt(d[0][:, None, None] + d[1][:, None] + d[2])
        chance = np.einsum("a,b,c,abc->", *chances, (value <= observed).astype(float))
        largest = max(largest, float(chance))
    assert 0.5 * level < largest <= level
