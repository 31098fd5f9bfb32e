"""Rows that an oracle fails on, counted against the promise: ON ORACLE ERROR WORST CASE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thresher.errors import NotSupportedError, ShortfallError
from thresher.plan import SelectionQuery
from thresher.reports import counted
from thresher.sampling import Selection, Step, Unanswered, bear
from thresher.settings import Settings
from thresher.targets import Targets

if TYPE_CHECKING:
    from thresher.running import Running

__all__ = ["bears_failures", "logged", "unanswered", "without_failures"]

_SERVED = ("exact", "recall", "precision", "joint")


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
    served = targets.kind in _SERVED and query.outputs is None
    served &= query.tail.assuming is None and not query.answer.aggregates
    if served and not audited and query.estimation is None:
        return True
    error = NotSupportedError(
        "ON ORACLE ERROR WORST CASE serves queries without a target and with RECALL or PRECISION "
        "TARGET, over rows as they are: without LIMIT, aggregates, ASSUMING, calls in the SELECT "
        "list and audits. Write ON ORACLE ERROR FAIL: labels bought by then are kept, and the same "
        "query goes on from them."
    )
    place = query.tail.places.get("ON ORACLE ERROR", query.all_calls[0].place)
    raise error.at(query.sql, place.offset, place.length)


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
