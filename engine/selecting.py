"""Rows that meet targets of recall and precision, and what certifies them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from thresher import proxy_scores
from thresher.assuming import select_assuming
from thresher.candidates import FloatArray
from thresher.certificate import Bounds, Certificate
from thresher.certifying import certify, finite
from thresher.errors import ShortfallError
from thresher.failures import logged, unanswered, without_failures
from thresher.forecasting import helps
from thresher.label_log import SAME_INPUT
from thresher.outputs import Watched
from thresher.reports import counted
from thresher.running import Running
from thresher.sampling import (
    Selection,
    Step,
    select_exact,
    select_joint,
    select_precision,
    select_recall,
)
from thresher.shortfalls import again, bought, kept

__all__ = ["select"]


def select(run: Running) -> tuple[npt.NDArray[np.bool_], Certificate]:
    """Decide which rows of a run are returned, and certify it.

    Returns
    -------
    returned : ndarray of bool, shape (n_rows,)
    certificate : Certificate

    Raises
    ------
    ShortfallError
        The targets cannot be certified and ON SHORTFALL says FAIL.
    BudgetError
        ON SHORTFALL says EXACT and that would cost more labels than allowed.
    """
    selection, note = without_failures(run, *_selection(run))
    returned, duplicates = _with_duplicates(run, selection)
    certificate = certify(
        run,
        grade=selection.grade,
        met=selection.met,
        note=note,
        n_returned=int(np.count_nonzero(returned)),
        steps=(*run.fit_steps, *selection.steps),
        logged=logged(run, selection.steps),
        duplicates=duplicates,
        algorithm=selection.algorithm if run.query.calls else "plain",
        cut=finite(selection.cut),
        bounds=Bounds()
        if not run.query.calls
        else Bounds(
            recall=finite(selection.recall_bound),
            precision=finite(selection.precision_bound),
            recall_estimate=finite(selection.recall_estimate),
            precision_estimate=finite(selection.precision_estimate),
            free_recall=finite(selection.free_recall),
        ),
        tests=tuple(asdict(test) for test in selection.tests),
        assumption=selection.assumption,
    )
    return returned, certificate


def _selection(run: Running) -> tuple[Selection, str | None]:
    """Choose the procedure and carry it out; says what the reader must know besides."""
    kind = run.targets.kind
    affordable = run.n_unknown <= run.labeller.remaining and kind != "joint"
    affordable &= not run.interruptible
    if kind == "exact" or affordable:
        return _exact(run), None
    scores = proxy_scores.scores(run)
    run.stage = "select"
    selection = _select(run, scores)
    nothing_gained = selection.vacuous and kind == "recall"
    if selection.met and not nothing_gained:
        note = f"{run.stopped}: what is said of the answer holds all the same."
        return selection, note if run.stopped and selection.grade != "exact" else None
    policy = run.query.tail.on_shortfall or run.env.settings.get("on_shortfall")
    policy = policy or ("RETURN" if selection.met or run.stopped else "FAIL")
    note = _shortfall(run, selection, scores, str(policy))
    note = f"{run.stopped}: {note}" if run.stopped else note
    if policy == "FAIL":
        raise run.located(ShortfallError(note, spent=run.labeller.n_labels), "ON SHORTFALL")
    if policy == "RETURN":
        return selection, note
    run.label_all_after(selection.steps)
    return _exact(run), "ON SHORTFALL EXACT: every candidate was labelled. " + note


def _exact(run: Running) -> Selection:
    run.stage = "label all"
    unscored = np.zeros(run.population.n_rows, dtype=np.float32)
    outputs = run.query.outputs
    labels = run.labeller if outputs is None else Watched(run, outputs)
    return select_exact(unscored, labels, known=run.known)


def _select(run: Running, scores: FloatArray) -> Selection:
    recall, precision, delta = run.targets.recall, run.targets.precision, run.targets.delta
    if run.query.tail.assuming is not None:
        return select_assuming(run, run.query.tail.assuming, scores)
    labels, known, rng, stops = run.labeller, run.known, run.rng, run.interruptible
    if recall is not None and precision is not None:
        return select_joint(
            scores, labels, recall=recall, precision=precision, delta=delta, rng=rng, known=known,
            interruptible=stops, unanswered=unanswered(run),
        )  # fmt: skip
    if recall is not None:
        return select_recall(
            scores, labels, recall=recall, delta=delta, rng=rng, known=known, interruptible=stops,
            unanswered=unanswered(run),
        )  # fmt: skip
    if precision is not None:
        return select_precision(
            scores, labels, precision=precision, delta=delta, rng=rng, known=known,
            interruptible=stops,
        )  # fmt: skip
    raise TypeError("an exact query has no targets to select by")


def _shortfall(run: Running, selection: Selection, scores: FloatArray, policy: str) -> str:
    """Say what could not be done and what would help."""
    spent, way = f"{run.limit:,} labels", f"Raise ORACLE LIMIT ({kept(run)})"
    if n_failed := len(run.labeller.failed):
        spent += f", {counted(n_failed, 'row')} of them without an answer"
    if run.stopped:
        spent, way = f"the {bought(run)} bought by then", again(run)
    if not selection.met:
        bounds = (("recall", selection.recall_bound), ("precision", selection.precision_bound))
        held = " and ".join(f"{name} >= {b:.1%}" for name, b in bounds if b is not None)
        return (
            f"{run.targets} cannot be certified with {spent}"
            f"{f'; what holds is {held}' if held else ''}. {way}, lower a target, or give a better "
            f"proxy with USING.{_instead(policy, 'the rows found')}"
        )
    more = helps(run.targets, scores, run.known_after(selection.steps))
    every = "every row that is not known to be negative"
    returned = {"RETURN": f": {every} is returned", "FAIL": ", so there is no answer"}
    after = f" {way}." if run.stopped or policy == "FAIL" else f" Bought: {bought(run)}."
    return (
        f"nothing could be left out safely with {spent}{returned.get(policy, '')}.{after}{more}"
        f"{_instead(policy, every)}"
    )


def _instead(policy: str, rows: str) -> str:
    """Say how to get an answer all the same."""
    return f" Or write ON SHORTFALL RETURN for {rows}." if policy == "FAIL" else ""


def _with_duplicates(
    run: Running, selection: Selection
) -> tuple[npt.NDArray[np.bool_], Step | None]:
    """Rows whose inputs equal labelled ones are known too.

    That drops known negatives and adds known positives, so no bound suffers.
    """
    if selection.grade == "exact":
        return selection.returned, None
    rows, truth = run.labeller.duplicates()
    open_ = run.known_after(selection.steps)[rows] < 0
    rows, truth = rows[open_ & (truth >= 0)], truth[open_ & (truth >= 0)]
    returned = selection.returned.copy()
    returned[rows] = truth == 1
    return returned, Step(SAME_INPUT, rows, truth == 1) if len(rows) else None
