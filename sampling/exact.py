"""Selection without error: every row is labelled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from thresher.sampling.labels import LabelSource
from thresher.sampling.ledger import Ledger
from thresher.sampling.selection import Selection

__all__ = ["select_exact"]


def select_exact(
    scores: npt.NDArray[np.floating],
    labels: LabelSource,
    known: npt.NDArray[np.int8] | None = None,
) -> Selection:
    """Label every unknown row, best score first, and return the positives.

    Parameters
    ----------
    scores, labels, known
        As in `select_recall`; the scores matter to the order of labelling only.

    Returns
    -------
    Selection
        With both bounds 1.

    Raises
    ------
    ValueError
        If the labels do not suffice for every row.
    """
    ledger = Ledger(scores, labels, np.random.default_rng(0), known)
    if not ledger.affords_all:
        raise ValueError(
            f"an exact answer needs {ledger.n_unknown} labels, {labels.remaining} remain"
        )
    ledger.buy_all()
    return ledger.close(0, algorithm="exact")
