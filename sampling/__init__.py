"""Sampling designs, exact bounds and selection: pure functions on arrays."""

from thresher.sampling.accuracy import select_accuracy
from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.calibrated import select_recall_calibrated
from thresher.sampling.counts import CountEstimate, Stratum, count_limits, estimate_count
from thresher.sampling.exact import select_exact
from thresher.sampling.joint import select_joint
from thresher.sampling.labelling import (
    CascadeTest,
    ClassSource,
    ClassStep,
    CountedClasses,
    Labelling,
)
from thresher.sampling.labels import CountedLabels, LabelSource, OutOfLabelsError
from thresher.sampling.measures import (
    AggregateEstimate,
    Column,
    ErrorTarget,
    Measure,
    MeasureEstimate,
)
from thresher.sampling.precision import select_precision
from thresher.sampling.recall import select_recall
from thresher.sampling.selection import Grade, Selection, Step, Test
from thresher.sampling.values import CountedValues, ValueSource

__all__ = [
    "AggregateEstimate",
    "CascadeTest",
    "ClassSource",
    "ClassStep",
    "Column",
    "CountEstimate",
    "CountedClasses",
    "CountedLabels",
    "CountedValues",
    "ErrorTarget",
    "Grade",
    "LabelSource",
    "Labelling",
    "Measure",
    "MeasureEstimate",
    "OutOfLabelsError",
    "Selection",
    "Step",
    "Stratum",
    "Test",
    "ValueSource",
    "count_limits",
    "estimate_aggregates",
    "estimate_count",
    "select_accuracy",
    "select_exact",
    "select_joint",
    "select_precision",
    "select_recall",
    "select_recall_calibrated",
]
