"""Rows that an oracle fails on, counted against the promise: ON ORACLE ERROR WORST CASE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from thresher.errors import NotSupportedError
from thresher.plan import SelectionQuery
from thresher.sampling import Selection, Step
from thresher.settings import Settings
from thresher.targets import Targets

if TYPE_CHECKING:
    from thresher.running import Running

__all__ = ["bears_failures", "without_failures"]


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
    served = targets.kind in ("exact", "precision") and query.outputs is None
    served &= query.tail.assuming is None and not query.answer.aggregates
    if served and not audited and query.estimation is None:
        return True
    error = NotSupportedError(
        "ON ORACLE ERROR WORST CASE serves queries without a target and PRECISION TARGET alone, "
        "over rows as they are: without LIMIT, aggregates, ASSUMING, calls in the SELECT list and "
        "audits. Write ON ORACLE ERROR FAIL: labels bought by then are kept, and the same query "
        "goes on from them."
    )
    place = query.tail.places.get("ON ORACLE ERROR", query.all_calls[0].place)
    raise error.at(query.sql, place.offset, place.length)


def without_failures(
    run: Running, selection: Selection, note: str | None
) -> tuple[Selection, str | None]:
    """Count rows that no oracle could decide against the promise; none is returned.

    Parameters
    ----------
    run : Running
        Whose labeller knows them.
    selection : Selection
        By the truth that makes all of them negative.
    note : str or None
        What the reader must know of it.

    Returns
    -------
    selection : Selection
        With bounds that hold whatever is true of those rows.
    note : str or None

    Notes
    -----
    Theorems W1 and W2 in the guarantees.
    """
    failed = run.labeller.failed
    if not len(failed):
        return selection, note
    text = f"no oracle could decide {len(failed):,} row{'' if len(failed) == 1 else 's'}"
    if selection.grade != "exact":
        text += ": counted as negative and not returned, which the limit of precision bears"
        selection = replace(selection, recall_bound=None)
    else:
        n_found = int(np.count_nonzero(selection.returned))
        share = n_found / (n_found + len(failed))
        text += ": not returned; the recall is what it is if all of them are positive"
        run.fit_steps = _decided(run.fit_steps, failed)
        selection = replace(
            selection, grade="distribution-free", steps=_decided(selection.steps, failed),
            recall_bound=share, precision_bound=1.0, recall_estimate=float("nan"),
        )  # fmt: skip
    return selection, f"{text}. {note}" if note else f"{text}."


def _decided(steps: Sequence[Step], failed: npt.NDArray[np.int64]) -> tuple[Step, ...]:
    """Return steps without the rows that have no answer."""
    kept = [~np.isin(step.rows, failed) for step in steps]
    return tuple(
        Step(step.stage, step.rows[keep], step.answers[keep])
        for step, keep in zip(steps, kept, strict=True)
    )
