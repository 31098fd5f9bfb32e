"""Selections that rest on what ASSUMING declares."""

from __future__ import annotations

from thresher.running import Running
from thresher.sampling import Selection, select_recall_calibrated
from thresher.scoring import FloatArray
from thresher.targets import Assumption

__all__ = ["select_assuming"]

_WITHIN = 10.0  # of CALIBRATION where the statement names no factor


def select_assuming(run: Running, assuming: Assumption, scores: FloatArray) -> Selection:
    """Select rows under a declared assumption.

    Raises
    ------
    NotSupportedError
        The assumption does not serve these targets.
    """
    targets = run.targets
    if assuming.name == "CALIBRATION" and targets.recall is not None and targets.precision is None:
        return select_recall_calibrated(
            scores, run.labeller, recall=targets.recall, delta=targets.delta,
            within=assuming.value or _WITHIN, rng=run.rng, known=run.known,
        )  # fmt: skip
    raise NotImplementedError
