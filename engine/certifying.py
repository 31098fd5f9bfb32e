"""The certificate of a run: what was done, with everything that all kinds of answers share."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from thresher.certificate import Bounds, Certificate, Interval, OutputReport, StageReport
from thresher.label_log import LabelledStep, log_sha256, make_log
from thresher.running import VERSION, Running
from thresher.sampling import Grade, Step

__all__ = ["certify", "finite", "with_outputs"]


def certify(
    run: Running,
    *,
    grade: Grade,
    met: bool,
    note: str | None,
    n_returned: int,
    steps: Sequence[Step],
    algorithm: str,
    cut: float | None = None,
    bounds: Bounds | None = None,
    tests: tuple[Mapping[str, Any], ...] = (),
    assumption: str | None = None,
    intervals: tuple[Interval, ...] = (),
    duplicates: Step | None = None,
    logged: Sequence[LabelledStep] | None = None,
    known: npt.NDArray[np.int8] | None = None,
) -> Certificate:
    """Return the certificate of a run, with its label log.

    Most parameters are fields of `Certificate`. `steps` are the labels that were bought after those
    that proxies were fitted on; `duplicates` are rows whose inputs equal labelled ones. Where
    labels are not the truth of a condition, `logged` has the steps for the log, `steps` are all
    there are, and `known` is what was known before.
    """
    labeller, env = run.labeller, run.env
    steps = (*run.fit_steps, *steps) if logged is None else steps
    done = list(steps if logged is None else logged)
    facts = run.population.known if known is None else known
    log = make_log(facts, [*done, *([duplicates] if duplicates else [])])
    return Certificate(
        sql=run.query.sql,
        canonical=run.query.canonical,
        targets=run.targets,
        grade=grade,
        met=met,
        note=note,
        n_rows=run.population.n_rows,
        n_returned=n_returned,
        n_labels=labeller.n_labels,
        n_reused=labeller.n_reused + run.n_facts,
        cost_usd=labeller.cost_usd,
        elapsed_s=time.perf_counter() - run.began,
        cut=cut,
        bounds=bounds or Bounds(),
        algorithm=algorithm,
        tests=tests,
        stages=tuple(
            StageReport(s.stage, len(s.rows), int(np.count_nonzero(s.answers))) for s in steps
        ),
        proxies=run.reports,
        seed=run.seed,
        oracles={name: bound.version for name, bound in env.oracles.items()},
        versions={
            "thresher": VERSION,
            "duckdb": duckdb.__version__,
            "numpy": np.__version__,
        },
        labels_sha256=log_sha256(log),
        log=log,
        assumption=assumption,
        intervals=intervals,
        session=None if grade == "exact" else env.share,
    )


def with_outputs(
    run: Running, certificate: Certificate, outputs: tuple[OutputReport, ...]
) -> Certificate:
    """Return the certificate of a run once its rows were given what they show."""
    return replace(
        certificate,
        n_labels=run.labeller.n_labels,
        n_reused=run.labeller.n_reused + run.n_facts,
        cost_usd=run.labeller.cost_usd,
        elapsed_s=time.perf_counter() - run.began,
        outputs=outputs,
    )


def finite(value: float | None) -> float | None:
    """Return the value, None where it is not a finite number."""
    return None if value is None or not math.isfinite(value) else float(value)
