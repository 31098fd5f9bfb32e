"""Failure rates of whole queries against known truth, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling import (
    CountedLabels,
    OutOfLabelsError,
    select_joint,
    select_precision,
    select_recall,
)
from thresher.sampling.bounds import fixed_cut, ratio_cut
from thresher.sampling.ledger import Ledger
from thresher.sampling.looks import Look, early_looks, take_looks
from thresher.sampling.permutation import Permutation

pytestmark = pytest.mark.statistical

DELTA, TARGET = 0.1, 0.9
Data = tuple[np.ndarray, np.ndarray]


def easy(rng: np.random.Generator, n: int) -> Data:
    truth = rng.random(n) < 0.2
    return 1 / (1 + np.exp(-np.where(truth, 2.0, -2.0) - rng.standard_normal(n))), truth


def skewed(rng: np.random.Generator, n: int) -> Data:
    scores = rng.beta(0.05, 1.0, n)
    return scores, rng.random(n) < scores


def tied(rng: np.random.Generator, n: int) -> Data:
    scores, truth = easy(rng, n)
    order = np.argsort(truth, kind="stable")  # the rows follow the truth: ties must not
    return np.round(4 * scores)[order] / 4, truth[order]


def constant(rng: np.random.Generator, n: int) -> Data:
    return np.full(n, 0.5), np.arange(n) < n // 5


def inverted(rng: np.random.Generator, n: int) -> Data:
    scores, truth = easy(rng, n)
    return 1 - scores, truth


def clumped(rng: np.random.Generator, n: int) -> Data:
    """Near the highest failure rate: an eighth of the positives hides at the very bottom."""
    truth = rng.random(n) < 0.2
    scores = np.where(truth, rng.beta(8, 2, n), rng.beta(1, 8, n))
    hidden = truth & (rng.random(n) < 0.125)
    return np.where(hidden, 1e-6 * rng.random(n), scores), truth


def swapped(rng: np.random.Generator, n: int) -> Data:
    """The best scores are negatives: a pilot there says the opposite of the rest."""
    scores, truth = easy(rng, n)
    top = np.argsort(-scores)[: n // 20]
    truth = truth.copy()
    truth[top] = False
    return scores, truth


PROXIES: list[Callable[[np.random.Generator, int], Data]] = [
    easy, skewed, tied, constant, inverted, clumped, swapped,
]  # fmt: skip


NEAR: list[Callable[..., Data]] = [easy, skewed, tied, clumped]  # recall fails near delta here


def allowed(trials: int, delta: float = DELTA) -> int:
    """Most failures that a failure probability of delta explains at the level 1e-6."""
    return int(binom.isf(1e-6, trials, delta))


def shares(returned: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    right = np.count_nonzero(returned & truth)
    recall = right / np.count_nonzero(truth) if truth.any() else 1.0
    return recall, right / np.count_nonzero(returned) if returned.any() else 1.0


def run_recall(
    data: Callable[..., Data], n: int, budget: int, trials: int, delta: float = DELTA
) -> np.ndarray:
    scores, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        result = select_recall(scores, labels, recall=TARGET, delta=delta, rng=rng)
        assert labels.spent <= budget
        out.append(shares(result.returned, truth))
    return np.array(out)


def run_precision(
    data: Callable[..., Data], n: int, budget: int, trials: int, delta: float = DELTA
) -> np.ndarray:
    scores, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        result = select_precision(scores, labels, precision=TARGET, delta=delta, rng=rng)
        recall, precision = shares(result.returned, truth)
        assert result.precision_bound is not None
        out.append((recall, precision, precision < result.precision_bound - 1e-12))
    return np.array(out)


def run_joint(
    data: Callable[..., Data], n: int, budget: int, trials: int, delta: float = DELTA
) -> np.ndarray:
    scores, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedLabels(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        result = select_joint(scores, labels, recall=TARGET, precision=TARGET, delta=delta, rng=rng)
        recall, precision = shares(result.returned, truth)
        assert result.precision_bound is not None
        assert result.recall_bound is not None
        assert not result.met or result.precision_bound >= TARGET
        failed = recall < result.recall_bound - 1e-12
        failed |= precision < result.precision_bound - 1e-12
        out.append((recall, precision, failed, labels.spent, result.met))
    return np.array(out)


def recall_failures(delta: float) -> tuple[int, int]:
    """Pool 280 trials where recall fails nearly as often as it may, and 30 on other proxies."""
    failed = trials = 0
    for proxy in PROXIES:
        got = run_recall(proxy, 2000, 300, 70 if proxy in NEAR else 10, delta)
        failed += np.count_nonzero(got[:, 0] < TARGET)
        trials += len(got)
    return failed, trials


@pytest.mark.parametrize("delta", [0.2, 0.05])
def test_recall(delta: float) -> None:
    failed, trials = recall_failures(delta)
    assert failed <= allowed(trials, delta)
    assert failed > 0  # the trials can fail, and the answers are not needlessly wide


def test_a_wrong_recall_level_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in (ratio_cut, fixed_cut):

        def spendthrift(*arguments: object, cut: Callable[..., object] = cut) -> object:
            return cut(*arguments[:-1], min(3 * arguments[-1], 0.999))  # type: ignore[operator]

        monkeypatch.setattr(f"thresher.sampling.looks.{cut.__name__}", spendthrift)
    failed, trials = recall_failures(0.2)
    assert failed > allowed(trials, 0.2)


def test_recall_answers_are_narrow() -> None:
    got = run_recall(easy, 2000, 300, 30)
    assert got[:, 1].mean() > 0.55  # the whole table would be 0.2
    assert got[:, 0].mean() < 0.999


def test_recall_with_a_census() -> None:
    """Rare positives and many labels: the best rows are labelled first."""
    got = np.concatenate([run_recall(p, 3000, 1400, 40, 0.2) for p in (skewed, inverted, clumped)])
    assert np.count_nonzero(got[:, 0] < TARGET) <= allowed(len(got), 0.2)


@pytest.mark.parametrize("delta", [0.2, 0.05])
def test_precision(delta: float) -> None:
    got = np.concatenate([run_precision(proxy, 2000, 150, 60, delta) for proxy in PROXIES])
    assert np.count_nonzero(got[:, 1] < TARGET) <= allowed(len(got), delta)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got), delta)


def test_precision_finds_more_than_labelling_the_best() -> None:
    got = run_precision(easy, 2000, 150, 30)
    scores, truth = easy(np.random.default_rng(1), 2000)
    best = np.argsort(-scores)[:150]
    assert got[:, 0].mean() > 1.5 * truth[best].sum() / truth.sum()


def test_both() -> None:
    runs = {p: run_joint(p, 2000, 2000, 10, 0.2) for p in (easy, tied, inverted, clumped)}
    got = np.concatenate(list(runs.values()))
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got), 0.2)
    assert got[:, 4].all()
    assert runs[easy][:, 3].mean() < 1200


def test_both_recovers_positives_hidden_at_the_bottom() -> None:
    """An eighth of the positives at the very bottom: no need to label all rows."""
    got = run_joint(clumped, 20_000, 20_000, 20, 0.2)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got), 0.2)
    assert got[:, 4].all()
    assert np.median(got[:, 3]) < 10_000


def test_both_with_too_few_labels() -> None:
    runs = [run_joint(proxy, 3000, 300, 12, 0.2) for proxy in (easy, clumped)]
    got = np.concatenate(runs)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got), 0.2)
    assert not any(run[:, 4].all() for run in runs)


@pytest.mark.parametrize("trials", [300, pytest.param(4000, marks=pytest.mark.full)])
def test_reused_labels_keep_delta_after_a_failure_too(trials: int) -> None:
    """Known labels may come from anywhere: from a run whose sample misled it above all."""
    delta, n, budget = 0.2, 2000, 250
    scores, truth = easy(np.random.default_rng(1), n)
    failed = np.zeros((trials, 2), dtype=bool)
    for trial, streams in enumerate(np.random.SeedSequence(3).spawn(trials)):
        known = np.full(n, -1, dtype=np.int8)
        for run, stream in enumerate(streams.spawn(2)):
            labels = CountedLabels(lambda rows: truth[rows], budget)
            result = select_recall(
                scores,
                labels,
                recall=TARGET,
                delta=delta,
                rng=np.random.default_rng(stream),
                known=known.copy(),
            )
            failed[trial, run] = shares(result.returned, truth)[0] < TARGET
            for step in result.steps:
                known[step.rows] = step.answers
    unlucky = failed[failed[:, 0], 1]
    assert len(unlucky) >= 0.1 * trials
    assert np.count_nonzero(unlucky) <= allowed(len(unlucky), delta)
    assert np.count_nonzero(failed[:, 1]) <= allowed(trials, delta)
    assert failed[:, 1].any()


def stopped_when_wrong(looks: tuple[Look, ...], trials: int) -> int:
    """Count trials in which a rule that knows the truth can stop at a wrong recall cut."""
    n, failed = 2000, 0
    for seed in range(trials):
        scores, truth = NEAR[seed % 2](np.random.default_rng(1), n)
        labels = CountedLabels(lambda rows, truth=truth: truth[rows], n)
        rng = np.random.default_rng(seed)
        ledger = Ledger(scores, labels, rng)

        def right(
            sampled: np.ndarray, cut: int, ledger: Ledger = ledger, truth: np.ndarray = truth
        ) -> bool:
            below = ledger.rows[ledger.unknown(cut)]
            return bool(truth[below].sum() <= (1 - TARGET) * truth.sum())

        order = Permutation(ledger, rng)
        _, sampled, cut = take_looks(ledger, order, looks, "ratio", TARGET, right)
        failed += not right(sampled, cut)
    return failed


@pytest.mark.parametrize("trials", [200, pytest.param(5000, marks=pytest.mark.full)])
def test_no_rule_of_stopping_breaks_the_looks(trials: int) -> None:
    delta = 0.2
    looks = (*early_looks(600, 0.6 * delta), Look(600, 0.4 * delta))
    failed = stopped_when_wrong(looks, trials)
    assert 0 < failed <= allowed(trials, delta)
    spendthrift = tuple(Look(look.size, 0.7) for look in looks[2:])
    assert stopped_when_wrong(spendthrift, 300) > allowed(300, delta)


class Fickle(CountedLabels):
    """Stops by what it has seen: when fewer of a batch are positive than of all labels so far."""

    seen = positive = 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        answers = super().__call__(rows)
        poor = answers.sum() * self.seen < 0.8 * self.positive * len(rows)
        self.seen, self.positive = self.seen + len(rows), self.positive + int(answers.sum())
        if poor and self.seen > 0.3 * self._budget:
            raise OutOfLabelsError(answers)
        return answers


@pytest.mark.parametrize("trials", [12, pytest.param(300, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "kind", ["recall", "precision", pytest.param("joint", marks=pytest.mark.full)]
)
def test_stopped_queries(kind: str, trials: int) -> None:
    delta, failed, stopped, useful = 0.2, 0, 0, 0
    n, budget = 2000, 1500 if kind == "joint" else 500
    targets = {name: TARGET for name in ("recall", "precision") if kind in (name, "joint")}
    select = {"recall": select_recall, "precision": select_precision, "joint": select_joint}[kind]
    for proxy in (easy, tied, clumped, swapped):
        scores, truth = proxy(np.random.default_rng(1), n)
        for seed in range(trials):
            labels = Fickle(lambda rows, truth=truth: truth[rows], budget)
            rng = np.random.default_rng(seed)
            result = select(scores, labels, delta=delta, rng=rng, interruptible=True, **targets)  # type: ignore[operator]
            recall, precision = shares(result.returned, truth)
            bounds = result.recall_bound or 0.0, result.precision_bound or 0.0
            failed += recall < bounds[0] - 1e-12 or precision < bounds[1] - 1e-12
            stopped += labels.spent < budget
            useful += not result.vacuous and labels.spent < budget
    assert failed <= allowed(4 * trials, delta)
    assert stopped > 2 * trials
    assert useful > 0.1 * stopped


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("n", "budget"), [(400, 120), (10_000, 500), (10_000, 2000)])
def test_recall_at_length(proxy: Callable[..., Data], n: int, budget: int) -> None:
    got = run_recall(proxy, n, budget, 1000)
    assert np.count_nonzero(got[:, 0] < TARGET) <= allowed(len(got))


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("n", "budget"), [(400, 60), (10_000, 300), (10_000, 1000)])
def test_precision_at_length(proxy: Callable[..., Data], n: int, budget: int) -> None:
    got = run_precision(proxy, n, budget, 1000)
    assert np.count_nonzero(got[:, 1] < TARGET) <= allowed(len(got))
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("budget", [800, 5000])
def test_both_at_length(proxy: Callable[..., Data], budget: int) -> None:
    got = run_joint(proxy, 5000, budget, 200)
    assert np.count_nonzero(got[:, 2]) <= allowed(len(got))
