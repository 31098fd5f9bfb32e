"""How many labels proxies are fitted on inside a query, and of which rows."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

import thresher
from thresher.certificate import ProxyReport
from thresher.fitting import Fit, fit_growing, fit_once
from thresher.oracles import proxies
from thresher.oracles.logistic import fit_logistic
from thresher.sampling import CountedLabels, OutOfLabelsError

N_ROWS = 4000


class Learner:
    """A proxy whose scores near the truth as it is fitted on more labels."""

    def __init__(self, truth: npt.NDArray[np.bool_], learns_by: float) -> None:
        self.truth, self.learns_by = truth, learns_by
        self.fitted_on: list[npt.NDArray[np.int64]] = []
        self.noise = np.random.default_rng(1).random(len(truth))

    def fit(
        self,
        rows: npt.NDArray[np.int64],
        truth: npt.NDArray[np.bool_],
        rng: np.random.Generator,
        belief: npt.NDArray[np.float64] | None,
    ) -> tuple[npt.NDArray[np.float64], tuple[ProxyReport, ...]]:
        assert truth.tolist() == self.truth[rows].tolist()
        assert belief is not None
        assert ((belief > 0.5) == truth).all()
        self.fitted_on.append(rows)
        sure = 1 - np.exp(-len(rows) / self.learns_by)
        return sure * self.truth + (1 - sure) * self.noise, (ProxyReport("learner", used=True),)


class Labels(CountedLabels):
    """Labels of rows, some of which have no answer."""

    failed = np.zeros(0, dtype=np.int64)


def grow(
    learner: Learner, labels: Any, known: npt.NDArray[np.int8] | None = None, left: Any = None
) -> Fit:
    start = np.full(N_ROWS, -1, dtype=np.int8) if known is None else known

    def needs(scores: npt.NDArray[np.float64], seen: npt.NDArray[np.int8]) -> int:
        unsure = np.abs(scores - learner.truth)[seen < 0]
        return int(np.count_nonzero(unsure > 0.2))

    facts = np.flatnonzero(start >= 0)
    rng = np.random.default_rng(7)
    return fit_growing(cast("Any", learner), labels, start, facts, sure, left or needs, rng)


def sure(rows: npt.NDArray[np.int64], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.where(truth, 0.9, 0.1) + rows / 1e9


def truth_of(share: float = 0.1) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(3).random(N_ROWS) < share


def test_fitting_goes_on_while_it_saves_labels_and_then_ends() -> None:
    truth = truth_of()
    slow, fast = Learner(truth, 400.0), Learner(truth, 30.0)
    fits = [grow(learner, Labels(truth.__getitem__, N_ROWS)) for learner in (slow, fast)]
    assert 100 < len(fits[1].rows) < len(fits[0].rows) < N_ROWS // 2
    for fit, learner in zip(fits, (slow, fast), strict=True):
        assert len(np.unique(fit.rows)) == len(fit.rows)
        assert fit.answers.tolist() == truth[fit.rows].tolist()
        assert sorted(learner.fitted_on[-1].tolist()) == sorted(fit.rows.tolist())
        assert fit.reports == (ProxyReport("learner", used=True),)


def test_rows_without_an_answer_teach_nothing() -> None:
    truth = truth_of()
    answers = truth.copy()
    labels = Labels(answers.__getitem__, N_ROWS)
    labels.failed = np.flatnonzero(truth)[::5]
    answers[labels.failed] = False  # as they are sold
    learner = Learner(truth, 100.0)
    fit = grow(learner, labels)
    assert np.isin(labels.failed, fit.rows).any()
    for rows in learner.fitted_on:
        assert not np.isin(labels.failed, rows).any()


def test_likely_positives_are_drawn_more_often() -> None:
    truth = truth_of()
    fit = grow(Learner(truth, 100.0), Labels(truth.__getitem__, N_ROWS))
    assert truth[fit.rows[:100]].mean() < 0.2
    assert truth[fit.rows[100:]].mean() > 0.3


def test_a_proxy_that_learns_nothing_is_given_up_after_a_share_of_the_rows() -> None:
    truth = truth_of()
    fit = grow(Learner(truth, np.inf), Labels(truth.__getitem__, N_ROWS))
    assert 0.15 * N_ROWS <= len(fit.rows) < 0.15 * N_ROWS * 1.5


@pytest.mark.parametrize("budget", [0, 1, 30, 299, 1000])
def test_a_third_of_the_labels_is_the_most_that_goes_into_fitting(budget: int) -> None:
    truth = truth_of()
    labels = Labels(truth.__getitem__, budget)
    fit = grow(Learner(truth, np.inf), labels)
    assert labels.spent == len(fit.rows) <= max(budget // 3, 0)


def test_facts_are_fitted_on_and_not_bought_again() -> None:
    truth = truth_of()
    known = np.full(N_ROWS, -1, dtype=np.int8)
    known[:600] = truth[:600]
    learner = Learner(truth, 30.0)
    before = known.copy()
    fit = grow(learner, Labels(truth.__getitem__, N_ROWS), known)
    assert learner.fitted_on[0].tolist() == list(range(600))
    assert (fit.rows >= 600).all()
    assert (known == before).all()


class Stopping(Labels):
    """Labels that end with an interruption."""

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        if self.spent + len(rows) > 120:
            answers = super().__call__(rows[: 120 - self.spent])
            raise OutOfLabelsError(answers)
        return super().__call__(rows)


def test_an_interruption_keeps_what_was_labelled_and_fits_on_it() -> None:
    truth = truth_of()
    learner = Learner(truth, 400.0)
    fit = grow(learner, Stopping(truth.__getitem__, N_ROWS))
    assert len(fit.rows) == len(learner.fitted_on[-1]) == 120
    assert fit.answers.tolist() == truth[fit.rows].tolist()
    nothing = grow(Learner(truth, 400.0), Labels(truth.__getitem__, 0))
    assert not len(nothing.rows)
    assert not nothing.scores.any()
    assert nothing.reports == ()


def test_a_fixed_number_of_labels_counts_the_facts() -> None:
    truth = truth_of()
    known = np.full(N_ROWS, -1, dtype=np.int8)
    known[:50] = truth[:50]
    labels, rng = Labels(truth.__getitem__, N_ROWS), np.random.default_rng(0)
    learner = cast("Any", Learner(truth, 30.0))
    fit = fit_once(learner, cast("Any", labels), known, np.arange(50), sure, 80, rng)
    assert len(fit.rows) == labels.spent == 30
    none = fit_once(learner, cast("Any", labels), known, np.arange(50), sure, 20, rng)
    assert not len(none.rows)
    assert len(none.reports) == 1


QUERY = "SELECT i FROM notes WHERE good(text) RECALL TARGET 90% PRECISION TARGET 90% SEED 5"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("'a plain note number ' || (i % 97)", False),
        ("CASE WHEN i % 10 = 0 THEN 'lovely' ELSE 'dull' END || ' note ' || (i % 97)", True),
        ("'the very same text ' || i", False),
    ],
)
def test_a_proxy_that_knows_nothing_costs_labels_only(text: str, told: bool) -> None:
    with thresher.connect() as con:
        con.execute(f"CREATE TABLE notes AS SELECT i, {text} || '.' AS text FROM range(3000) r(i)")
        con.execute(
            "CREATE TABLE answers AS "
            "SELECT text, bool_or(i % 10 = 0) AS good FROM notes GROUP BY text"
        )
        con.execute(
            "CREATE ORACLE good(text VARCHAR) RETURNS BOOLEAN USING column "
            "WITH (table = 'answers', key = 'text', value = 'good')"
        )
        good = "SELECT i FROM notes JOIN answers USING (text) WHERE good"
        true = {row[0] for row in con.execute(good).fetchall()}
        cursor = con.execute(QUERY)
        found = {row[0] for row in cursor.fetchall()}
        certificate = cursor.certificate
        assert certificate is not None
        assert certificate.met
        assert len(found & true) >= 0.9 * len(true)
        assert len(found & true) >= 0.9 * len(found)
        assert (certificate.n_labels < 1500) or not told
        assert certificate.verify().ok


@pytest.mark.parametrize("condition", ["good(text)", "NOT good(text)"])
@pytest.mark.parametrize("tail", ["RECALL TARGET 90% PRECISION TARGET 90%", "LIMIT 90"])
def test_proxies_are_fitted_to_how_sure_the_oracle_is(
    monkeypatch: pytest.MonkeyPatch, condition: str, tail: str
) -> None:
    beliefs: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64] | None]] = []

    def spy(*arguments: Any) -> Any:
        beliefs.append((arguments[2], arguments[-1]))
        return fit_logistic(*arguments)

    monkeypatch.setattr(proxies, "fit_logistic", spy)

    def good(texts: list[str]) -> list[tuple[bool, float]]:
        marks = [int(text.split()[0]) for text in texts]
        return [(m % 3 == 0, 0.5 + m % 6 / 10) for m in marks]

    with thresher.connect() as con:
        con.execute(
            "CREATE TABLE notes AS SELECT (i % 200) || ' words ' || i AS t FROM range(600) r(i)"
        )
        con.create_oracle("good", good, args={"text": "VARCHAR"}, version="1")
        con.execute(
            f"SELECT t FROM notes WHERE {condition.replace('text', 't')} {tail} SEED 1"
        ).fetchall()
    assert beliefs
    for truth, belief in beliefs:
        assert belief is not None
        assert set(belief.round(9)) <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}
        assert ((belief >= 0.5) | ~truth).all()
        assert ((belief <= 0.5) | truth).all()
        assert 0 < np.count_nonzero(belief == truth) < len(belief)
