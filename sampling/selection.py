"""What a selection returns: the rows, every label bought, and the tests it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Grade", "Selection", "Step", "Test"]

Grade = Literal[
    "exact",
    "distribution-free",
    "calibrated tail",
    "proxy quality",
    "core set closure",
    "asymptotic",
]
"""What a promise rests on; only the first two assume nothing of the proxy."""


@dataclass(frozen=True, slots=True)
class Step:
    """Labels bought at once.

    Parameters
    ----------
    stage : str
        Why: ``pilot``, ``census``, ``sample``, ``look 1``, ``head 1``, ``verify``, ``all``, ...
        A stage may take several steps; the rows of a sampling stage are one uniform sample. In a
        precision query ``verify`` lies in the head and ``below`` below it.
    rows : ndarray of int64, shape (k,)
        Positions in the arrays that were given.
    answers : ndarray of bool, shape (k,)
        What the label source said.
    """

    stage: str
    rows: npt.NDArray[np.int64]
    answers: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Test:
    """One exact test, with all its integers.

    Parameters
    ----------
    kind : {"ratio", "fixed", "negatives"}
        Test A (T1) or test B (T2) for recall, or the limit of the negatives (T4) for precision.
    stages : tuple of str
        The stages whose rows are the sample, together.
    n_rows, n_sample : int
        Rows sampled from, and the size of the uniform sample without replacement.
    n_found : int
        Positives in the sample; negatives for ``negatives``.
    n_known : int
        Positives known before the sample was drawn (not used by ``negatives``).
    cut : int
        Sampled positives that may lie below the cut, -1 for none safe; for ``negatives`` the
        bound on the negatives that the sample left unlabelled.
    bound : int
        Upper limit of the positives (``ratio``) or negatives (``negatives``) among `n_rows`;
        -1 where the test has none.
    target : float
        Recall or precision target.
    level : float
        Failure probability of this test.
    n_failed : int
        Rows of the sample that have no answer: counted in `n_found` of ``negatives``, not in that
        of the others.
    cuts : tuple of int, shape (n_failed + 1,)
        `cut` if 0, 1, ... of the rows without an answer are positive (W3); empty if there are none.
    """

    __test__ = False  # the name means a statistical test; pytest must not collect it

    kind: Literal["ratio", "fixed", "negatives"]
    stages: tuple[str, ...]
    n_rows: int
    n_sample: int
    n_found: int
    n_known: int
    cut: int
    bound: int
    target: float
    level: float
    n_failed: int = 0
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer to a selection query.

    Parameters
    ----------
    returned : ndarray of bool, shape (n_rows,)
        The answer. It holds every known positive and no known negative; where recall is promised
        it holds every row that was asked without an answer.
    steps : tuple of Step
        Every label bought, in order; labels known before are not among them.
    cut : float
        Score of the lowest-ranked row returned without a label; nan if there is none or if that
        row has no score.
    met : bool
        Whether every target is certified.
    vacuous : bool
        Whether every unlabelled row is returned, so that nothing was left out.
    recall_bound, precision_bound : float or None
        Lower confidence limits which hold together with probability 1 - delta; 1.0 where certain,
        None where nothing is certified.
    recall_estimate, precision_estimate : float
        Point estimates, not guaranteed; nan where undefined.
    algorithm : str
        What was done, such as ``recall: sample then verify (T1)``.
    tests : tuple of Test
        The exact tests that the guarantee rests on.
    grade : Grade
        What the promise rests on.
    assumption : str or None
        In words, with its parameters, what a grade assumes; None where nothing is assumed.
    free_recall : float or None
        Lower confidence limit of the recall that holds without the assumption, at the same delta;
        None where nothing is assumed or nothing can be said.
    """

    returned: npt.NDArray[np.bool_]
    steps: tuple[Step, ...]
    cut: float
    met: bool
    vacuous: bool
    recall_bound: float | None
    precision_bound: float | None
    recall_estimate: float
    precision_estimate: float
    algorithm: str
    tests: tuple[Test, ...]
    grade: Grade = "distribution-free"
    assumption: str | None = None
    free_recall: float | None = None
