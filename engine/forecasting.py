"""What a query will cost, before a label is bought; what would help one that fell short."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.environment import Environment
from thresher.labelling import learn
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.sampling import sufficient_labels
from thresher.scoring import FloatArray
from thresher.targets import CALIBRATION_WITHIN, Targets

__all__ = ["forecast_lines", "helps"]

# Which methods the least number of labels binds: docs/guarantees-limits.md.
_RANKING = "a method that cuts a ranking and assumes nothing"
_BOUND = {
    "recall": _RANKING,
    "precision": _RANKING,
    "joint": _RANKING,
    "accuracy": "a cascade that assumes nothing",
}


def forecast_lines(env: Environment, query: SelectionQuery, targets: Targets) -> list[str]:
    """Return the lines of EXPLAIN that need the rows: how many there are, and the labels forecast.

    No label is bought. The forecast needs a score that is a SQL expression; proxies that learn have
    none before the first labels.
    """
    with Population(env.connection, query, [None] * len(query.calls)) as population:
        learn(env.store, query, env.oracles, population, env.store.last())
        known = population.known
        n_unknown = int(np.count_nonzero(known < 0))
        n_bought = int(np.count_nonzero((known >= 0) & (population.free < 0)))
        n_free = int(np.count_nonzero(population.free >= 0))
        rows = f"rows       {population.n_rows:,}, of which {n_unknown:,} would need a label"
        if n_bought:
            rows += f"; {n_bought:,} are in the label store"
        if n_free:
            rows += f"; {n_free:,} are decided without one"
        lines = [rows]
        if population.scores and n_unknown:
            lines += _forecast(targets, population.scores[0], known)
        return lines


def _forecast(
    targets: Targets, scores: npt.NDArray[np.float64], known: npt.NDArray[np.int8]
) -> list[str]:
    """Forecast the labels of a query with targets."""
    kind, delta = targets.kind, targets.delta
    if kind == "exact" or kind == "estimate":
        return []
    if kind == "accuracy":
        found = sufficient_labels(
            kind, np.abs(scores - 0.5), delta=delta, target=targets.accuracy or 1.0
        )
        what = "to certify the labels"
    elif kind == "joint":
        found = sufficient_labels(
            kind, scores, delta=delta, target=targets.recall or 1.0,
            precision=targets.precision or 1.0, known=known,
        )  # fmt: skip
        what = "to meet both targets"
    elif kind == "recall":
        found = sufficient_labels(
            kind, scores, delta=delta, target=targets.recall or 1.0, known=known
        )
        what = "to leave out half of the rows"
    else:
        found = sufficient_labels(
            kind, scores, delta=delta, target=targets.precision or 1.0, known=known
        )
        what = "to return half of the positive rows"
    return [
        f"forecast   about {found.expected:,} labels {what}; with as many positive rows as the "
        f"scores suggest, {_BOUND[kind]} needs at least {found.least:,}"
    ]


def helps(targets: Targets, scores: FloatArray, known: npt.NDArray[np.int8]) -> str:
    """Say what a recall query that could leave nothing out would take."""
    value = np.asarray(scores, dtype=np.float64)
    recall = targets.recall or 1.0
    found = sufficient_labels("recall", value, delta=targets.delta, target=recall, known=known)
    text = (
        f" To leave out half of the rows about {found.expected:,} labels are forecast; with as "
        f"many positive rows as the scores suggest, {_BOUND['recall']} needs at least "
        f"{found.least:,}."
    )
    kept = _calibrated(value, known, recall)
    if kept is not None and kept < found.candidates // 2:
        text += (
            f" ASSUMING CALIBRATION WITHIN {CALIBRATION_WITHIN:g} would return about {kept:,} "
            "rows, if that may be assumed."
        )
    return text


def _calibrated(
    scores: npt.NDArray[np.float64], known: npt.NDArray[np.int8], recall: float
) -> int | None:
    """Rows above the rank beyond which a calibrated tail holds too few positives to matter."""
    unknown = np.sort(scores[known < 0])
    if not len(unknown) or np.isnan(unknown).any() or unknown[0] < 0 or unknown[-1] > 1:
        return None
    n_positive = int(np.count_nonzero(known > 0))
    missable = (1 - recall) / recall * n_positive
    n_left_out = int(
        np.searchsorted(CALIBRATION_WITHIN * np.cumsum(unknown), missable, side="right")
    )
    return n_positive + len(unknown) - n_left_out
