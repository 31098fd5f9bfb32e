"""The certificate of a run: what was done, with everything that all kinds of answers share."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.certificate import Bounds, Certificate, Interval, OutputReport, StageReport
from thresher.label_log import KNOWN, SAME_INPUT, LabelledStep, log_sha256, make_log
from thresher.recounts import FACTS, NO_ANSWER
from thresher.run_identity import VERSION
from thresher.running import Running
from thresher.sampling import Grade, Step
from thresher.traces import ScoreTrace, Trace, trace_scores

__all__ = ["certify", "finite", "traced", "with_outputs"]

_SEVERAL = re.compile(r"\b(?:unnest|unlist|generate_subscripts)\s*\(", re.IGNORECASE)
_CLAUSES = re.compile(r"\b(?:GROUP BY|HAVING|QUALIFY|LIMIT|OFFSET|FETCH)\b")
_FIRST = re.compile(rf"(?!(?:{FACTS}|{NO_ANSWER})\b).*\[0\]", re.DOTALL)
_NOT_DRAWN = (KNOWN, SAME_INPUT, "fit", "probe")  # stages of rows that its scores did not choose
_DISTINCT = re.compile(r"SELECT\s+DISTINCT\b", re.IGNORECASE)


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

    Parameters
    ----------
    run : Running
        Says what was asked, and what it cost.
    grade, met, note, n_returned, algorithm, cut, bounds, tests, assumption, intervals
        Fields of `Certificate`.
    steps : sequence of Step
        Labels that were bought after those that proxies were fitted on; all there are where
        `logged` is given.
    duplicates : Step, optional
        Rows whose inputs equal labelled ones.
    logged : sequence of LabelledStep, optional
        The steps for the log, where labels are not the truth of a condition.
    known : ndarray of int8, shape (n_rows,), optional
        What was known before; None: what the population knows.

    Returns
    -------
    Certificate
    """
    steps = (*run.fit_steps, *steps) if logged is None else steps
    done = list(steps if logged is None else logged)
    facts = run.population.known if known is None else known
    log = make_log(facts, [*done, *([duplicates] if duplicates else [])])
    stages = [StageReport(s.stage, len(s.rows), int(np.count_nonzero(s.answers))) for s in steps]
    return Certificate(
        grade=grade,
        met=met,
        note=note,
        n_returned=n_returned,
        answer=_answer(run, n_returned),
        cut=cut,
        bounds=bounds or Bounds(),
        algorithm=algorithm,
        tests=tests,
        stages=tuple(stages),
        labels_sha256=log_sha256(log),
        log=log,
        assumption=assumption,
        intervals=intervals,
        session=None if grade == "exact" else run.env.share,
        **_asked(run),
        **_spent(run),
    )


def _asked(run: Running) -> dict[str, Any]:
    """Return the fields that say what was asked, of which rows, and of whom."""
    return {
        "sql": run.query.sql,
        "canonical": run.query.canonical,
        "targets": run.targets,
        "n_rows": run.population.n_rows,
        "understood": run.query.understood,
        "proxies": run.reports,
        "seed": run.seed,
        "oracles": {name: bound.version for name, bound in run.env.oracles.items()},
        "versions": {
            "thresher": VERSION,
            "duckdb": duckdb.__version__,
            "numpy": np.__version__,
        },
    }


def _spent(run: Running) -> dict[str, Any]:
    """Return the fields that say what a run has cost by now."""
    return {
        "n_labels": run.labeller.n_labels,
        "n_reused": run.labeller.n_reused + run.n_facts,
        "cost_usd": run.labeller.cost_usd,
        "n_tokens": run.labeller.n_tokens,
        "n_requests": run.labeller.n_requests if _differ(run) else None,
        "n_unused": run.labeller.n_unused,
        "proxy_cost": run.labeller.scores.report(),
        "budget": None if run.env.budget is None else run.env.budget.text(),
        "elapsed_s": time.perf_counter() - run.began,
    }


def _differ(run: Running) -> bool:
    """Whether the labels took another number of requests than there are of them."""
    return run.labeller.n_requests != run.labeller.n_labels


def _answer(run: Running, n_selected: int) -> str | None:
    """Say what comes back of the rows selected, None where it is every one of them."""
    answer = run.query.answer
    if run.query.estimation is not None:
        return None
    cuts, made = _CLAUSES.findall(answer.limit.upper()), _CLAUSES.findall(answer.grouping.upper())
    if _DISTINCT.match(answer.select):
        made.insert(0, "DISTINCT")
    elif not made and (answer.aggregates or not run.population.answering.one_to_one):
        made = ["aggregates"] if answer.aggregates else ["a macro"]
    elif not made and _SEVERAL.search(answer.select):
        made = ["unnest"]
    if made:
        words = [*made, *cuts]
        listed = " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
        plural = len(words) > 1 or words == ["aggregates"]
        return f"{listed} {'make' if plural else 'makes'} the answer of them"
    if not cuts:
        return None
    after = f"back after {' and '.join(cuts)}"
    found = answer.row_limit
    if found is None:
        return f"some come {after}"
    left = max(0, n_selected - found.offset)
    left = left if found.count is None else min(left, found.count)
    return None if left == n_selected else f"{left:,} come{'s' if left == 1 else ''} {after}"


def with_outputs(
    run: Running, certificate: Certificate, outputs: tuple[OutputReport, ...]
) -> Certificate:
    """Return the certificate of a run once its rows were given what they show."""
    return replace(certificate, outputs=outputs, **_spent(run))


def traced(run: Running, certificate: Certificate) -> Certificate:
    """Return the certificate of a run with what pictures of it need."""
    scores = None if certificate.log is None else _scores(run, certificate.log)
    return replace(certificate, trace=Trace(scores, run.spending.points))


def _scores(run: Running, log: pa.Table) -> ScoreTrace | None:
    """Put the scores of a run, and the labels of the rows that they chose, into bins."""
    kind = run.targets.kind
    scores = run.sureness if kind == "accuracy" else run.used
    if scores is None:
        return None
    stages = log.column("stage").combine_chunks().dictionary_encode()
    names, codes = stages.dictionary.to_pylist(), np.asarray(stages.indices)
    answered = np.asarray(log.column("truth").is_valid())
    truth = np.asarray(log.column("truth").fill_null(False))
    counts = np.asarray(log.column("value").is_valid())
    # Values stand there once for each column; a row that does not count in one has no value.
    first = [kind == "estimate" and _FIRST.fullmatch(name) is not None for name in names]
    values = np.array(first, dtype=np.bool_)[codes] & ~answered
    drawn = np.array([name not in _NOT_DRAWN for name in names], dtype=np.bool_)[codes]
    rows = np.asarray(log.column("row"), dtype=np.int64)
    positive, shown = np.where(values, counts, truth), values | answered
    labelled = (
        (rows[at], positive[at], new)
        for at, new in ((shown & drawn, True), (shown & ~drawn, False))
    )
    of = {"accuracy": "agrees", "estimate": "counts"}.get(kind, "positive")
    return trace_scores(scores, labelled, of)


def finite(value: float | None) -> float | None:
    """Return the value, None where it is not a finite number."""
    return None if value is None or not math.isfinite(value) else float(value)
