"""The methods compared, each driven by look-ups in a table of the oracle's answers.

A method maps (scores, oracle, query, seed) to the rows it returns. `bargain` is the package as
published, with its one-thread-per-row model calls replaced by array look-ups. The PyPI package
`supg` 0.0.1 holds one empty file, so SUPG is written down here again, to give for the same
draws the answers that the selectors of its repository give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: `kind` is recall, precision or both; `budget` is None where none is given."""

    kind: str
    budget: int | None
    target: float = 0.9
    delta: float = 0.05


class CountingOracle:
    """The oracle's answers, with a record of which rows were asked (a row is paid for once)."""

    def __init__(self, labels: Mask) -> None:
        self._labels = labels
        self.asked: Mask = np.zeros(len(labels), dtype=np.bool_)

    @property
    def n_calls(self) -> int:
        return int(self.asked.sum())

    def __call__(self, rows: Rows) -> Mask:
        self.asked[rows] = True
        return self._labels[rows]

    def positives_asked(self) -> Rows:
        """Rows asked so far that are positive."""
        return np.flatnonzero(self.asked & self._labels)


Method = Callable[[Scores, CountingOracle, Query, int], Rows]


def _budget(query: Query) -> int:
    if query.budget is None:
        raise ValueError("this method needs a budget")
    return query.budget


def thresher(scores: Scores, oracle: CountingOracle, query: Query, seed: int) -> Rows:
    from thresher import sampling

    labels = sampling.CountedLabels(oracle, query.budget or len(scores))
    rng = np.random.default_rng(seed)
    if query.kind == "recall":
        answer = sampling.select_recall(
            scores, labels, recall=query.target, delta=query.delta, rng=rng
        )
    elif query.kind == "precision":
        answer = sampling.select_precision(
            scores, labels, precision=query.target, delta=query.delta, rng=rng
        )
    else:
        answer = sampling.select_joint(
            scores,
            labels,
            recall=query.target,
            precision=query.target,
            delta=query.delta,
            rng=rng,
        )
    return np.flatnonzero(answer.returned)


def top_n(scores: Scores, oracle: CountingOracle, query: Query, _seed: int) -> Rows:
    """The positives among the `budget` best-scored rows: no statistics, no promise of recall."""
    oracle(np.argsort(-scores, kind="stable")[: _budget(query)])
    return oracle.positives_asked()


def bargain(scores: Scores, oracle: CountingOracle, query: Query, seed: int) -> Rows:
    """BARGAIN_R, BARGAIN_P and BARGAIN_PR of `bargain` 0.1.3, default settings (beta = 0)."""
    import BARGAIN

    models: dict[str, Any] = {
        "proxy": _bargain_proxy(scores),
        "oracle": _bargain_oracle(oracle),
        "delta": query.delta,
        "target": query.target,
        "seed": seed % 2**32,
    }
    if query.kind == "recall":
        process = BARGAIN.BARGAIN_R(budget=query.budget, **models)
    elif query.kind == "precision":
        process = BARGAIN.BARGAIN_P(budget=query.budget, **models)
    else:
        process = BARGAIN.BARGAIN_PR(verbose=False, **models)
    return np.asarray(process.process(np.arange(len(scores))), dtype=np.int64)


def _bargain_proxy(scores: Scores) -> Any:
    from BARGAIN import Proxy

    class Lookup(Proxy):
        """Says TRUE of every row with the score as confidence: the order is the scores' order."""

        def get_preds_and_scores(self, rows: Any, _records: Any) -> tuple[Any, Any]:
            return np.ones(len(rows), dtype=np.int64), scores[np.asarray(rows)]

    return Lookup(verbose=False)


def _bargain_oracle(oracle: CountingOracle) -> Any:
    from BARGAIN import Oracle

    class Lookup(Oracle):
        def get_pred(self, records: Any, _rows: Any = None) -> Any:
            return oracle(np.asarray(records, dtype=np.int64)).astype(np.int64)

        def get_number_preds(self) -> int:
            return oracle.n_calls

    return Lookup(verbose=False)


class _ImportanceSample:
    """SUPG's design: draws with replacement by sqrt(score), one tenth of the weight uniform."""

    def __init__(self, scores: Scores, seed: int) -> None:
        root = np.sqrt(scores)
        self.weights = 0.9 * root / root.sum() + 0.1 / len(scores)
        self._rng = np.random.default_rng(seed)

    def draw(self, n_ranks: int, n_draws: int) -> Rows:
        """Draw among the first `n_ranks` ranks; sorted, so best score first."""
        weights = self.weights[:n_ranks] / self.weights[:n_ranks].sum()
        return np.sort(self._rng.choice(n_ranks, size=n_draws, replace=True, p=weights))


def _normal_bounds(values: npt.NDArray[np.float64], delta: float) -> tuple[float, float]:
    """SUPG's bounds of a mean: the sample's own deviation stands for the true one."""
    half = math.sqrt(2 * math.log(1 / (2 * delta))) * float(values.std()) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean - half, mean + half


def supg(scores: Scores, oracle: CountingOracle, query: Query, seed: int) -> Rows:
    """SUPG (Kang et al., PVLDB 13(11), 2020), restated; both targets: recall set, all labelled."""
    n_draws = _budget(query)
    order = np.argsort(-scores, kind="stable")
    sample = _ImportanceSample(scores[order], seed)
    if query.kind == "precision":
        return _supg_precision(order, sample, oracle, query, n_draws)
    rows = _supg_recall(order, sample, oracle, query, n_draws)
    if query.kind == "both":
        return rows[oracle(rows)]
    return rows


def _supg_recall(
    order: Rows, sample: _ImportanceSample, oracle: CountingOracle, query: Query, n_draws: int
) -> Rows:
    """Cut at an inflated recall, so that the estimate's own error is (asymptotically) covered."""
    n_rows = len(order)
    ranks = sample.draw(n_rows, n_draws)
    mass = oracle(order[ranks]) / (n_rows * sample.weights[ranks])
    cumulative = np.cumsum(mass)
    plain = int(np.searchsorted(cumulative, query.target * mass.sum()))
    head = np.arange(n_draws) <= plain
    upper = _normal_bounds(mass * head, query.delta / 2)[1]
    lower = _normal_bounds(mass * ~head, query.delta / 2)[0]
    # Without a positive in the sample SUPG's code divides 0 by 0 and cuts at the last draw.
    inflated = upper / (upper + lower) if upper + lower else math.nan
    if inflated >= 1:
        return np.arange(n_rows)
    last = min(int(np.searchsorted(cumulative, inflated * mass.sum())), n_draws - 1)
    return np.union1d(order[: ranks[last] + 1], oracle.positives_asked())


def _supg_precision(
    order: Rows, sample: _ImportanceSample, oracle: CountingOracle, query: Query, budget: int
) -> Rows:
    """Bound the positives with half of the budget, then test every hundredth draw of a prefix."""
    n_rows, step = len(order), 100
    delta = query.delta / (1 + 2 * (budget - step) // step)
    first = sample.draw(n_rows, budget // 2)
    mass = oracle(order[first]) / (n_rows * sample.weights[first])
    most = _normal_bounds(mass, delta)[1]
    prefix = min(math.ceil(most * n_rows / query.target), n_rows)
    cut = 0
    if prefix:
        ranks = sample.draw(prefix, min(budget - budget // 2, prefix))
        positive = oracle(order[ranks])
        for k in range(step, len(ranks) - 1, step):
            weights = sample.weights[: ranks[k] + 1]
            ratio = weights.sum() / (len(weights) * weights[ranks[: k + 1]])
            if _normal_bounds(positive[: k + 1] * ratio, delta)[0] > query.target:
                cut = int(ranks[k])
    return np.union1d(order[:cut], oracle.positives_asked())


METHODS: dict[str, Method] = {
    "thresher": thresher,
    "bargain": bargain,
    "supg": supg,
    "top-n": top_n,
}
