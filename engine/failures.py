"""Rows that an oracle fails on, counted against the promise: ON ORACLE ERROR WORST CASE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thresher.errors import NotSupportedError, ShortfallError
from thresher.permits import stops_anywhere
from thresher.plan import SelectionQuery
from thresher.reports import counted
from thresher.sampling import Selection, Step, Unanswered, bear
from thresher.settings import Settings
from thresher.targets import Targets

if TYPE_CHECKING:
    from thresher.running import Running

__all__ = ["bears_failures", "counted_both_ways", "logged", "unanswered", "without_failures"]

_SERVED = ("exact", "recall", "precision", "joint")
_KEPT = "labels bought by then are kept, and the same query goes on from them."
_UNSERVED = (
    "ON ORACLE ERROR WORST CASE serves queries without a target, RECALL and PRECISION TARGET, and "
    "counts with ORACLE LIMIT n, over rows as they are: without ACCURACY TARGET, LIMIT, other "
    "aggregates, ASSUMING, calls in the SELECT list and audits."
)


def bears_failures(
    query: SelectionQuery, targets: Targets, settings: Settings, *, audited: bool
) -> bool:
    """Return whether rows that an oracle fails on are counted against the promise, as asked.

    Raises
    ------
    NotSupportedError
        That is asked of a query whose promise cannot bear it.
    """
    asked = query.tail.on_oracle_error or settings.get("on_oracle_error")
    if asked != "WORST CASE" or not query.all_calls:
        return False
    sampled = query.outputs is None and query.tail.assuming is None and not audited
    if query.estimation is not None:
        message = _UNSERVED if not sampled else _not_counted(query, targets, settings)
    else:
        served = sampled and targets.kind in _SERVED and not query.answer.aggregates
        message = None if served else _UNSERVED
    if message is None:
        return True
    place = query.tail.places.get("ON ORACLE ERROR", query.all_calls[0].place)
    error = NotSupportedError(f"{message} Or write ON ORACLE ERROR FAIL: {_KEPT}")
    raise error.at(query.sql, place.offset, place.length)


def _not_counted(query: SelectionQuery, targets: Targets, settings: Settings) -> str | None:
    """Say why an estimate cannot bear rows without an answer; None where it can."""
    kinds = [a.kind for a in query.estimation.aggregates] if query.estimation else []
    other = next((kind for kind in kinds if kind != "count"), None)
    if other is not None:
        return (
            f"ON ORACLE ERROR WORST CASE serves counts, not {other}: a row without an answer may "
            "count with any value of its range, or not at all. Count the rows, or select them."
        )
    if targets.error is not None or stops_anywhere(query, targets, settings):
        return (
            "ON ORACLE ERROR WORST CASE serves counts of a sample whose size is fixed: draws that "
            "stop early follow the labels. Write ORACLE LIMIT n alone."
        )
    return None


def unanswered(run: Running) -> Unanswered | None:
    """Return what tells a sampler of the rows that have no answer; None where there are none."""
    return (lambda: run.labeller.failed) if run.labeller.worst_case else None


def without_failures(
    run: Running, selection: Selection, note: str | None
) -> tuple[Selection, str | None]:
    """Count rows that no oracle could decide against the promise, and say so.

    Parameters
    ----------
    run : Running
        Whose labeller knows them.
    selection : Selection
        As the sampler has it: where it samples it has borne them already.
    note : str or None
        What the reader must know of it.

    Returns
    -------
    selection : Selection
        With bounds that hold whatever is true of those rows.
    note : str or None

    Raises
    ------
    ShortfallError
        Every row was asked, and the rows without an answer are too many for both targets.

    Notes
    -----
    Theorems W1 to W4 in the guarantees.
    """
    failed = run.labeller.failed
    if not len(failed):
        return selection, note
    targets = run.targets
    if selection.grade == "exact":
        selection = bear(
            selection, failed, recall=targets.recall, precision=targets.precision
        )  # fmt: skip
        if not selection.met:
            raise run.located(_too_many(run, selection), "ON ORACLE ERROR")
    elif targets.recall is None:
        selection = replace(selection, recall_bound=None)
    n_back = int(np.count_nonzero(selection.returned[failed]))
    text = f"no oracle could decide {counted(len(failed), 'row')}: {_borne(len(failed), n_back)}"
    return selection, f"{text}. {note}" if note else f"{text}."


def counted_both_ways(run: Running, note: str | None) -> str | None:
    """Say of counts that rows without an answer count in the upper limits alone (W5)."""
    if not (n_failed := len(run.labeller.failed)):
        return note
    text = (
        f"no oracle could decide {counted(n_failed, 'row')}: not counted in the lower limits, "
        "counted in the upper ones"
    )
    return f"{text}. {note}" if note else f"{text}."


def _borne(n_failed: int, n_back: int) -> str:
    """Say what is done with the rows without an answer."""
    if not n_back:
        return "not returned; what is promised holds whatever is true of them"
    which = "returned" if n_back == n_failed else f"{n_back:,} of them returned"
    return f"{which}, so that recall holds even if they are positive"


def _too_many(run: Running, selection: Selection) -> ShortfallError:
    """Say that no choice of rows meets both targets."""
    failed = counted(len(run.labeller.failed), "row")
    return ShortfallError(
        f"{run.targets} cannot be met: every candidate was asked, and no oracle could decide "
        f"{failed}. What holds is recall >= {selection.recall_bound:.1%} and precision >= "
        f"{selection.precision_bound:.1%}. Lower a target, or see that the oracle answers: rows "
        "without an answer are asked again by the next query.",
        spent=run.labeller.n_labels,
    )


@dataclass(frozen=True, slots=True)
class _Logged:
    """A step as the label log has it: -1 where a row has no answer."""

    stage: str
    rows: npt.NDArray[np.int64]
    answers: npt.NDArray[Any]


def logged(run: Running, steps: Sequence[Step]) -> Sequence[Step | _Logged]:
    """Return all labels of a run as its log has them, those that proxies were fitted on first.

    Parameters
    ----------
    run : Running
    steps : sequence of Step
        What was bought after the labels that proxies were fitted on.
    """
    every, failed = (*run.fit_steps, *steps), run.labeller.failed
    if not len(failed):
        return every
    return [
        _Logged(step.stage, step.rows, np.where(np.isin(step.rows, failed), -1, step.answers))
        for step in every
    ]
