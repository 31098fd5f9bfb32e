"""A label for every row, from the proxy or from the oracle, with an accuracy target."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher import proxy_scores
from thresher.candidates import Trainable
from thresher.certificate import Bounds, Certificate, ProxyReport
from thresher.certifying import certify, finite
from thresher.errors import ShortfallError
from thresher.plan import OracleCall
from thresher.running import Running
from thresher.sampling import (
    ClassStep,
    Labelling,
    OutOfClassesError,
    OutOfLabelsError,
    Step,
    select_accuracy,
)
from thresher.scoring import n_fit, pilot
from thresher.shortfalls import again, kept

__all__ = ["classify"]

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_PILOT = 64  # rows that tell where a score turns from false to true
_LEAST_FIT = 20  # labels: fewer would teach a proxy nothing
_MOST_CLASSES = 50  # for which one proxy each is trained


def classify(
    run: Running,
) -> tuple[npt.NDArray[np.bool_], pa.Array | None, Certificate]:
    """Label every row of a run, and certify how many labels are right.

    Returns
    -------
    returned : ndarray of bool, shape (n_rows,)
        Rows of the answer: those whose condition is labelled true; all where the label itself is
        asked for.
    labels : pyarrow.Array or None
        The label of every returned row, where the SELECT list asks for it.
    certificate : Certificate

    Raises
    ------
    ShortfallError
        The target cannot be certified and ON SHORTFALL does not say RETURN.
    """
    return _Classifying(run).classify()


class _Source:
    """Sells class codes of rows; classes are numbered as they are first seen."""

    def __init__(self, run: Running, call: OracleCall | None) -> None:
        self._run, self._call = run, call
        self.classes: list[object] = [False, True] if call is None else []
        self._numbers: dict[object, int] = {name: i for i, name in enumerate(self.classes)}

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._run.labeller.remaining

    def __call__(self, rows: Codes) -> Codes:
        """Label rows and return their codes.

        Raises
        ------
        OutOfClassesError, OutOfLabelsError
            It must stop; with the codes until then.
        """
        labeller, call = self._run.labeller, self._call
        if call is None:
            return labeller(rows).astype(np.int64)
        size = max(1, len(rows))
        if self._run.interruptible:
            size = max(1, self._run.env.oracles[call.oracle].oracle.batch_size)
        codes = [np.zeros(0, dtype=np.int64)]
        for start in range(0, len(rows), size):
            try:
                codes.append(self.codes(labeller.answers(rows[start : start + size], call)))
            except OutOfLabelsError as stop:
                raise OutOfClassesError(np.concatenate(codes)) from stop
        return np.concatenate(codes)

    def bought(self, rows: Codes) -> Codes:
        """Return the codes of rows that are labelled, also once no more may be asked."""
        run, call = self._run, self._call
        if call is None or not run.interruptible:
            return self(rows)
        bound = run.env.oracles[call.oracle]
        keys = run.population.inputs(rows).column(call.key).to_pylist()
        stored = run.env.store.get(bound.version, list(dict.fromkeys(keys)))
        return self.codes(bound.typed([stored[key][0] for key in keys]))

    def codes(self, answers: pa.Array) -> Codes:
        """Return the code of each answer."""
        encoded = answers.dictionary_encode()
        numbers = np.array(
            [self._number(value) for value in encoded.dictionary.to_pylist()], dtype=np.int64
        )
        indices = np.asarray(encoded.indices.fill_null(-1))
        return np.where(indices >= 0, np.append(numbers, -1)[indices], -1)

    def _number(self, value: object) -> int:
        if value not in self._numbers:
            self._numbers[value] = len(self.classes)
            self.classes.append(value)
        return self._numbers[value]


class _Classifying:
    """The state of one classification."""

    def __init__(self, run: Running) -> None:
        self.run, self.labelled = run, run.query.labelled
        call = None if self.labelled is None else run.query.calls[self.labelled.call]
        self.boolean = call is None or run.query.formula == call.value
        self.call = call
        self.source = _Source(run, None if self.boolean else call)
        # A row whose input is NULL has no label and is no row to label.
        everything = np.zeros(run.population.n_rows, dtype=np.bool_)
        self.missing = everything if call is None else run.population.free == 0

    def classify(self) -> tuple[npt.NDArray[np.bool_], pa.Array | None, Certificate]:
        run = self.run
        predictions, confidence = self._predictions()
        run.sureness = confidence
        run.enter("select")
        known_first, known = self._codes_of(run.population.known), self._codes_of(run.known)
        result = select_accuracy(
            predictions,
            confidence,
            self.source,
            accuracy=run.targets.accuracy or 1.0,
            delta=run.targets.delta,
            rng=run.rng,
            known=known,
            interruptible=run.interruptible,
        )
        note = self._policy(result)
        agreeing = self._agreeing(result, predictions)
        codes = result.labels
        returned = np.ones(run.population.n_rows, dtype=np.bool_)
        labels: pa.Array | None = None
        if self.labelled is None:
            returned = codes == 1
        else:
            labels = self._typed(codes)
        certificate = certify(
            run,
            grade="exact" if result.from_oracle.all() else result.grade,
            met=result.met,
            note=note,
            n_returned=int(returned.sum()),
            steps=agreeing,
            logged=agreeing,
            known=self._agreement(known_first, predictions),
            algorithm=result.algorithm,
            bounds=Bounds(
                accuracy=finite(result.accuracy_bound),
                accuracy_estimate=finite(result.accuracy_estimate),
            ),
            tests=tuple(asdict(test) for test in result.tests),
        )
        return returned, labels, certificate

    def _codes_of(self, known: npt.NDArray[np.int8]) -> Codes:
        """Codes of the rows that are known; -1 elsewhere."""
        if self.boolean:
            return known.astype(np.int64)
        rows = np.flatnonzero((known >= 0) & ~self.missing)
        codes = np.where(self.missing, 0, -1)
        codes[rows] = self.source.bought(rows)
        return codes

    @staticmethod
    def _agreement(codes: Codes, predictions: Codes) -> npt.NDArray[np.int8]:
        """1 where proxy and oracle agree, 0 where they do not, -1 where the oracle is not known."""
        return np.where(codes < 0, -1, codes == predictions).astype(np.int8)

    def _agreeing(self, result: Labelling, predictions: Codes) -> list[Step]:
        """Write all labels as whether proxy and oracle agree, which is what the tests are about."""
        fitted = [ClassStep(s.stage, s.rows, self._fitted(s)) for s in self.run.fit_steps]
        return [
            Step(s.stage, s.rows, s.answers == predictions[s.rows])
            for s in (*fitted, *result.steps)
            if len(s.rows)
        ]

    def _fitted(self, step: Step) -> Codes:
        """Return the codes behind labels that a proxy was fitted on."""
        return step.answers.astype(np.int64) if self.boolean else self.source.bought(step.rows)

    def _predictions(self) -> tuple[Codes, Floats]:
        """The proxy's class of every row, and how sure it is."""
        run = self.run
        run.probe()
        given = run.population.predictions
        if given is not None:
            given_scores = run.population.scores
            confidence = given_scores[0] if given_scores else np.zeros(run.population.n_rows)
            run.reports += (ProxyReport(run.query.proxies[0].text, used=True),)
            return np.maximum(self.source.codes(given), 0), np.nan_to_num(confidence, nan=-np.inf)
        if self.boolean:
            scores = np.asarray(proxy_scores.scores(run), dtype=np.float64)
            middle = self._middle(scores)
            return (scores > middle).astype(np.int64), np.abs(scores - middle)
        return self._one_each()

    def _middle(self, scores: Floats) -> float:
        """Score above which a row is more likely true than not, by a few labels."""
        from sklearn.linear_model import LogisticRegression

        run = self.run
        unknown = np.flatnonzero((run.known < 0) & np.isfinite(scores))
        if len(unknown) < 4 * _PILOT or run.labeller.remaining < 4 * _PILOT:
            return 0.5
        n_best = max(_PILOT, len(unknown) // 10)
        best = unknown[np.argpartition(-scores[unknown], n_best)[:n_best]]
        rows = np.union1d(
            run.rng.choice(unknown, _PILOT // 2, replace=False),
            run.rng.choice(best, _PILOT // 2, replace=False),
        )
        try:
            truth = run.labeller(rows)
        except OutOfLabelsError as stop:
            rows, truth = rows[: len(stop.answers)], stop.answers
        run.fit_steps += (Step("fit", rows, truth),)
        run.known = run.known_after(run.fit_steps[-1:])
        seen = np.flatnonzero((run.known >= 0) & (run.population.free < 0) & np.isfinite(scores))
        truth = run.known[seen] == 1
        if truth.all() or not truth.any():
            return self._beyond(scores, above=not truth.any())
        spread = float(scores[seen].std()) or 1.0
        x = ((scores[seen] - scores[seen].mean()) / spread)[:, None]
        fitted = LogisticRegression(C=100.0).fit(x, truth)
        slope = float(fitted.coef_[0, 0])
        if slope <= 0:
            return self._beyond(scores, above=truth.mean() < 0.5)
        return float(scores[seen].mean() - spread * fitted.intercept_[0] / slope)

    @staticmethod
    def _beyond(scores: Floats, *, above: bool) -> float:
        """Return a finite score that all scores are below, or above."""
        end = np.nanmax(scores) if above else np.nextafter(np.nanmin(scores), -np.inf)
        return float(end)

    def _one_each(self) -> tuple[Codes, Floats]:
        """Train a proxy for each class on the first labels; the surest class is predicted."""
        run, population = self.run, self.run.population
        n_rows = population.n_rows
        models = [c for c in run.env.candidates(population) if isinstance(c, Trainable)]
        unknown = np.flatnonzero(run.known < 0)
        left = run.labeller.remaining
        wanted = n_fit(n_rows, left, budgeted=bool(run.query.tail.budget))
        if not models or not _LEAST_FIT <= wanted <= min(left, len(unknown)) // 2:
            return np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows)
        run.stage = "fit proxies"
        rows, truth = pilot(run.labeller, unknown, wanted, run.rng)
        run.fit_steps += (Step("fit", rows, truth),)
        run.known = run.known_after(run.fit_steps[-1:])
        if not len(rows):  # it had to stop
            return np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows)
        codes = self.source.bought(rows)
        classes = np.unique(codes)[:_MOST_CLASSES]
        model = models[0]
        inputs = population.inputs(np.arange(n_rows)).select(list(model.inputs))
        features = model.proxy.featurise(inputs)
        scores = np.stack(
            [model.proxy.fit(features, rows, codes == c, run.rng).scores for c in classes]
        )
        order = np.sort(scores, axis=0)
        run.reports += (ProxyReport(model.name, used=True),)
        margin = order[-1] - order[-2] if len(classes) > 1 else order[-1]
        return classes[scores.argmax(axis=0)], np.asarray(margin, dtype=np.float64)

    def _typed(self, codes: Codes) -> pa.Array:
        """Return the labels of codes as the oracle's declared type."""
        if self.call is None:
            raise TypeError("a condition has no label of its own")
        classes = self.run.env.oracles[self.call.oracle].typed(self.source.classes)  # type: ignore[arg-type]
        if not len(classes):  # it had to stop before the first label
            return pa.nulls(len(codes), classes.type)
        return classes.take(pa.array(np.where(self.missing, 0, codes)))

    def _policy(self, result: Labelling) -> str | None:
        """Say what could not be done, or raise where ON SHORTFALL wants that."""
        run = self.run
        if result.met:
            note = f"{run.stopped}: what is said of the answer holds all the same."
            return note if run.stopped else None
        bound = f"accuracy >= {result.accuracy_bound:.1%}"
        if run.stopped:
            note = (
                f"{run.stopped}: {run.targets} is not certified yet; what holds is {bound}. "
                f"{again(run)}."
            )
        else:
            note = (
                f"{run.targets} cannot be certified with {run.limit:,} labels; what holds is "
                f"{bound}. Raise ORACLE LIMIT ({kept(run)}), "
                "lower the target, or give a better proxy with USING."
            )
        policy = run.query.tail.on_shortfall or run.env.settings.get("on_shortfall")
        policy = policy or ("RETURN" if run.stopped else "FAIL")
        if policy == "RETURN":
            return note
        raise run.located(
            ShortfallError(f"{note} Or write ON SHORTFALL RETURN.", spent=run.labeller.n_labels),
            "ACCURACY TARGET",
        )
