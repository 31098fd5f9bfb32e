"""What can be measured: kinds of question, and for each kind the methods that answer it.

The harness knows a method by the protocol `Method` alone. A new kind is a line in `KINDS`; a new
method is a value in `METHODS`. A method runs once on a data set and judges its own answer by the
whole truth, so the harness need not know what an answer looks like.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks import ours, peers
from benchmarks.judging import Method

# Raise it when trials are judged or seeded in another way: older trials are then run again.
REVISION = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of question, and the figure by which answers that hold are compared."""

    name: str
    heading: str
    figure: str
    fewer_is_better: bool = False
    share: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("recall", "Recall target", "precision of the answer"),
        Kind("precision", "Precision target", "recall of the answer"),
        Kind(
            "both",
            "Recall and precision target, no limit",
            "labels bought",
            fewer_is_better=True,
            share=False,
        ),
        Kind(
            "both-limited",
            "Recall and precision target, labels limited",
            "precision of the answer",
        ),
        Kind(
            "count",
            "COUNT",
            "width of the interval over the count",
            fewer_is_better=True,
        ),
        Kind(
            "accuracy",
            "Accuracy target, no limit",
            "labels bought",
            fewer_is_better=True,
            share=False,
        ),
        Kind("audit", "Audit of an answer", "width of the recall interval", fewer_is_better=True),
        Kind("sum", "SUM", "width of the interval over the sum", fewer_is_better=True),
        Kind("mean", "AVG", "width of the interval over the mean", fewer_is_better=True),
    )
}

METHODS: dict[tuple[str, str], Method] = {
    (one.kind, one.name): one for one in (*ours.entries(), *peers.entries())
}


def is_better(kind: str, one: float, other: float) -> bool:
    """Whether one figure is better than the other, both rounded as they are shown."""
    one, other = shown(kind, one), shown(kind, other)
    if math.isnan(one) or math.isnan(other):
        return False
    return one < other if KINDS[kind].fewer_is_better else one > other


def shown(kind: str, figure: float) -> float:
    """Round a figure as tables show it."""
    return round(figure, 3) if KINDS[kind].share else round(figure)
