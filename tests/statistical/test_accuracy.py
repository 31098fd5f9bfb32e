"""Failure rates of labellings with an accuracy target, judged by an exact binomial test at 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from thresher.sampling.accuracy import _looks, _safe_cut, select_accuracy
from thresher.sampling.labelling import CountedClasses, OutOfClassesError
from thresher.sampling.looks import Look

pytestmark = pytest.mark.statistical

TARGET = 0.9
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def _data(rng: np.random.Generator, risk: np.ndarray, confidence: np.ndarray) -> Data:
    predictions = rng.integers(0, 4, len(risk))
    truth = np.where(rng.random(len(risk)) < risk, (predictions + 1) % 4, predictions)
    return predictions, confidence, truth


def easy(rng: np.random.Generator, n: int) -> Data:
    confidence = rng.beta(4, 1, n)
    return _data(rng, 1 - confidence, confidence)


def classes(rng: np.random.Generator, n: int) -> Data:
    predictions, confidence, truth = easy(rng, n)
    truth = np.where((predictions == 3) & (rng.random(n) < 0.5), 9, truth)
    return predictions, confidence, truth


def tied(rng: np.random.Generator, n: int) -> Data:
    predictions, confidence, truth = easy(rng, n)
    order = np.argsort(predictions != truth, kind="stable")  # the rows follow the errors
    return predictions[order], np.round(3 * confidence[order]) / 3, truth[order]


def constant(rng: np.random.Generator, n: int) -> Data:
    return _data(rng, np.full(n, 0.2), np.full(n, 0.5))


def inverted(rng: np.random.Generator, n: int) -> Data:
    predictions, confidence, truth = easy(rng, n)
    return predictions, 1 - confidence, truth


def clump(rng: np.random.Generator, n: int) -> Data:
    """The surest rows are wrong."""
    predictions, confidence, truth = easy(rng, n)
    surest = confidence > np.quantile(confidence, 0.94)
    return predictions, confidence, np.where(surest, (predictions + 1) % 4, truth)


PROXIES: list[Callable[..., Data]] = [easy, classes, tied, constant, inverted, clump]


def allowed(trials: int, delta: float) -> int:
    """Most failures that a failure probability of delta explains at the level 1e-6."""
    return int(binom.isf(1e-6, trials, delta))


def run(
    data: Callable[..., Data], trials: int, delta: float, budget: int = 800, n: int = 800
) -> np.ndarray:
    """Return for each trial: a claim was false, target missed, met, labels bought."""
    predictions, confidence, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        labels = CountedClasses(lambda rows: truth[rows], budget)
        rng = np.random.default_rng(seed)
        answer = select_accuracy(
            predictions, confidence, labels, accuracy=TARGET, delta=delta, rng=rng
        )
        share = (answer.labels == truth).mean()
        assert labels.spent <= budget
        assert answer.met == (answer.accuracy_bound >= TARGET)
        out.append(
            (share < answer.accuracy_bound - 1e-12, share < TARGET, answer.met, labels.spent)
        )
    return np.array(out, dtype=np.int64)


@pytest.mark.parametrize("delta", [0.2, 0.05])
def test_accuracy(delta: float) -> None:
    got = np.concatenate([run(proxy, 25, delta) for proxy in PROXIES])
    assert np.count_nonzero(got[:, 0]) <= allowed(len(got), delta)
    assert got[:, 0].any()  # the trials can fail, and the answers are not needlessly dear
    assert got[:, 2].all()


def test_a_wrong_level_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def spendthrift(*arguments: float) -> int:
        return _safe_cut(*arguments[:-1], min(3 * arguments[-1], 0.999))  # type: ignore[arg-type]

    monkeypatch.setattr("thresher.sampling.accuracy._safe_cut", spendthrift)
    got = np.concatenate([run(proxy, 25, 0.2) for proxy in PROXIES])
    assert np.count_nonzero(got[:, 0]) > allowed(len(got), 0.2)


def test_accuracy_with_too_few_labels() -> None:
    got = np.concatenate([run(proxy, 20, 0.2, budget=150) for proxy in PROXIES])
    assert np.count_nonzero(got[:, 0]) <= allowed(len(got), 0.2)
    assert got[:, 0].any()
    assert not got[:, 2].all()


def test_labels_are_few_where_confidence_tells() -> None:
    assert run(easy, 20, 0.1)[:, 3].mean() < 0.6 * 800
    assert run(clump, 20, 0.1)[:, 3].mean() < 0.8 * 800


class Stopping(CountedClasses):
    """Gives so many codes and then stops, in the middle of what it is asked for."""

    def __init__(self, truth: np.ndarray, stop: int, budget: int) -> None:
        super().__init__(lambda rows: truth[rows], budget)
        self._stop = stop

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        left = self._stop - self.spent
        if len(rows) <= left:
            return super().__call__(rows)
        raise OutOfClassesError(super().__call__(rows[:left]))


def stopped(
    data: Callable[..., Data], trials: int, delta: float, *, budget: int = 500, n: int = 500
) -> np.ndarray:
    """Return for each trial: a claim was false at some stop, and what a bound said at the third."""
    predictions, confidence, truth = data(np.random.default_rng(1), n)
    out = []
    for seed in range(trials):
        false, bounds = False, []
        for stop in np.linspace(40, 0.9 * budget, 6).astype(int):
            answer = select_accuracy(
                predictions,
                confidence,
                Stopping(truth, int(stop), budget),
                accuracy=TARGET,
                delta=delta,
                rng=np.random.default_rng(seed),
                interruptible=True,
            )
            share = (answer.labels == truth).mean()
            false |= bool(share < answer.accuracy_bound - 1e-12)
            false |= answer.met and bool(share < TARGET)
            bounds.append(answer.accuracy_bound - answer.from_oracle.mean())
        out.append((false, bounds[2]))
    return np.array(out, dtype=np.float64)


def test_accuracy_wherever_the_labels_stop() -> None:
    got = np.concatenate([stopped(proxy, 12, 0.3) for proxy in PROXIES])
    assert np.count_nonzero(got[:, 0]) <= allowed(len(got), 0.3)
    assert got[:, 0].any()  # the trials can fail
    assert np.median(got[:, 1]) > 0.3  # far more than the labelled rows make certain


@pytest.mark.full
def test_a_level_at_every_look_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit at the full level after every ten labels: what peeking at a fixed-n limit is."""

    def peeking(size: int, _level: float, kind: str) -> tuple[Look, ...]:
        sizes = range(_looks(size, 0.2, kind)[0].size, size, 10)  # type: ignore[arg-type]
        return (*(Look(part, 0.3) for part in sizes), Look(size, 0.3))

    monkeypatch.setattr("thresher.sampling.accuracy._looks", peeking)
    got = np.concatenate([stopped(proxy, 12, 0.3) for proxy in PROXIES])
    assert np.count_nonzero(got[:, 0]) > allowed(len(got), 0.3)


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("n", "budget"), [(500, 500), (3000, 800)])
def test_stops_at_length(proxy: Callable[..., Data], n: int, budget: int) -> None:
    got = stopped(proxy, 150, 0.1, budget=budget, n=n)
    assert np.count_nonzero(got[:, 0]) <= allowed(len(got), 0.1)


@pytest.mark.full
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(("n", "budget"), [(300, 300), (300, 60), (6000, 6000), (6000, 1500)])
def test_accuracy_at_length(proxy: Callable[..., Data], n: int, budget: int) -> None:
    got = run(proxy, 600, 0.1, budget, n)
    assert np.count_nonzero(got[:, 0]) <= allowed(len(got), 0.1)
