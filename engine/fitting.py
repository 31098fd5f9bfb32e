"""How many labels proxies are fitted on, and of which rows: as many as the query gains by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.candidates import FloatArray
from thresher.certificate import ProxyReport
from thresher.environment import Environment
from thresher.labelling import Labeller
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.scoring import Fitter, pilot

__all__ = [
    "Believed",
    "Fit",
    "Forecast",
    "Start",
    "believed_of",
    "checking_labels",
    "first_fit",
    "fit_growing",
    "fit_once",
]

_FIRST = 100  # labels of the first fit
_GROWTH = 0.5  # labels more for each further fit, of those so far,
_PART = 8  # and at most this part of those that the query is forecast to need besides
_PAYS = 3.0  # labels that each of the last ones must have saved: the next ones save fewer
_HOPELESS = 0.6  # share of the rows: where more are forecast to be labelled than that,
_PATIENCE = 0.15  # proxies are fitted on up to this share of the rows before it is believed
_MOST = 20_000  # labels; more make a fit take long and no better
_SHARE = 3  # of the labels that may be bought, one in so many goes into fitting at most
_CHECK = (20, 50)  # labels, drawn uniformly, that hold a proxy trained before against the rows,
_CHECK_SHARE = 20  # and of those that may be bought one in so many
_LEAST_ODDS = 1e-4  # of a row to be drawn, over those of the most telling one

Forecast = Callable[[FloatArray, npt.NDArray[np.int8]], int]
Believed = Callable[[npt.NDArray[np.int64], npt.NDArray[np.bool_]], npt.NDArray[np.float64] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A proxy that was trained before the query, to start from.

    Parameters
    ----------
    scores : ndarray of float, shape (n_rows,)
        Its scores.
    reports : tuple of ProxyReport
        What is said of it until labels are there.
    stands : callable
        Whether labelled rows, and their labels, leave it standing.
    """

    scores: FloatArray
    reports: tuple[ProxyReport, ...]
    stands: Callable[[npt.NDArray[np.int64], npt.NDArray[np.bool_]], bool]


@dataclass(frozen=True, slots=True)
class Fit:
    """Proxies fitted inside a query.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Rows that were labelled for it, in the order in which they were drawn.
    answers : ndarray of bool, shape (n,)
        Their labels.
    scores : ndarray of float, shape (n_rows,)
        Scores of the best proxy; zeros where the labels stopped before the first.
    reports : tuple of ProxyReport
        Every proxy with its cross-validated quality; empty where the labels stopped.
    n_uniform : int
        The first so many of the rows were drawn uniformly.
    """

    rows: npt.NDArray[np.int64]
    answers: npt.NDArray[np.bool_]
    scores: FloatArray
    reports: tuple[ProxyReport, ...]
    n_uniform: int = 0


class _Fitting:
    """The state of one fit: what is known, and what was bought for it."""

    def __init__(
        self,
        fitter: Fitter,
        labeller: Labeller,
        known: npt.NDArray[np.int8],
        facts: npt.NDArray[np.int64],
        believed: Believed,
        rng: np.random.Generator,
        start: Start | None,
    ) -> None:
        self.fitter, self.labeller = fitter, labeller
        self.believed, self.rng = believed, rng
        self.known, self.used = known.copy(), facts
        self.rows, self.answers = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        self.start, self.n_uniform = start, -1
        self.scores: FloatArray = np.zeros(len(known), dtype=np.float32)
        self.reports: tuple[ProxyReport, ...] = ()
        if start is not None:
            self.scores, self.reports = start.scores, start.reports

    @property
    def stands(self) -> bool:
        """Whether rows drawn uniformly leave the start standing; facts, where there are none."""
        drawn = self._answered(self.rows[: self.n_uniform] if self.n_uniform > 0 else self.used)
        return self.start is not None and self.start.stands(drawn, self.known[drawn] == 1)

    def buy(self, count: int) -> bool:
        """Label some unknown rows; returns whether as many were labelled as were asked for."""
        unknown = np.flatnonzero(self.known < 0)
        first = self.n_uniform < 0
        weights = _weights(self.scores[unknown]) if self.reports and not first else None
        new, answers = pilot(self.labeller, unknown, count, self.rng, weights)
        self.rows = np.concatenate([self.rows, new])
        self.answers = np.concatenate([self.answers, answers])
        self.used = np.concatenate([self.used, new])
        self.known[new] = answers
        self.n_uniform = len(new) if first else self.n_uniform
        return len(new) == count

    def fit(self) -> None:
        used = self._answered(self.used)
        if len(used):
            truth = self.known[used] == 1
            belief = self.believed(used, truth)
            self.scores, self.reports = self.fitter.fit(used, truth, self.rng, belief)

    def _answered(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Leave out rows that were asked without an answer: they teach nothing."""
        return rows[~np.isin(rows, self.labeller.failed)]

    def done(self) -> Fit:
        n_uniform = max(self.n_uniform, 0)
        return Fit(self.rows, self.answers, self.scores, self.reports, n_uniform)


def fit_once(
    fitter: Fitter,
    labeller: Labeller,
    known: npt.NDArray[np.int8],
    facts: npt.NDArray[np.int64],
    believed: Believed,
    count: int,
    rng: np.random.Generator,
    start: Start | None = None,
) -> Fit:
    """Fit proxies on a number of labels.

    Parameters
    ----------
    fitter, labeller, known, facts, believed, rng, start
        As in `fit_growing`. A start that stands is all there is: no more labels than those that
        it was held against.
    count : int
        Labels to fit on, those of `facts` included; the others are drawn uniformly.
    """
    fitting = _Fitting(fitter, labeller, known, facts, believed, rng, start)
    if start is not None:
        fitting.buy(max(0, min(count, checking_labels(labeller.remaining)) - len(facts)))
    if not fitting.stands:
        fitting.buy(max(0, count - len(fitting.used)))
    fitting.fit()
    return fitting.done()


def checking_labels(remaining: int) -> int:
    """Return how many labels a proxy that was trained before is held against."""
    least, most = _CHECK
    return min(max(least, remaining // _CHECK_SHARE), most)


def first_fit(n_known: int, remaining: int) -> int:
    """Return how many labels `fit_growing` buys first, of so many that may be bought.

    `n_known` rows to fit on are known already.
    """
    return min(max(0, _FIRST - n_known), remaining // _SHARE)


def fit_growing(
    fitter: Fitter,
    labeller: Labeller,
    known: npt.NDArray[np.int8],
    facts: npt.NDArray[np.int64],
    believed: Believed,
    forecast: Forecast,
    rng: np.random.Generator,
    start: Start | None = None,
) -> Fit:
    """Fit proxies on more and more labels, for as long as the query is forecast to need fewer.

    Parameters
    ----------
    fitter : Fitter
        The proxies and their population.
    labeller : Labeller
        Sells labels.
    known : ndarray of int8, shape (n_rows,)
        1 or 0 where the truth is known, -1 elsewhere; left as it is.
    facts : ndarray of int64, shape (k,)
        Known rows to fit on besides.
    believed : callable
        Returns the probability of TRUE of labelled rows, from the rows and their labels, by the
        oracle's confidence; None where it says nothing of it.
    forecast : callable
        Labels that the query will need besides, from scores and what is known.
    rng : numpy.random.Generator
        Draws rows and folds.
    start : Start, optional
        A proxy that was trained before. Some labels drawn uniformly are held against it first. If
        it stands, further ones must save labels over what it needs; else growing begins as without.

    Returns
    -------
    Fit
        With the proxies that were fitted last, on all labels.

    Notes
    -----
    The first rows are drawn uniformly. Of the later ones one half is drawn in proportion to the
    score p, one half in proportion to p (1 - p): likely positives, which the answer needs in any
    case, and rows that the proxy is unsure of, which teach it most. Growing ends once each of
    the last labels saved fewer than three others. Where more than 0.6 of the rows would be labelled
    in the end it goes on up to 0.15 of them: a query that labels nearly everything has lost nothing
    by labelling these rows first. None of it costs any of delta: the certifying sample is drawn
    later, from the rows that are still unknown.
    """
    fitting = _Fitting(fitter, labeller, known, facts, believed, rng, start)
    n_unknown = int(np.count_nonzero(known < 0))
    most = min(n_unknown // 2, labeller.remaining // _SHARE, _MOST)
    wanted = first_fit(len(facts), labeller.remaining)
    left, bought = n_unknown, 0
    if start is not None:
        wanted = min(wanted, checking_labels(labeller.remaining))
    while fitting.buy(wanted):
        if start is not None and fitting.stands:
            left = forecast(start.scores, fitting.known)
        start = None
        fitting.fit()
        saved = left - (left := forecast(fitting.scores, fitting.known))
        new, bought = len(fitting.rows) - bought, len(fitting.rows)
        wanted = min(int(_GROWTH * len(fitting.used)), max(left // _PART, _FIRST // 2))
        if bought + left > _HOPELESS * n_unknown:
            pays = bought < _PATIENCE * n_unknown
        else:
            pays = saved >= _PAYS * new
        if not pays or not wanted or bought + wanted > most:
            return fitting.done()
    fitting.fit()
    return fitting.done()


def _weights(scores: FloatArray) -> npt.NDArray[np.float64] | None:
    """Weights by which rows are drawn; None, for rows alike, where scores are no probabilities."""
    value = np.asarray(scores, dtype=np.float64)
    if not len(value) or not (value.min() >= 0.0 and value.max() <= 1.0):
        return None
    p = np.clip(value, _LEAST_ODDS, 1.0 - _LEAST_ODDS)
    unsure = p * (1.0 - p)
    return np.asarray(p / p.sum() + unsure / unsure.sum(), dtype=np.float64)


def believed_of(env: Environment, query: SelectionQuery, population: Population) -> Believed:
    """Return what tells how sure the oracle was of the rows that it has labelled.

    A condition of one BOOLEAN call is believed as the call is. Of others nothing is said.
    """

    def believed(
        rows: npt.NDArray[np.int64], truth: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64] | None:
        call = query.calls[0]
        bound = env.oracles[call.oracle]
        if len(query.calls) > 1 or not pa.types.is_boolean(bound.returns):
            return None
        keys = population.inputs(rows).column(call.key).combine_chunks().dictionary_encode()
        distinct = env.store.confidence(bound.version, keys.dictionary.to_pylist())
        confidence = distinct[np.asarray(keys.indices)]
        if np.isnan(confidence).all():
            return None
        belief = np.where(truth, confidence, 1.0 - confidence)
        return np.where(np.isnan(belief), truth, belief)

    return believed
