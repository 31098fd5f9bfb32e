"""How much of a limit on labels the sample of a target leaves for the rows that come back."""

from __future__ import annotations

from thresher.plan import SelectionQuery

__all__ = ["most_shown", "sample_limit"]


def most_shown(query: SelectionQuery, n_rows: int) -> int:
    """Return the most labels that rows which come back can take for calls outside WHERE.

    Parameters
    ----------
    query : SelectionQuery
        A query of any kind; 0 where no row shows an answer.
    n_rows : int
        Rows of its population.
    """
    if query.outputs is None:
        return 0
    found = query.answer.row_limit
    needed = None if found is None else found.needed
    limited = n_rows if needed is None else min(n_rows, needed)
    return sum(limited if late else n_rows for late in query.outputs.late)


def sample_limit(query: SelectionQuery, n_rows: int, allowed: int, budget: int) -> int:
    """Return the most labels that the sample of a single target may take.

    Such a sample takes all that it may, and how many rows come back is not known before it is
    drawn. So half of the limit is left for what those rows show: less where LIMIT, or the number
    of rows, bounds what they can take, and more where the sample cannot use its half.

    Parameters
    ----------
    query : SelectionQuery
        With a recall or a precision target.
    n_rows : int
        Rows of its population.
    allowed : int
        Most labels that the statement may be charged for.
    budget : int
        Most labels that a sample takes in any case: the setting ``default_budget``.

    Returns
    -------
    int
        At most `allowed`, and all of it where no row shows an answer.
    """
    if query.outputs is None:
        return allowed
    left = max(allowed // 2, allowed - n_rows * len(query.calls))
    return min(budget, allowed - min(most_shown(query, n_rows), left))
