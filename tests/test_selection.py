"""Selection: what every answer must keep, and the edges of every argument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.sampling import (
    CountedLabels,
    Selection,
    select_exact,
    select_joint,
    select_precision,
    select_recall,
)
from thresher.sampling.bounds import Share, marked_upper
from thresher.sampling.head import Head
from thresher.sampling.ledger import Ledger
from thresher.sampling.ranking import rank_rows

Select = Callable[..., Selection]


def recall_90(*args: object, **kwargs: object) -> Selection:
    return select_recall(*args, recall=0.9, delta=0.1, **kwargs)  # type: ignore[arg-type]


def precision_90(*args: object, **kwargs: object) -> Selection:
    return select_precision(*args, precision=0.9, delta=0.1, **kwargs)  # type: ignore[arg-type]


def joint_90(*args: object, **kwargs: object) -> Selection:
    return select_joint(*args, recall=0.9, precision=0.9, delta=0.1, **kwargs)  # type: ignore[arg-type]


QUERIES = pytest.mark.parametrize("select", [recall_90, precision_90, joint_90])


def noisy(n: int, seed: int, rate: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are informative but not perfect, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < rate
    logit = np.where(truth, 1.5, -1.5) + 1.3 * rng.standard_normal(n)
    return 1 / (1 + np.exp(-logit)), truth


def answer(
    select: Select,
    scores: npt.ArrayLike,
    truth: np.ndarray,
    budget: int,
    seed: int = 0,
    known: np.ndarray | None = None,
) -> tuple[Selection, CountedLabels]:
    """Run a query and check what every answer must keep."""
    labels = CountedLabels(lambda rows: truth[rows], budget)
    rng = np.random.default_rng(seed)
    result = select(np.asarray(scores), labels, rng=rng, known=known)
    check(result, truth, known)
    assert labels.spent == sum(len(step.rows) for step in result.steps) <= budget
    return result, labels


def check(result: Selection, truth: np.ndarray, known: np.ndarray | None = None) -> None:
    bought = np.concatenate([np.zeros(0, np.int64), *(step.rows for step in result.steps)])
    assert len(np.unique(bought)) == len(bought)
    label = np.full(len(truth), -1) if known is None else known.astype(int)
    assert (label[bought] < 0).all()
    for step in result.steps:
        assert len(step.rows) > 0
        assert (step.answers == truth[step.rows]).all()
        label[step.rows] = step.answers
    assert result.returned[label == 1].all()
    assert not result.returned[label == 0].any()
    free = result.returned & (label < 0)
    assert result.vacuous == (bool(free.any()) and bool(result.returned[label < 0].all()))
    if not (label < 0).any():
        assert result.recall_bound == result.precision_bound == 1.0
        assert result.met
        assert (result.returned == truth).all()
    for bound in (result.recall_bound, result.precision_bound):
        assert bound is None or 0.0 <= bound <= 1.0
    if not free.any():
        assert np.isnan(result.cut)
        assert result.precision_bound == 1.0


@QUERIES
@pytest.mark.parametrize("budget", [0, 1, 2, 3, 10, 39, 40, 41, 150, 299, 300, 1000])
def test_every_budget_is_kept(select: Select, budget: int) -> None:
    scores, truth = noisy(300, 1)
    result, _ = answer(select, scores, truth, budget)
    if budget >= 300 and select is not joint_90:
        assert result.algorithm == "exact"
        assert (result.returned == truth).all()


@QUERIES
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("budget", [0, 1, 2, 5, 100])
def test_tiny_populations(select: Select, n: int, budget: int) -> None:
    scores, truth = noisy(n, 2, 0.5)
    answer(select, scores, truth, budget)


SCORES = {
    "constant": lambda n, rng: np.full(n, 0.5),
    "zeros": lambda n, rng: np.zeros(n, np.float32),
    "ties": lambda n, rng: rng.integers(0, 3, n) / 2,
    "logits": lambda n, rng: 9 * rng.standard_normal(n),
    "large": lambda n, rng: 1e300 * rng.standard_normal(n),
    "float32": lambda n, rng: rng.random(n).astype(np.float32),
    "some nan": lambda n, rng: np.where(rng.random(n) < 0.4, np.nan, rng.random(n)),
    "all nan": lambda n, rng: np.full(n, np.nan),
    "nearly one": lambda n, rng: 1 - 10.0 ** rng.uniform(-16, -8, n),
    "infinite": lambda n, rng: rng.choice([-np.inf, 0.0, np.inf], n),
}
TRUTHS = {
    "none": lambda n, rng: np.zeros(n, bool),
    "all": lambda n, rng: np.ones(n, bool),
    "one": lambda n, rng: np.arange(n) == n // 2,
    "half": lambda n, rng: rng.random(n) < 0.5,
}


@QUERIES
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("truth", TRUTHS)
def test_odd_scores_and_labels(select: Select, scores: str, truth: str) -> None:
    rng = np.random.default_rng(3)
    n = 400
    values, labels = SCORES[scores](n, rng), TRUTHS[truth](n, rng)
    for budget in (60,) if select is joint_90 else (1, 60, 200):
        result, _ = answer(select, values, labels, budget)
        if truth == "none":
            assert not result.returned[labels].any()
        if truth == "all" and select is precision_90:
            assert result.returned.sum() >= budget


@QUERIES
def test_no_budget_returns_what_is_certain(select: Select) -> None:
    scores, truth = noisy(200, 4)
    known = np.full(200, -1, np.int8)
    known[:50] = truth[:50]
    result, _ = answer(select, scores, truth, 0, known=known)
    if select is precision_90:
        assert result.met
        assert (np.flatnonzero(result.returned) == np.flatnonzero(known == 1)).all()
    else:
        assert result.vacuous
        assert result.recall_bound == 1.0
        assert result.met == (select is recall_90)
        assert (result.returned[50:]).all()


@QUERIES
def test_all_known(select: Select) -> None:
    scores, truth = noisy(300, 5)
    result, labels = answer(select, scores, truth, 300, known=truth.astype(np.int8))
    assert labels.spent == 0
    assert (result.returned == truth).all()


@QUERIES
def test_all_positives_known(select: Select) -> None:
    scores, truth = noisy(2000, 6)
    known = np.where(truth, 1, -1).astype(np.int8)
    result, _ = answer(select, scores, truth, 800, known=known)
    assert result.returned[truth].all()
    # 400 known positives and none among 800 more: the rest can be left out.
    assert not result.vacuous


@QUERIES
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_known_rows_are_used(select: Select, part: float) -> None:
    scores, truth = noisy(1000, 7)
    known = np.where(np.random.default_rng(0).random(1000) < part, truth, -1).astype(np.int8)
    answer(select, scores, truth, 80, known=known)


@pytest.mark.parametrize("budget", [10, 100, 180])
def test_targets_of_one(budget: int) -> None:
    scores, truth = noisy(200, 8)
    for seed in range(2):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        full = select_recall(scores, labels, recall=1.0, delta=0.1, rng=rng)
        check(full, truth)
        labels = CountedLabels(lambda rows: truth[rows], budget)
        pure = select_precision(scores, labels, precision=1.0, delta=0.1, rng=rng)
        check(pure, truth)
        assert truth[pure.returned].all()
        labels = CountedLabels(lambda rows: truth[rows], budget)
        both = select_joint(scores, labels, recall=1.0, precision=1.0, delta=0.1, rng=rng)
        check(both, truth)


@QUERIES
@pytest.mark.parametrize("budget", [50, 400])
def test_same_seed_same_answer(select: Select, budget: int) -> None:
    scores, truth = noisy(1500, 9)
    one, two = (answer(select, scores, truth, budget, seed=5)[0] for _ in range(2))
    assert (one.returned == two.returned).all()
    assert one.tests == two.tests
    assert [s.rows.tolist() for s in one.steps] == [s.rows.tolist() for s in two.steps]
    other = answer(select, scores, truth, budget, seed=6)[0]
    assert [s.rows.tolist() for s in one.steps] != [s.rows.tolist() for s in other.steps]


@QUERIES
@pytest.mark.parametrize("change", [lambda s: s**0.25, lambda s: 1e-3 * s, lambda s: s.copy()])
def test_scores_are_read_only_and_of_any_shape(select: Select, change: Select) -> None:
    scores, truth = noisy(800, 10)
    scores = change(scores)
    scores.flags.writeable = False
    answer(select, scores, truth, 200)


class Cheap(CountedLabels):
    """Every second label is free: equal inputs."""

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        result = super().__call__(rows)
        self.spent -= len(rows) // 2
        return result


class Dear(CountedLabels):
    """Falls faster than rows are bought."""

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        result = super().__call__(rows)
        self.spent = min(self.spent + len(rows) // 3, self._budget)
        return result


@QUERIES
@pytest.mark.parametrize("source", [Cheap, Dear])
@pytest.mark.parametrize("budget", [1, 20, 300, 900])
def test_prices_other_than_a_row_a_label(
    select: Select, source: type[CountedLabels], budget: int
) -> None:
    scores, truth = noisy(1000, 11)
    labels = source(lambda rows: truth[rows], budget)
    result = select(scores, labels, rng=np.random.default_rng(0))
    check(result, truth)
    bought = sum(len(step.rows) for step in result.steps)
    if source is Cheap and select is not joint_90 and bought < 1000:
        assert labels.remaining == 0 or result.precision_bound == 1.0


def test_short_joint_keeps_recall_and_says_so() -> None:
    scores, truth = noisy(5000, 12)
    met, bounds = [], []
    for budget in (50, 600, 2500, 5000):
        result, _ = answer(joint_90, scores, truth, budget)
        met.append(result.met)
        bounds.append(result.precision_bound)
        assert result.recall_bound is not None
        assert result.recall_bound >= 0.9
    assert met[0] is False
    assert met[-1] is True
    assert bounds[0] is not None
    assert bounds[0] < 0.9 <= bounds[-1]


def test_select_exact() -> None:
    scores, truth = noisy(120, 13)
    labels = CountedLabels(lambda rows: truth[rows], 200)
    known = np.full(120, -1, np.int8)
    known[::3] = truth[::3]
    result = select_exact(scores, labels, known=known)
    check(result, truth, known)
    assert labels.spent == 80
    assert (result.returned == truth).all()
    with pytest.raises(ValueError, match="exact answer needs 120 labels, 7 remain"):
        select_exact(scores, CountedLabels(lambda rows: truth[rows], 7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recall": 0.0, "delta": 0.1}, "target must be in"),
        ({"recall": 1.5, "delta": 0.1}, "target must be in"),
        ({"recall": 0.9, "delta": 0.0}, "delta must be in"),
        ({"recall": 0.9, "delta": 1.0}, "delta must be in"),
    ],
)
def test_bad_numbers(arguments: dict[str, float], message: str) -> None:
    labels = CountedLabels(lambda rows: rows > 0, 5)
    with pytest.raises(ValueError, match=message):
        select_recall(np.zeros(9), labels, rng=np.random.default_rng(0), **arguments)


class _Floats:
    remaining = 3

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return np.zeros(len(rows))


def test_bad_arrays_and_sources() -> None:
    rng = np.random.default_rng(0)
    labels = CountedLabels(lambda rows: rows > 0, 5)
    with pytest.raises(ValueError, match="scores must be a float array"):
        recall_90(np.zeros((3, 3)), labels, rng=rng)
    with pytest.raises(ValueError, match="scores must be a float array"):
        recall_90(np.zeros(3, int), labels, rng=rng)
    with pytest.raises(ValueError, match=r"known must have shape \(9,\)"):
        recall_90(np.zeros(9), labels, rng=rng, known=np.zeros(3, np.int8))
    with pytest.raises(ValueError, match="came back"):
        recall_90(np.zeros(9), CountedLabels(lambda rows: [True], 5), rng=rng)
    with pytest.raises(ValueError, match="truth values, got an array of object"):
        recall_90(np.zeros(3), CountedLabels(lambda rows: [True, None, False], 5), rng=rng)
    with pytest.raises(ValueError, match="array of float64"):
        recall_90(np.zeros(3), _Floats(), rng=rng)
    with pytest.raises(ValueError, match="5 remain"):
        labels(np.arange(6))
    with pytest.raises(ValueError, match="budget must be at least 0"):
        CountedLabels(lambda rows: rows > 0, -1)


def test_ranking() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([0.1, np.nan, 0.9, -0.0, 0.0, np.inf, -np.inf, 0.9 + 1e-16, -3.0])
    order = rank_rows(scores, rng)
    assert order[:4].tolist() == [5, 7, 2, 0]
    assert order[-2:].tolist() == [6, 1]
    fine = 1 - 2.0 ** -rng.uniform(30, 52, 5000)  # equal in all but the last bits
    assert (np.diff(fine[rank_rows(fine, rng)]) <= 0).all()
    assert (np.diff(rng.random(70_000)[rank_rows(rng.random(70_000), rng)]) != 0).all()


def test_ties_do_not_follow_the_rows() -> None:
    order = rank_rows(np.zeros(2000), np.random.default_rng(0))
    assert sorted(order) == list(range(2000))
    assert abs(np.corrcoef(order, np.arange(2000))[0, 1]) < 0.1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_infinity=True, allow_nan=True), max_size=40), st.integers(0, 9))
def test_ranking_is_a_sorted_permutation(values: list[float], seed: int) -> None:
    scores = np.array(values, dtype=np.float64)
    order = rank_rows(scores, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(values)))
    ranked = scores[order]
    seen = ranked[~np.isnan(ranked)]
    assert (seen[:-1] >= seen[1:]).all()
    assert np.isnan(ranked[len(seen) :]).all()


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(0, 120),
    budget=st.integers(0, 130),
    rate=st.floats(0, 1),
    levels=st.integers(1, 50),
    share_known=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    select=st.sampled_from([recall_90, precision_90, joint_90]),
)
def test_any_query_keeps_the_rules(
    n: int, budget: int, rate: float, levels: int, share_known: float, seed: int, select: Select
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < rate
    scores = np.round((truth + rng.standard_normal(n)) * levels / 4) / levels
    known = np.where(rng.random(n) < share_known, truth, -1).astype(np.int8)
    answer(select, scores, truth, budget, seed, known)


def test_a_head_may_only_shrink_and_holds_its_limit() -> None:
    scores, truth = noisy(600, 14)
    labels = CountedLabels(lambda rows: truth[rows], 600)
    rng = np.random.default_rng(0)
    ledger = Ledger(scores, labels, rng)
    head = Head(ledger, 0.9)
    head.look(300, 40, 0.05, rng)
    with pytest.raises(ValueError, match="only shrink"):
        head.look(301, 40, 0.05, rng)
    test = head.tests[0]
    assert test.bound == marked_upper(300, 40, test.n_found, 0.05)
    for _ in range(20):
        head.verify(ledger.unknown(0, head.end)[-7:])
        hidden = np.count_nonzero(~truth[ledger.rows[ledger.unknown(0, head.end)]])
        assert head.limit is not None
        assert head.limit >= hidden or test.bound - test.n_found < np.count_nonzero(
            ~truth[ledger.rows[:300]]
        )
    head.verify(ledger.unknown(0, head.end))
    assert head.limit == 0
    assert head.certified


def test_free_rows_keep_the_target_even_if_all_are_wrong() -> None:
    """T5 on every small case: the largest addition keeps the target, one more breaks it."""
    for target in (0.5, 0.8, 0.9):
        share = Share.beyond(target)
        for returned in range(1, 40):
            for wrong in range(returned + 1):
                extra = share.room(wrong, returned)
                if extra:
                    assert share.allows(wrong + extra, returned + extra)
                assert not share.allows(wrong + extra + 1, returned + extra + 1)
