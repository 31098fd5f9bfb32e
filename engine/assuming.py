"""Selections that rest on what ASSUMING declares."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from thresher.candidates import FloatArray
from thresher.errors import DataError, OperationalError
from thresher.running import Running
from thresher.sampling import (
    OutOfLabelsError,
    Selection,
    select_joint_normal,
    select_precision_core_set,
    select_precision_normal,
    select_precision_proxy_quality,
    select_recall_calibrated,
    select_recall_core_set,
    select_recall_normal,
    select_recall_proxy_quality,
    select_within,
)
from thresher.shortfalls import again
from thresher.targets import CALIBRATION_WITHIN, Assumption, QueryKind

__all__ = ["select_assuming"]

_RADIUS = re.compile(r"__thresher_o\d+ (<=?) ((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_Chosen = Callable[..., Selection]


def select_assuming(run: Running, assuming: Assumption, scores: FloatArray) -> Selection:
    """Select rows under a declared assumption.

    Raises
    ------
    DataError
        The scores do not fit the assumption.
    OperationalError
        It was interrupted: a promise for one size of sample says nothing of a smaller one.
    """
    selection: Selection | None = None
    try:
        selection = _selected(run, assuming, scores)
    except ValueError as error:
        raise run.located(DataError(str(error)), "ASSUMING") from error
    except OutOfLabelsError:
        pass  # run.stopped says why
    if selection is None or run.stopped:
        message = (
            f"{run.stopped}: ASSUMING {assuming.name} needs all of its sample, so there is no "
            f"answer yet. {again(run)}, or leave ASSUMING out for an answer that may stop anywhere."
        )
        stopped = OperationalError(message, spent=run.labeller.n_labels)
        raise run.located(stopped, "ASSUMING")
    return selection


def _selected(run: Running, assuming: Assumption, scores: FloatArray) -> Selection:
    """Carry out the procedure for the assumption."""
    if (radius := _radius(run)) is not None and assuming.name in (
        "PROXY QUALITY",
        "CORE SET CLOSURE",
    ):
        return _within(run, assuming, scores, radius)
    return _selector(run, assuming)(
        scores, run.labeller, delta=run.targets.delta, rng=run.rng, known=run.known
    )


def _selector(run: Running, assuming: Assumption) -> _Chosen:
    """Return the procedure for the assumption and the targets, with both filled in."""
    kind, value = run.targets.kind, assuming.value
    count = None if value is None else int(value)
    offered: dict[tuple[str, QueryKind], tuple[_Chosen, dict[str, float | int | None]]] = {
        ("CALIBRATION", "recall"): (
            select_recall_calibrated,
            {"within": value or CALIBRATION_WITHIN},
        ),
        ("PROXY QUALITY", "recall"): (select_recall_proxy_quality, {"sigma": value}),
        ("PROXY QUALITY", "precision"): (select_precision_proxy_quality, {"sigma": value}),
        ("CORE SET CLOSURE", "recall"): (select_recall_core_set, {"n_positive": count}),
        ("CORE SET CLOSURE", "precision"): (select_precision_core_set, {"n_core": count}),
        ("NORMALITY", "recall"): (select_recall_normal, {}),
        ("NORMALITY", "precision"): (select_precision_normal, {}),
        ("NORMALITY", "joint"): (select_joint_normal, {}),
    }
    procedure, extra = offered[assuming.name, kind]
    targets = {"recall": run.targets.recall, "precision": run.targets.precision}
    wanted = {name: target for name, target in targets.items() if target is not None}
    return lambda *arrays, **rest: procedure(*arrays, **wanted, **extra, **rest)


def _radius(run: Running) -> float | None:
    """Radius of a predicate that compares an oracle's distance, as in ``distance(x) <= 0.3``."""
    found = _RADIUS.fullmatch(run.query.formula)
    if not found or len(run.query.calls) != 1:
        return None
    radius = float(found[2])
    return radius if found[1] == "<=" else float(np.nextafter(radius, -np.inf))


class _Distances:
    """Sells the oracle's distances of rows."""

    def __init__(self, run: Running) -> None:
        self._run = run

    @property
    def remaining(self) -> int:
        """Rows that can still be labelled for certain."""
        return self._run.labeller.remaining

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Label rows and return their distances."""
        answers = self._run.labeller.answers(rows, self._run.query.calls[0])
        return np.asarray(answers.cast("double").to_numpy(zero_copy_only=False))


def _within(run: Running, assuming: Assumption, scores: FloatArray, radius: float) -> Selection:
    """Select near neighbours; the proxy's distance is its score with the sign changed."""
    targets, core = run.targets, assuming.name == "CORE SET CLOSURE"
    count = None if assuming.value is None else int(assuming.value)
    found = select_within(
        -np.asarray(scores, dtype=np.float64),
        _Distances(run),
        radius=radius,
        recall=targets.recall,
        precision=targets.precision,
        delta=targets.delta,
        rng=run.rng,
        method="core set closure" if core else "proxy quality",
        sigma=None if core else assuming.value,
        n_core=count if core else None,
    )
    returned = np.where(run.known >= 0, run.known == 1, found.returned)
    return replace(found, returned=returned)
