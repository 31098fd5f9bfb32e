"""Sampling designs, exact bounds and selection: pure functions on arrays."""

from thresher.sampling.counts import CountEstimate, Stratum, count_limits, estimate_count
from thresher.sampling.exact import select_exact
from thresher.sampling.joint import select_joint
from thresher.sampling.labels import CountedLabels, LabelSource
from thresher.sampling.precision import select_precision
from thresher.sampling.recall import select_recall
from thresher.sampling.selection import Grade, Selection, Step, Test

__all__ = [
    "CountEstimate",
    "CountedLabels",
    "Grade",
    "LabelSource",
    "Selection",
    "Step",
    "Stratum",
    "Test",
    "count_limits",
    "estimate_count",
    "select_exact",
    "select_joint",
    "select_precision",
    "select_recall",
]
