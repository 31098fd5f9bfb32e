"""Sampling designs, exact bounds and selection: pure functions on arrays."""

from thresher.sampling.accuracy import select_accuracy
from thresher.sampling.aggregates import estimate_aggregates
from thresher.sampling.agreement import Agreement, human_agreement, human_mean
from thresher.sampling.asymptotic import estimate_aggregates_normal
from thresher.sampling.audit import audit_selection
from thresher.sampling.calibrated import select_recall_calibrated
from thresher.sampling.claims import Audit, Claim, Limits
from thresher.sampling.core_set import select_precision_core_set, select_recall_core_set
from thresher.sampling.counts import CountEstimate, Stratum, count_limits, estimate_count
from thresher.sampling.exact import select_exact
from thresher.sampling.interval_audit import audit_count, audit_mean
from thresher.sampling.joint import select_joint
from thresher.sampling.labelling import (
    CascadeTest,
    ClassSource,
    ClassStep,
    CountedClasses,
    Labelling,
    OutOfClassesError,
)
from thresher.sampling.labels import CountedLabels, LabelSource, OutOfLabelsError, Unanswered
from thresher.sampling.limits import excludable_rows, required_labels
from thresher.sampling.measures import (
    AggregateEstimate,
    Column,
    ErrorTarget,
    Measure,
    MeasureEstimate,
    ValueStep,
)
from thresher.sampling.normality import (
    select_joint_normal,
    select_precision_normal,
    select_recall_normal,
)
from thresher.sampling.precision import select_precision
from thresher.sampling.proxy_quality import (
    select_precision_proxy_quality,
    select_recall_proxy_quality,
)
from thresher.sampling.recall import select_recall
from thresher.sampling.selection import Grade, Selection, Step, Test
from thresher.sampling.sufficient import LabelForecast, sufficient_labels
from thresher.sampling.unanswered import bear
from thresher.sampling.values import CountedValues, ValueSource
from thresher.sampling.walking import Walk
from thresher.sampling.within import (
    CountedDistances,
    DistanceSource,
    embedding_distance,
    select_within,
)

__all__ = [
    "AggregateEstimate",
    "Agreement",
    "Audit",
    "CascadeTest",
    "Claim",
    "ClassSource",
    "ClassStep",
    "Column",
    "CountEstimate",
    "CountedClasses",
    "CountedDistances",
    "CountedLabels",
    "CountedValues",
    "DistanceSource",
    "ErrorTarget",
    "Grade",
    "LabelForecast",
    "LabelSource",
    "Labelling",
    "Limits",
    "Measure",
    "MeasureEstimate",
    "OutOfClassesError",
    "OutOfLabelsError",
    "Selection",
    "Step",
    "Stratum",
    "Test",
    "Unanswered",
    "ValueSource",
    "ValueStep",
    "Walk",
    "audit_count",
    "audit_mean",
    "audit_selection",
    "bear",
    "count_limits",
    "embedding_distance",
    "estimate_aggregates",
    "estimate_aggregates_normal",
    "estimate_count",
    "excludable_rows",
    "human_agreement",
    "human_mean",
    "required_labels",
    "select_accuracy",
    "select_exact",
    "select_joint",
    "select_joint_normal",
    "select_precision",
    "select_precision_core_set",
    "select_precision_normal",
    "select_precision_proxy_quality",
    "select_recall",
    "select_recall_calibrated",
    "select_recall_core_set",
    "select_recall_normal",
    "select_recall_proxy_quality",
    "select_within",
    "sufficient_labels",
]
