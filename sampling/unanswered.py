"""What an answer holds once every row was asked and some of them gave no answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from thresher.sampling.bounds import Share
from thresher.sampling.selection import Selection

__all__ = ["bear"]


def bear(
    selection: Selection,
    failed: npt.NDArray[np.int64],
    *,
    recall: float | None,
    precision: float | None,
) -> Selection:
    """Return the known positives, with so many rows without an answer as the targets ask for.

    Parameters
    ----------
    selection : Selection
        Of a query in which every row was asked.
    failed : ndarray of int64, shape (k,)
        Positions of those without an answer; the first ones are returned first.
    recall, precision : float or None
        Targets in (0, 1]; None for none. With a recall target alone all are returned, with a
        precision target too as many as that bears, else none.

    Returns
    -------
    Selection
        `met` says whether both bounds reach their targets. They are certain, whatever is true of
        the rows without an answer, and the best that can be said (W1 in the guarantees).

    Examples
    --------
    >>> from thresher.sampling import CountedLabels, select_exact
    >>> truth = np.arange(20) < 10
    >>> found = select_exact(np.zeros(20), CountedLabels(lambda rows: truth[rows], 20))
    >>> one = bear(found, np.array([10, 11, 12]), recall=0.8, precision=0.9)
    >>> int(one.returned.sum()), one.met, round(one.recall_bound, 3), round(one.precision_bound, 3)
    (11, True, 0.833, 0.909)
    """
    if not len(failed):
        return selection
    returned = selection.returned.copy()
    returned[failed] = False
    n_positive = int(np.count_nonzero(returned))
    n_back = 0 if recall is None else len(failed)
    if recall is not None and precision is not None:
        n_back = min(n_back, Share.beyond(precision).room(0, n_positive))
    n_left = len(failed) - n_back
    returned[failed[:n_back]] = True
    whole, kept = n_positive + n_left, n_positive + n_back
    met = recall is None or Share.beyond(recall).allows(n_left, whole)
    return replace(
        selection,
        returned=returned,
        met=met,
        recall_bound=n_positive / whole if n_left else 1.0,
        precision_bound=n_positive / kept if n_back else 1.0,
        recall_estimate=float("nan"),
        precision_estimate=float("nan"),
        grade="distribution-free",
    )
