"""What a query will cost, before a label is bought; what would help one that fell short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.candidates import Candidate, FloatArray
from thresher.environment import Environment
from thresher.estimands import group_codes
from thresher.labelling import learn
from thresher.outlook import GOALS, RANKING, Outlook
from thresher.paces import paces_of
from thresher.permits import stops_anywhere
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.price_forecasts import label_tokens, score_forecasts
from thresher.rehearsing import basis_of, rehearsed
from thresher.reserving import most_shown, sample_limit
from thresher.sampling import LabelForecast, excludable_rows, sufficient_labels
from thresher.sampling.bounds import Share
from thresher.targets import CALIBRATION_WITHIN, Targets

__all__ = ["forecast", "helps"]

_CURVE = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # targets
_ERRORS = (2.0, 1.0, 0.5, 0.25)  # of the error target
_LEAST = 100  # labels before the limits are looked at


@dataclass(frozen=True, slots=True)
class _Forecast:
    """What is forecast of the labels: fields of an `Outlook`."""

    labels: LabelForecast | None = None
    fitting: int = 0
    given: str = ""
    curve: tuple[tuple[float, int], ...] = ()
    excluded: int | None = None


def forecast(env: Environment, query: SelectionQuery, targets: Targets, limit: int) -> Outlook:
    """Count the rows of a query and forecast its labels; none is bought.

    Parameters
    ----------
    env : Environment
        Where it would run.
    query : SelectionQuery
        What is asked.
    targets : Targets
        With what probability.
    limit : int
        Most labels that it may buy.

    Notes
    -----
    Scores of a SQL expression are taken as they are. A proxy that learns is fitted to the labels in
    the store, as the query would; where there are none, the forecast is for proxies between a good
    and a weak one. Under a declared assumption the labels are those that the statement allows.
    """
    with env.population(query) as population:
        if env.settings.get("reuse_labels"):
            learn(env.store, query, env.oracles, population, env.store.last())
        known, free = population.known, population.free
        limit = _sampled(env, query, targets, population.n_rows, limit)
        n_unknown = int(np.count_nonzero(known < 0))
        forecasts = targets.kind in GOALS and query.tail.assuming is None
        forecasts &= targets.kind != "estimate" or targets.error is not None
        stops = stops_anywhere(query, targets, env.settings)
        n_most = n_unknown * len(query.calls)
        exact = n_most <= limit and not stops and _spends_all(targets)
        found = _Forecast()
        if n_unknown and forecasts and not exact:
            found = _forecast(env, query, targets, population, limit)
        paces = paces_of(env.store, env.oracles)
        asked = [] if exact or targets.kind == "exact" else _scoring(env, population)
        return Outlook(
            n_rows=population.n_rows,
            n_unknown=n_unknown,
            n_stored=int(np.count_nonzero((known >= 0) & (free < 0))),
            n_free=int(np.count_nonzero(free >= 0)),
            goal=GOALS.get(targets.kind, ""),
            labels=found.labels,
            fitting=found.fitting,
            given=found.given,
            absolute=targets.error is not None and not targets.error.relative,
            spends=_spends(query, targets, n_unknown, limit),
            shows=most_shown(query, population.n_rows),
            curve=found.curve,
            exact=exact,
            suffices=n_unknown - Share.beyond(targets.accuracy or 1.0).of(len(known)) <= limit,
            n_groups=_open_groups(query, population),
            refused=_refused(query, targets, n_most, limit),
            excluded=found.excluded,
            paces=paces,
            tokens=label_tokens(env, query, population, paces),
            scores=score_forecasts(env, asked, population),
        )


def _forecast(
    env: Environment, query: SelectionQuery, targets: Targets, population: Population, limit: int
) -> _Forecast:
    """Forecast the labels of a query that is to meet a target."""
    basis, known = basis_of(env, query, targets, population, limit), population.known
    fitting, given = basis.fitting, basis.given
    if targets.kind == "estimate":
        each = [rehearsed(env, query, targets, population, scores) for scores in basis.scores]
        labels = _combined(each, fitting)
        return _Forecast(labels, fitting, given, _error_curve(targets, labels))
    asked = [_Asked(targets, scores, known) for scores in basis.scores]
    labels = _combined([one.labels() for one in asked], fitting)
    if labels is None:
        return _Forecast(None, fitting, given)
    sure = targets.kind == "recall" and len(asked) == 1
    excluded = asked[0].excluded(limit) if sure else None
    return _Forecast(labels, fitting, given, asked[0].curve(fitting), excluded)


def _combined(found: Sequence[LabelForecast | None], fitting: int) -> LabelForecast | None:
    """Return the first forecast with the range of all, and the labels bought before."""
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        return None
    most = there[0].candidates
    expected, low, high = (
        min(most, fitting + n)
        for n in (
            there[0].expected,
            min(one.low if len(there) == 1 else one.expected for one in there),
            max(one.high if len(there) == 1 else one.expected for one in there),
        )
    )
    least = there[0].least if len(there) == 1 else 0  # of proxies that are only supposed
    return LabelForecast(least, expected, most, min(low, expected), max(high, expected))


def _error_curve(targets: Targets, labels: LabelForecast | None) -> tuple[tuple[float, int], ...]:
    """Forecast the labels for other error targets: they go with its square, up to all rows."""
    error = targets.error
    if error is None or labels is None or labels.expected >= labels.candidates:
        return ()
    endless = labels.expected / (1 - labels.expected / labels.candidates)
    found = []
    for factor in _ERRORS:
        wanted, within = endless / factor**2, error.within * factor
        if not error.relative or within < 1:
            n_labels = max(_LEAST, round(wanted / (1 + wanted / labels.candidates)))
            found.append((within, min(n_labels, labels.candidates)))
    return tuple(found)


def _spends(query: SelectionQuery, targets: Targets, n_unknown: int, limit: int) -> int:
    """Labels of a query that buys as many as it may; exact ones label all that is unknown."""
    if targets.kind == "exact":
        return n_unknown * len(query.calls)
    if query.tail.budget or not _spends_all(targets):
        return 0
    return min(limit, n_unknown * len(query.calls))


def _spends_all(targets: Targets) -> bool:
    """Whether a query buys all labels that it may, up to one for each that is unknown."""
    return targets.kind in ("recall", "precision") or (
        targets.kind == "estimate" and targets.error is None
    )


def _open_groups(query: SelectionQuery, population: Population) -> int:
    """Groups of an aggregate with rows that are not known; 1 without GROUP BY."""
    if query.estimation is None or not query.estimation.groups:
        return 1
    codes, _ = group_codes(population.groups, population.n_rows)
    return max(1, len(np.unique(codes[population.known < 0])))


def _refused(query: SelectionQuery, targets: Targets, n_most: int, limit: int) -> str:
    """Say why a query that must label every candidate would be refused."""
    if targets.kind != "exact" or n_most <= limit:
        return ""
    name = "thresher_oracle_limit" if query.tail.oracle_limit is None else "ORACLE LIMIT"
    return (
        f"every candidate must be labelled, and that is more than the {limit:,} labels allowed "
        f"({name}). Ask for a target, narrow WHERE, or raise the limit."
    )


def _scoring(env: Environment, population: Population) -> list[Candidate]:
    """Return the proxies that score rows, and those that predict values."""
    return [*env.candidates(population), *env.predictors(population)]


class _Asked:
    """Targets and scores of one query."""

    def __init__(
        self, targets: Targets, scores: npt.NDArray[np.float64], known: npt.NDArray[np.int8]
    ) -> None:
        self.targets, self.scores, self.known = targets, scores, known

    def labels(self, target: float | None = None) -> LabelForecast | None:
        """Forecast the labels for the query's targets, or for another one in their place."""
        kind, delta = self.targets.kind, self.targets.delta
        if kind == "accuracy":
            return self._accuracy(target or self.targets.accuracy or 1.0)
        recall, precision = self.targets.recall or 1.0, self.targets.precision or 1.0
        if kind == "joint":
            return sufficient_labels(
                "joint", self.scores, delta=delta, target=target or recall,
                precision=target or precision, known=self.known,
            )  # fmt: skip
        if kind == "recall":
            return sufficient_labels(
                "recall", self.scores, delta=delta, target=target or recall, known=self.known
            )
        return sufficient_labels(
            "precision", self.scores, delta=delta, target=target or precision, known=self.known
        )

    def _accuracy(self, target: float) -> LabelForecast | None:
        """Forecast from scores that are probabilities; others say nothing of errors."""
        scores = self.scores
        if not np.nanmin(scores, initial=1.0) >= 0 or not np.nanmax(scores, initial=0.0) <= 1:
            return None
        wrong = np.where(self.known < 0, -1, (self.known == 1) != (scores > 0.5))
        sure = np.maximum(scores, 1 - scores)
        return sufficient_labels(
            "accuracy", sure, delta=self.targets.delta, target=target, known=wrong.astype(np.int8)
        )

    def curve(self, fitting: int) -> tuple[tuple[float, int], ...]:
        """Forecast the labels for other targets."""
        found = [(target, _combined([self.labels(target)], fitting)) for target in _CURVE]
        return tuple((target, labels.expected) for target, labels in found if labels is not None)

    def excluded(self, limit: int) -> int | None:
        """Return the most rows that any cut of a ranking leaves out within the limit."""
        unknown = self.scores[self.known < 0]
        inside = np.nanmin(unknown) >= 0 and np.nanmax(unknown) <= 1
        if not inside:
            return None
        n_positive = round(float(np.nansum(unknown)))
        return excludable_rows(
            min(limit, len(unknown)), n_rows=len(unknown), n_positive=n_positive,
            target=self.targets.recall or 1.0, delta=self.targets.delta,
        )  # fmt: skip


def _sampled(
    env: Environment, query: SelectionQuery, targets: Targets, n_rows: int, limit: int
) -> int:
    """Return how many labels rows that come back and show answers leave for the sample."""
    if query.outputs is None or targets.kind not in ("recall", "precision"):
        return limit
    allowed = min(query.tail.oracle_limit or env.oracle_limit, env.oracle_limit)
    return min(limit, sample_limit(query, n_rows, allowed, env.settings.count("default_budget")))


def helps(targets: Targets, scores: FloatArray, known: npt.NDArray[np.int8]) -> str:
    """Say what a recall query that could leave nothing out would take."""
    value = np.asarray(scores, dtype=np.float64)
    if np.isnan(value).all() or np.nanmin(value) == np.nanmax(value):
        return " The scores do not tell the rows apart: give a proxy with USING, or more labels."
    recall = targets.recall or 1.0
    found = sufficient_labels("recall", value, delta=targets.delta, target=recall, known=known)
    text = (
        f" To leave out half of the rows about {found.expected:,} labels are forecast; with as "
        f"many positive rows as the scores suggest, {RANKING} needs at least {found.least:,}."
    )
    kept = _calibrated(value, known, recall)
    if kept is not None and 1 < kept < found.candidates // 2:
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
