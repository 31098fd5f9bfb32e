"""Audits of answers: properties, edge cases and messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling import (
    CountedLabels,
    audit_count,
    audit_mean,
    audit_selection,
    human_agreement,
    human_mean,
)
from thresher.sampling.claims import Audit
from thresher.sampling.means import mean_limits
from thresher.sampling.ratio import Group, share_lower, share_of


class Numbers:
    """Values with a budget."""

    def __init__(self, values: np.ndarray, budget: int) -> None:
        self.values, self.remaining = values, budget

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        assert len(rows) <= self.remaining
        self.remaining -= len(rows)
        return self.values[rows]


def run(truth: np.ndarray, returned: np.ndarray, budget: int, **more: object) -> Audit:
    labels = CountedLabels(lambda rows: truth[rows], budget)
    rng = np.random.default_rng(more.pop("seed", 0))
    options = {"delta": 0.05, "rng": rng} | more
    audit = audit_selection(returned, labels, **options)  # type: ignore[arg-type]
    assert labels.spent == audit.n_labels <= budget
    return audit


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_answer_any_scores(data: st.DataObject) -> None:
    n_rows = data.draw(st.integers(0, 120))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    truth = rng.random(n_rows) < data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    returned = rng.random(n_rows) < data.draw(st.sampled_from([0.0, 0.2, 0.9, 1.0]))
    known = np.where(rng.random(n_rows) < 0.2, truth, -1).astype(np.int8)
    scores = rng.choice([0.1, 0.7, np.nan, np.inf, -np.inf], n_rows)
    budget = data.draw(st.integers(0, 130))
    audit = run(
        truth,
        returned,
        budget,
        known=known if data.draw(st.booleans()) else None,
        scores=scores if data.draw(st.booleans()) else None,
        recall=data.draw(st.sampled_from([None, 0.9])),
        precision=data.draw(st.sampled_from([None, 0.9])),
    )
    for _, limits in audit.limits:
        assert 0 <= limits.low <= limits.high <= 1
        assert np.isnan(limits.estimate) or limits.low <= limits.estimate <= limits.high
    rows = [row for step in audit.steps for row in step.rows.tolist()]
    assert len(set(rows)) == len(rows) == audit.n_labels
    assert sum(s.n_sample for s in audit.samples) == audit.n_labels


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 30), st.integers(1, 60), st.integers(1, 200), st.data(), st.sampled_from([0, 1])
)
def test_a_lower_level_never_narrows(
    known: int, inside: int, outside: int, data: st.DataObject, empty: int
) -> None:
    m = data.draw(st.integers(0, inside))
    n = data.draw(st.integers(0, outside))
    own = Group(known, inside, m, data.draw(st.integers(0, m)))
    other = Group(0, outside, n, data.draw(st.integers(0, n)))
    certain, strict, loose = (share_lower(own, other, level, empty) for level in (0.0, 1e-6, 0.2))
    assert certain <= strict <= loose
    assert certain == share_of(own.least, other.most, empty)


def test_where_all_is_labelled_the_limits_are_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth, returned = rng.random(200) < 0.3, rng.random(200) < 0.4
    audit = run(truth, returned, 200, recall=0.5, precision=0.2)
    right = (truth & returned).sum()
    for name, share in (("precision", right / returned.sum()), ("recall", right / truth.sum())):
        assert audit[name].low == audit[name].high == audit[name].estimate == pytest.approx(share)
    assert [claim.verdict for claim in audit.claims] == ["supported", "refuted"]


def test_verdicts_and_text() -> None:
    truth = np.arange(20_000) < 2000
    good = run(truth, np.arange(20_000) < 2100, 2000, recall=0.9, precision=0.9, seed=3)
    assert [(c.name, c.verdict) for c in good.claims] == [
        ("precision", "supported"),
        ("recall", "supported"),
    ]
    bad = run(truth, np.arange(20_000) < 1000, 2000, recall=0.9)
    assert bad.claims[0].verdict == "refuted"
    few = run(truth, np.arange(20_000) < 1900, 100, recall=0.95)
    assert few.claims[0].verdict == "undecided"
    lines = str(bad).splitlines()
    assert lines[0] == "audit by 2,000 labels, probability 0.95"
    assert lines[1].startswith("  precision in [")
    assert lines[-1] == "  claim recall in [0.9, 1]: refuted"


def test_a_claim_of_precision_alone_spends_no_label_outside() -> None:
    truth = np.arange(5000) < 500
    audit = run(truth, np.arange(5000) < 550, 300, precision=0.8)
    assert {s.stage for s in audit.samples} == {"inside"}
    assert audit.claims[0].verdict == "supported"
    assert (audit["recall"].low, audit["recall"].high) == (pytest.approx(0, abs=0.07), 1.0)
    assert np.isnan(audit["recall"].estimate)


def test_scores_narrow_the_recall() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(20_000) < 0.05
    scores = 1 / (1 + np.exp(-np.where(truth, 2.0, -2.5) - rng.standard_normal(20_000)))
    returned = scores > 0.8
    widths = {}
    for name, given_scores in (("plain", None), ("stratified", scores)):
        found = [
            run(truth, returned, 1500, recall=0.9, scores=given_scores, seed=seed)["recall"]
            for seed in range(3)
        ]
        widths[name] = np.mean([limits.high - limits.low for limits in found])
    assert widths["stratified"] < 0.9 * widths["plain"]


def test_sizes_are_fixed_before_the_first_label() -> None:
    class Moody(CountedLabels):
        """Charges more where it finds positives."""

        def __call__(self, rows: np.ndarray) -> np.ndarray:
            answers = super().__call__(rows)
            self.spent -= int(np.count_nonzero(~answers)) // 2
            return answers

    sizes = set()
    for seed in range(6):
        truth = np.random.default_rng(seed).random(2000) < 0.5
        audit = audit_selection(
            np.arange(2000) < 500,
            Moody(lambda rows, truth=truth: truth[rows], 400),
            delta=0.1,
            rng=np.random.default_rng(seed),
        )
        sizes.add(tuple(s.n_sample for s in audit.samples))
    assert len(sizes) == 1


def test_counts_and_means_are_judged() -> None:
    truth = np.arange(5000) < 700
    rng = np.random.default_rng(0)
    for low, high, verdict in ((0, 400, "refuted"), (500, 950, "supported"), (700, 705, None)):
        labels = CountedLabels(lambda rows: truth[rows], 800)
        audit = audit_count(low, high, np.zeros(5000), labels, delta=0.05, rng=rng)
        assert audit.claims[0].verdict == (verdict or "undecided")
        assert audit["count"].low <= 700 <= audit["count"].high
    values = rng.random(4000)
    for low, high, verdict in ((0, 0.4, "refuted"), (0.4, 0.6, "supported"), (0.5, 0.5, None)):
        audit = audit_mean(
            low, high, Numbers(values, 900), n_rows=4000, value_range=(0, 1), delta=0.05, rng=rng
        )
        assert audit.claims[0].verdict == (verdict or "undecided")
    exact = audit_mean(
        0.4, 0.6, Numbers(values, 9000), n_rows=4000, value_range=(0, 1), delta=0.05, rng=rng
    )
    assert exact["mean"].low == exact["mean"].high == pytest.approx(values.mean())
    none = audit_mean(
        0.4, 0.6, Numbers(values, 0), n_rows=4000, value_range=(0, 1), delta=0.05, rng=rng
    )
    assert (none["mean"].low, none["mean"].high) == (0.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-3, 5), min_size=0, max_size=60),
    st.integers(1, 100),
    st.floats(0.5, 20),
    st.floats(-10, 10),
)
def test_means_scale_with_their_range(
    values: list[float], more: int, scale: float, shift: float
) -> None:
    sample, rows = np.array(values), len(values) + more
    low, high = mean_limits(sample, rows, -3, 5, 0.1)
    assert -3 - 1e-9 <= low <= high <= 5 + 1e-9
    assert low <= (sample.sum() + 5 * more) / rows + 1e-9
    moved = mean_limits(
        np.clip(sample * scale + shift, -3 * scale + shift, 5 * scale + shift),
        rows, -3 * scale + shift, 5 * scale + shift, 0.1,
    )  # fmt: skip
    np.testing.assert_allclose(moved, [low * scale + shift, high * scale + shift], atol=1e-5)


def test_people_and_oracle() -> None:
    rng = np.random.default_rng(2)
    people = rng.random(30_000) < 0.1
    oracle = (people ^ (rng.random(30_000) < 0.005)).astype(np.int8)
    returned = oracle == 1
    human = np.full(30_000, -1, dtype=np.int8)
    asked = rng.choice(30_000, 2000, replace=False)
    human[asked] = people[asked]
    found = human_agreement(returned, oracle, human, delta=0.05)
    right = (people & returned).sum()
    assert found.precision.low <= right / returned.sum() <= found.precision.high
    assert found.recall.low <= right / people.sum() <= found.recall.high
    assert found.positives.low <= people.sum() <= found.positives.high
    assert found.positives.high - found.positives.low < 0.25 * people.sum()
    assert found.n_human == 2000
    assert "uniformly among all rows" in str(found)
    # Asking more people inside the answer, still at random, is within the assumption.
    more = rng.choice(np.flatnonzero(returned), 800, replace=False)
    human[more] = people[more]
    second = human_agreement(returned, oracle, human, delta=0.05)
    before = found.precision.high - found.precision.low
    assert second.precision.high - second.precision.low < 0.6 * before
    everyone = human_agreement(returned, oracle, people.astype(np.int8), delta=0.05)
    assert everyone.recall.low == everyone.recall.high == pytest.approx(right / people.sum())


def test_the_oracle_narrows_the_mean_of_people() -> None:
    rng = np.random.default_rng(4)
    people = rng.beta(2, 5, 20_000)
    human = np.full(20_000, np.nan)
    asked = rng.choice(20_000, 600, replace=False)
    human[asked] = people[asked]
    widths = []
    for predicted in (people + 0.03 * rng.standard_normal(20_000), np.full(20_000, 0.3)):
        limits = human_mean(predicted, human, value_range=(0.0, 1.0), delta=0.05, rng=rng)
        assert limits.low <= people.mean() <= limits.high
        widths.append(limits.high - limits.low)
    assert widths[0] < 0.6 * widths[1]


def test_messages() -> None:
    truth = np.arange(10) < 3
    mask, rng = np.arange(10) < 4, np.random.default_rng(0)
    labels = CountedLabels(lambda rows: truth[rows], 5)
    with pytest.raises(ValueError, match="returned must be a bool array"):
        audit_selection(mask.astype(int), labels, delta=0.05, rng=rng)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="delta must be in"):
        run(truth, mask, 5, delta=5)
    with pytest.raises(ValueError, match=r"known must have shape \(10,\)"):
        run(truth, mask, 5, known=np.zeros(3, dtype=np.int8))
    with pytest.raises(ValueError, match=r"scores must be a float array of shape \(10,\)"):
        run(truth, mask, 5, scores=np.zeros(3))
    with pytest.raises(ValueError, match="target must be in"):
        run(truth, mask, 5, recall=95)
    with pytest.raises(ValueError, match="low <= high"):
        audit_count(4, 3, np.zeros(10), labels, delta=0.05, rng=rng)
    with pytest.raises(ValueError, match="every value must be within"):
        mean_limits(np.array([2.0]), 10, 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="every value must be within"):
        mean_limits(np.array([np.nan]), 10, 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="3 values of 2 rows"):
        mean_limits(np.zeros(3), 2, 0.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="range must have a width"):
        mean_limits(np.zeros(3), 9, 1.0, 1.0, 0.05)
    with pytest.raises(ValueError, match="human must be an integer array"):
        human_agreement(mask, truth.astype(np.int8), truth.astype(float), delta=0.05)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every row must have a predicted value"):
        human_mean(np.full(2, np.nan), np.zeros(2), value_range=(0, 1), delta=0.1, rng=rng)
    with pytest.raises(ValueError, match="every human value must be within"):
        human_mean(np.zeros(2), np.full(2, 3.0), value_range=(0, 1), delta=0.1, rng=rng)
