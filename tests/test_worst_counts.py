"""Counts with rows that have no answer: the lower limit without them, the upper one with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import comb

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom
from test_worst_case import WORST, Failing

import thresher
from tests_support import make_table
from thresher.dbapi import Connection
from thresher.errors import NotSupportedError
from thresher.sampling import (
    Column,
    ErrorTarget,
    Measure,
    Stratum,
    count_limits,
    estimate_aggregates,
)
from thresher.sampling.counts import TWO_TRUTHS, worst_limits
from thresher.verify import verify

Bits = npt.NDArray[np.bool_]


def chances(
    rows: int, sample: int, states: tuple[int, int, int]
) -> Iterator[tuple[int, int, float]]:
    """Positives and rows without an answer of a sample of a stratum with so many of each."""
    positive, failed, other = states
    for x in range(min(sample, positive) + 1):
        for d in range(min(sample - x, failed) + 1):
            rest = sample - x - d
            ways = comb(positive, x) * comb(failed, d) * comb(other, rest)
            yield x, d, ways / comb(rows, sample)


@pytest.mark.parametrize("delta", [0.1, 0.3])
def test_limits_fail_for_no_truth_more_often_than_promised(delta: float) -> None:
    """W5 over all strata of six and eight rows: the chance that any completion is outside."""
    sizes = ((6, 3), (8, 3))
    limits = {}
    for x in itertools.product(range(4), repeat=2):
        for d in itertools.product(*(range(4 - k) for k in x)):
            strata = [
                Stratum(f"stratum {i}", 0.0, 0.0, *size, x[i], d[i]) for i, size in enumerate(sizes)
            ]
            limits[x, d] = worst_limits(strata, delta / TWO_TRUTHS)
    worst = 0.0
    mixes = [
        [(p, f, n - p - f) for p in range(n + 1) for f in range(min(3, n - p) + 1)]
        for n, _ in sizes
    ]
    for states in itertools.product(*mixes):
        low_truth = sum(s[0] for s in states)
        high_truth = low_truth + sum(s[1] for s in states)
        chance = 0.0
        for one in chances(*sizes[0], states[0]):
            for two in chances(*sizes[1], states[1]):
                low, high = limits[(one[0], two[0]), (one[1], two[1])]
                chance += one[2] * two[2] * (low > low_truth or high < high_truth)
        worst = max(worst, chance)
    assert worst <= delta
    assert worst > 0.1 * delta


def test_without_such_rows_the_limits_are_the_same() -> None:
    strata = [Stratum("one", 0, 0, 50, 20, 7), Stratum("two", 0, 0, 80, 10, 1)]
    counts = [(s.n_rows, s.n_sample, s.n_found) for s in strata]
    assert worst_limits(strata, 0.1) == count_limits(counts, 0.1)


class Values:
    """Counts with a budget; NaN where a row does not count or has no answer."""

    def __init__(self, truth: Bits, broken: Bits, budget: int) -> None:
        self.truth, self.broken, self.remaining = truth, broken, budget
        self.failed: list[int] = []

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        self.remaining -= len(rows)
        self.failed += rows[self.broken[rows]].tolist()
        return np.where(self.truth[rows] & ~self.broken[rows], 1.0, np.nan)[:, None]

    def unanswered(self) -> npt.NDArray[np.int64]:
        return np.array(self.failed, dtype=np.int64)


@pytest.mark.statistical
def test_counts_by_group_hold_where_the_deep_positives_fail() -> None:
    rng, delta, n_trials = np.random.default_rng(3), 0.3, 25
    n_rows, n_groups = 500, 1
    scores = rng.random(n_rows)
    groups = rng.integers(0, n_groups, n_rows)
    truth = rng.random(n_rows) < np.clip(1.6 * scores - 0.7, 0.0, 1.0)
    deep = rng.choice(np.flatnonzero(scores < 0.4), 12, replace=False)
    truth[deep] = True
    broken = np.zeros(n_rows, dtype=np.bool_)
    broken[deep] = True
    ends = [np.bincount(groups[t], minlength=n_groups) for t in (truth & ~broken, truth | broken)]
    n_bad, widths = 0, []
    for seed in range(n_trials):
        source = Values(truth, broken, 120)
        found = estimate_aggregates(
            scores, source, [Column(1.0, 1.0)], [Measure("count", 0)], delta=delta,
            rng=np.random.default_rng(seed), groups=groups, n_groups=n_groups,
            unanswered=source.unanswered,
        )  # fmt: skip
        one = found.measures[0]
        n_bad += bool((one.low > ends[0]).any() or (one.high < ends[1]).any())
        widths.append(float((one.high - one.low).max()))
        assert found.grade == "distribution-free"
    assert binom.sf(n_bad - 1, n_trials, delta) > 1e-6
    assert np.median(widths) < 0.35 * n_rows / n_groups


def test_other_measures_and_early_stops_are_refused() -> None:
    truth = np.arange(100) < 30
    source = Values(truth, ~truth, 50)
    for measure, error in ((Measure("sum", 0), None), (Measure("count", 0), ErrorTarget(5, False))):
        with pytest.raises(ValueError, match="served in counts without an error target"):
            estimate_aggregates(
                np.zeros(100), source, [Column(1.0, 1.0)], [measure], delta=0.1,
                rng=np.random.default_rng(0), error=error, unanswered=source.unanswered,
            )  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Connection, Failing]]:
    table, truth = make_table(1000, seed=3)
    con = thresher.connect(config={"seed": 5})
    con.connection.register("rows", table)
    con.execute("CREATE TABLE t AS SELECT *, id % 3 AS g FROM rows")
    con.execute("SET thresher_reuse_labels = false")
    failing = Failing(truth)
    con.create_oracle("judge", failing, args=["BIGINT"], batch_size=10)
    failing.broken = set(np.random.default_rng(0).choice(1000, 30, replace=False).tolist())
    yield con, failing
    con.close()


@pytest.mark.parametrize("limit", ["", "USING score ", "1000"])
@pytest.mark.parametrize("grouped", [False, True])
def test_counts_from_sql_hold_for_every_truth(
    made: tuple[Connection, Failing], limit: str, grouped: bool
) -> None:
    con, failing = made
    failing.batches.clear()
    sampled = 1000 if limit == "1000" else 300
    clauses = f"{limit.removesuffix('1000')}WITH PROBABILITY 99% ORACLE LIMIT {sampled}"
    group = " GROUP BY g" if grouped else ""
    cursor = con.execute(f"SELECT count(*) FROM t WHERE judge(id){group} {clauses}{WORST}")
    certificate = cursor.certificate
    assert certificate is not None
    checked = certificate.verify()
    assert checked, str(checked)
    assert certificate.grade == "distribution-free"
    met = set(failing.asked) & failing.broken
    assert f"no oracle could decide {len(met)} row" in str(certificate.note)
    assert len(certificate.intervals) == (3 if grouped else 1)
    for one in certificate.intervals:
        mine = [i for i in range(1000) if not grouped or str(i % 3) == one.group[0]]
        least = sum(bool(failing.truth[i]) and i not in failing.broken for i in mine)
        most = sum(bool(failing.truth[i]) or i in failing.broken for i in mine)
        assert one.low is not None
        assert one.high is not None
        assert one.low <= least < most <= one.high
        if sampled == 1000:
            assert (one.low, one.high) == (least, most)
    # A certificate that says less of these rows than its log is found out.
    claims = certificate.to_dict()
    claims["intervals"][0]["high"] = claims["intervals"][0]["low"] = claims["intervals"][0][
        "estimate"
    ]
    assert verify(claims, certificate.log).failed
    if sampled < 1000:
        claims = certificate.to_dict()
        strata = claims["tests"][0]["strata"]
        number = next(i for i, s in enumerate(strata) if s["n_failed"])
        strata[number]["n_failed"] -= 1
        names = {check.name for check in verify(claims, certificate.log).failed}
        assert any(name.endswith("n_failed") for name in names)


def test_a_filter_counts_only_rows_that_may_pass_it(made: tuple[Connection, Failing]) -> None:
    con, failing = made
    cursor = con.execute(
        "SELECT count(*) FILTER (WHERE id < 500), count(*) FILTER (WHERE judge(id)) "
        f"FROM t WHERE judge(id) ORACLE LIMIT 400{WORST}"
    )
    certificate = cursor.certificate
    assert certificate is not None
    checked = certificate.verify()
    assert checked, str(checked)
    for one, end in zip(certificate.intervals, (500, 1000), strict=True):
        least = sum(bool(failing.truth[i]) and i not in failing.broken for i in range(end))
        most = sum(bool(failing.truth[i]) or i in failing.broken for i in range(end))
        assert one.low is not None
        assert one.high is not None
        assert one.low <= least
        assert most <= one.high


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT count(*) FROM t WHERE judge(id)", "counts with ORACLE LIMIT n"),
        ("SELECT sum(id) FROM t WHERE judge(id) ORACLE LIMIT 200", "serves counts, not sum"),
        (
            "SELECT count(*), avg(id) FROM t WHERE judge(id) ORACLE LIMIT 200",
            "serves counts, not mean",
        ),
        ("SELECT count(*) FROM t WHERE judge(id) ERROR WITHIN 10%", "whose size is fixed"),
        ("SELECT count(*) FROM t WHERE judge(id) BUDGET 5 SECONDS", "whose size is fixed"),
    ],
)
def test_what_is_not_served_says_why(made: tuple[Connection, Failing], sql: str, why: str) -> None:
    con, failing = made
    failing.batches.clear()
    with pytest.raises(NotSupportedError, match=why):
        con.execute(sql + WORST)
    assert not failing.asked
