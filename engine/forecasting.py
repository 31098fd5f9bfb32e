"""What a query will cost, before a label is bought; what would help one that fell short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.environment import Environment
from thresher.estimands import group_codes
from thresher.labelling import learn
from thresher.labels import Pace
from thresher.paces import paces_of, taking
from thresher.permits import stops_anywhere
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.rehearsing import basis_of, rehearsed
from thresher.sampling import LabelForecast, excludable_rows, sufficient_labels
from thresher.sampling.bounds import Share
from thresher.scoring import FloatArray
from thresher.targets import CALIBRATION_WITHIN, QueryKind, Targets

__all__ = ["HARD_SPACE", "Outlook", "forecast", "helps"]

HARD_SPACE = "\N{NO-BREAK SPACE}"  # where lines of the text form may not break
_CURVE = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # targets
_ERRORS = (2.0, 1.0, 0.5, 0.25)  # of the error target
_READ = 50  # rows that tell how long a request is
_LEAST = 100  # labels before the limits are looked at
_GOALS: dict[QueryKind, str] = {
    "recall": "to leave out half of the rows",
    "precision": "to return half of the positive rows",
    "joint": "to meet both targets",
    "accuracy": "to certify the labels",
    "estimate": "to keep the error",
}
# Which methods the least number of labels binds: docs/guarantees-limits.md.
_RANKING = "a method that cuts a ranking and assumes nothing"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a query before it runs.

    Parameters
    ----------
    n_rows : int
        Rows of the population.
    n_unknown, n_stored, n_free : int
        Rows that would need a label, those that labels in the store decide, and those that are
        decided without any.
    goal : str
        What the labels are forecast for; empty where nothing is forecast.
    labels : LabelForecast or None
        How many; None where nothing can be forecast.
    fitting : int
        Labels among them that proxies are fitted on first.
    given : str
        What the forecast supposes; empty where nothing.
    absolute : bool
        Whether targets are distances in units of the aggregate, and no shares.
    spends : int
        Labels that it will buy where it has no reason to stop before its limit; 0 where it stops as
        soon as it can.
    shows : int
        Most labels besides for calls in the SELECT list and ORDER BY, for rows that come back.
    curve : tuple of (float, int)
        Labels expected for other targets.
    exact : bool
        Whether the limit allows to label every row that is not known, so that the answer is exact.
    suffices : bool
        Whether the limit allows all labels that an accuracy target could need.
    n_groups : int
        Groups of an aggregate that have rows which are not known.
    refused : str
        Why it would be refused; empty where it would not.
    excluded : int or None
        Most rows that a recall query can leave out with the labels it may buy, if there are as many
        positive rows as the scores suggest.
    paces : mapping of str to Pace
        What labels have taken so far, by oracle.
    tokens : mapping of str to float
        About how many tokens the request for a label has, by oracle; of those that can tell.
    """

    n_rows: int
    n_unknown: int
    n_stored: int
    n_free: int
    goal: str
    labels: LabelForecast | None
    fitting: int
    given: str
    absolute: bool
    spends: int
    shows: int
    curve: tuple[tuple[float, int], ...]
    exact: bool
    suffices: bool
    n_groups: int
    refused: str
    excluded: int | None
    paces: Mapping[str, Pace]
    tokens: Mapping[str, float]

    def lines(self) -> list[tuple[str, str]]:
        """Return what it says as names and texts."""
        rows = f"{self.n_rows:,}, of which {self.n_unknown:,} would need a label"
        if self.n_stored:
            rows += f"; {self.n_stored:,} are in the label store"
        if self.n_free:
            rows += f"; {self.n_free:,} are decided without one"
        found = [("rows", rows)]
        if self.spends:
            found.append(
                ("spends", f"up to {self.spends:,} labels{taking(self.paces, self.spends)}")
            )
        if self.refused:
            found.append(("refused", self.refused))
        if self.shows:
            text = f"up to {self.shows:,} labels for calls outside WHERE, over rows that come back"
            found.append(("shows", text))
        if (labels := self.labels) is not None:
            ends = f" ({labels.low:,} to {labels.high:,})" if labels.low < labels.high else ""
            takes = "" if self.spends else taking(self.paces, labels.low, labels.high)
            read = f", {self.given}" if self.given else ""
            text = f"about {labels.expected:,} labels{ends} {self.goal}{takes}{read}"
            if self.fitting:
                text += f"; {self.fitting:,} or more of them first, to fit proxies"
            if 0 < self.spends < labels.low:
                text += f"; that is more than the {self.spends:,} it may buy"
            found.append(("forecast", text))
            if labels.least and self.goal != _GOALS["accuracy"]:
                found.append(("limit", self._limit(labels)))
        for name, each in self.tokens.items():
            found.append(
                ("tokens", f"about {each:,.0f} in each request to {name}{self._all(each)}")
            )
        if self.curve:
            write = "{:.4g}" if self.absolute else "{:.4g}%"
            scale = 1 if self.absolute else 100
            points = ", ".join(
                f"{write.format(scale * target)}:{HARD_SPACE}{n:,}" for target, n in self.curve
            )
            found.append(("curve", f"labels {self.goal}, by target: {points}"))
        return found

    def _limit(self, labels: LabelForecast) -> str:
        """Say what no method can do."""
        text = (
            f"with as many positive rows as the scores suggest, {_RANKING} needs at least "
            f"{labels.least:,} labels"
        )
        if self.excluded is None:
            return text
        return (
            f"{text}; with {self.spends:,} it can always leave out at most {self.excluded:,} of "
            "the rows that are not labelled yet"
        )

    def _all(self, each: float) -> str:
        """Say what all labels will take, at so many tokens each."""
        n_labels = self.spends or (self.labels.expected if self.labels is not None else 0)
        return f": {each * n_labels:,.0f} for {n_labels:,} labels" if n_labels else ""

    def to_dict(self) -> dict[str, object]:
        """Return every figure as plain values."""
        labels = self.labels
        return {
            "rows": {
                "total": self.n_rows,
                "unknown": self.n_unknown,
                "in_store": self.n_stored,
                "decided_without": self.n_free,
            },
            "forecast": None
            if labels is None
            else {
                "goal": self.goal,
                "given": self.given or None,
                "fitting": self.fitting,
                "labels": {"expected": labels.expected, "low": labels.low, "high": labels.high},
                "least_labels": labels.least,
                "most_rows_left_out": self.excluded,
            },
            "spends": self.spends,
            "exact": self.exact,
            "refused": self.refused or None,
            "shows": self.shows,
            "curve": [{"target": target, "labels": n} for target, n in self.curve],
            "paces": {
                name: {
                    "n_labels": pace.n_labels,
                    "seconds_per_label": pace.seconds / pace.n_labels,
                    "usd_per_label": pace.cost_usd / pace.n_labels,
                }
                for name, pace in self.paces.items()
            },
            "about_tokens_per_label": dict(self.tokens),
        }


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
    with Population(env.connection, query, [None] * len(query.calls)) as population:
        if env.settings.get("reuse_labels"):
            learn(env.store, query, env.oracles, population, env.store.last())
        known, free = population.known, population.free
        labels, excluded = None, None
        curve: tuple[tuple[float, int], ...] = ()
        n_unknown = int(np.count_nonzero(known < 0))
        forecasts = targets.kind in _GOALS and query.tail.assuming is None
        forecasts &= targets.kind != "estimate" or targets.error is not None
        settings = env.settings
        stops = stops_anywhere(query, targets, settings)
        n_most = n_unknown * len(query.calls)
        exact = n_most <= limit and not stops and _may_be_exact(targets)
        given, fitting = "", 0
        if n_unknown and forecasts and not exact:
            basis = basis_of(env, query, targets, population, limit)
            given, fitting = basis.given, basis.fitting
            asked = _Asked(targets, basis.scores[0], known)
            if targets.kind == "estimate":
                labels = _combined(
                    [rehearsed(env, query, targets, population, s) for s in basis.scores], fitting
                )
                curve = _error_curve(targets, labels)
            else:
                found = [_Asked(targets, scores, known).labels() for scores in basis.scores]
                labels = _combined(found, fitting)
                curve = asked.curve(fitting) if labels is not None else ()
            if labels is not None and targets.kind == "recall" and len(basis.scores) == 1:
                excluded = asked.excluded(limit)
        return Outlook(
            n_rows=population.n_rows,
            n_unknown=n_unknown,
            n_stored=int(np.count_nonzero((known >= 0) & (free < 0))),
            n_free=int(np.count_nonzero(free >= 0)),
            goal=_GOALS.get(targets.kind, ""),
            labels=labels,
            fitting=fitting,
            given=given,
            absolute=targets.error is not None and not targets.error.relative,
            spends=_spends(query, targets, n_unknown, limit),
            shows=population.n_rows * len(query.outputs.calls) if query.outputs else 0,
            curve=curve,
            exact=exact,
            suffices=n_unknown - Share.beyond(targets.accuracy or 1.0).of(len(known)) <= limit,
            n_groups=_open_groups(query, population),
            refused=_refused(query, targets, n_most, limit),
            excluded=excluded,
            paces=paces_of(env.store, env.oracles),
            tokens=_tokens(env, query, population),
        )


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
    whole = targets.kind in ("recall", "precision") or (
        targets.kind == "estimate" and targets.error is None
    )
    return min(limit, n_unknown * len(query.calls)) if whole and not query.tail.budget else 0


def _may_be_exact(targets: Targets) -> bool:
    """Whether a query labels all that is unknown where its limit allows that."""
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


def _tokens(env: Environment, query: SelectionQuery, population: Population) -> dict[str, float]:
    """Return about how many tokens a request has, from the inputs of a few rows."""
    found: dict[str, float] = {}
    unknown = np.flatnonzero(population.known < 0)
    rows = unknown[:: max(1, len(unknown) // _READ)][:_READ]
    for call in query.calls if len(rows) else ():
        about = getattr(env.oracles[call.oracle].oracle, "about_tokens", None)
        if about is None:
            continue
        batch = population.inputs(rows).select(list(call.inputs)).drop_null()
        if batch.num_rows:
            found[call.oracle] = float(about(batch))
    return found


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


def helps(targets: Targets, scores: FloatArray, known: npt.NDArray[np.int8]) -> str:
    """Say what a recall query that could leave nothing out would take."""
    value = np.asarray(scores, dtype=np.float64)
    if np.isnan(value).all() or np.nanmin(value) == np.nanmax(value):
        return " The scores do not tell the rows apart: give a proxy with USING, or more labels."
    recall = targets.recall or 1.0
    found = sufficient_labels("recall", value, delta=targets.delta, target=recall, known=known)
    text = (
        f" To leave out half of the rows about {found.expected:,} labels are forecast; with as "
        f"many positive rows as the scores suggest, {_RANKING} needs at least {found.least:,}."
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
