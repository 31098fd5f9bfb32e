"""The record of what an answer promises and what was done to keep the promise."""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from thresher.reports import (
    COSTS,
    Bounds,
    Interval,
    OutputReport,
    ProxyCost,
    ProxyReport,
    StageReport,
    TrainedReport,
    counted,
)
from thresher.targets import Targets

if TYPE_CHECKING:
    from thresher.verify import Verification

__all__ = ["Bounds", "Certificate", "Interval", "OutputReport", "ProxyReport", "StageReport"]

# Left out where they say nothing.
_SPARED = (
    "answer",
    "understood",
    "n_tokens",
    "n_requests",
    "n_unused",
    "proxy_cost",
    "budget",
    "trained",
)


def _percent(share: float | None) -> str:
    return "unknown" if share is None or math.isnan(share) else f"{share:.1%}"


def _bound(bound: float | None, estimate: float | None) -> str:
    certified = "not certified" if bound is None else f">= {_percent(bound)}"
    return f"{certified}, est. {_percent(estimate)}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one answer promises.

    Parameters
    ----------
    sql, canonical : str
        The statement as written, and in canonical form.
    targets : Targets
        What was asked for.
    grade : str
        ``exact``, or ``distribution-free``: finite-sample, nothing assumed of the proxy; the others
        rest on what `assumption` says.
    met : bool
        Whether every target is certified.
    note : str or None
        What the reader must know besides: a shortfall, a vacuous answer.
    n_rows, n_returned : int
        Rows of the population (those that satisfy the plain conditions), and rows selected of
        them, on which the SELECT list, GROUP BY and LIMIT then work: see `answer`.
    n_labels, n_reused : int
        Distinct inputs the oracle was asked in this query, and labels taken from the store.
    cost_usd, elapsed_s : float
        Price of the labels bought, and wall time in seconds.
    cut : float or None
        Lowest proxy score of a row that was returned unlabelled.
    bounds : Bounds
        Certified bounds and estimates.
    algorithm : str
        Which procedure made the decision.
    tests : tuple of mapping
        The exact tests on which the guarantee rests, with their integers.
    stages, proxies
        What was labelled when; which proxies were considered.
    seed : int
        Seed of the generator.
    oracles : mapping of str to str
        Version hash of each oracle.
    versions : mapping of str to str
        Versions of thresher, DuckDB and numpy.
    labels_sha256 : str
        Hash of the label log (`thresher.label_log.log_sha256`).
    assumption : str or None
        What the promise assumes, in words; None where it assumes nothing.
    intervals : tuple of Interval
        The estimates of an aggregate query; they hold together.
    session : str or None
        How the delta of this statement was taken from that of the session.
    outputs : tuple of OutputReport
        Answers that the rows returned show or are ordered by. Their labels are among `n_labels`;
        no promise rests on them, and the label log is without them.
    answer : str or None
        What comes back of the rows that were selected, where that is not all of them as they are:
        LIMIT cuts them, or GROUP BY makes other rows of them.
    understood : tuple of str
        How the statement was read: a sentence for each form of another system that it is written
        in, and for each setting that gives it a clause.
    n_tokens : int or None
        Tokens read and written for the labels bought; None where an oracle does not count them.
    n_requests : int or None
        Requests that were answered for these labels, where they are not as many: several rows may
        share one, and some had to be sent again.
    n_unused : int
        Labels among them that nothing rests on, and the log is without: people gave them for a
        batch that was not complete when the query stopped.
    proxy_cost : ProxyCost or None
        What proxy scores took, which is no part of `cost_usd` and `n_tokens`; None where no model
        was asked for one.
    budget : str or None
        What is left of the session's budget, where it has one.
    trained : tuple of TrainedReport
        Proxies that were trained before, and how they did on these rows.
    log : pyarrow.Table or None
        The label log, where it is at hand; it is no part of the certificate's text or identity.
    """

    sql: str
    canonical: str
    targets: Targets
    grade: str
    met: bool
    note: str | None
    n_rows: int
    n_returned: int
    n_labels: int
    n_reused: int
    cost_usd: float
    elapsed_s: float
    cut: float | None
    bounds: Bounds
    algorithm: str
    tests: tuple[Mapping[str, Any], ...]
    stages: tuple[StageReport, ...]
    proxies: tuple[ProxyReport, ...]
    seed: int
    oracles: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    labels_sha256: str = ""
    assumption: str | None = None
    intervals: tuple[Interval, ...] = ()
    session: str | None = None
    outputs: tuple[OutputReport, ...] = ()
    answer: str | None = None
    understood: tuple[str, ...] = ()
    n_tokens: int | None = None
    n_requests: int | None = None
    n_unused: int = 0
    proxy_cost: ProxyCost | None = None
    budget: str | None = None
    trained: tuple[TrainedReport, ...] = ()
    log: pa.Table | None = field(default=None, compare=False, repr=False)

    @property
    def delta(self) -> float:
        """Failure probability of the statement, in (0, 1)."""
        return self.targets.delta

    @property
    def id(self) -> str:
        """Short hash of everything but cost and time: equal for equal runs."""
        facts = {k: v for k, v in self._fields().items() if k not in COSTS}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def statement(self) -> str:
        """The promise in words."""
        if self.targets.estimated:
            return self._estimates_statement()
        rows = f"the {counted(self.n_returned, 'row')} {'selected' if self.answer else 'returned'}"
        if self.targets.kind == "rows":
            return self._rows_statement()
        if self.grade == "exact":
            if not self.n_rows:
                return "There are no candidates: no row meets the conditions without an oracle."
            if self.algorithm == "plain":
                selected = f"Plain SQL selects the {counted(self.n_returned, 'row')}"
                return f"{selected}; oracles only give what they show, or their order."
            if self.targets.accuracy is not None:
                return f"Each of the {counted(self.n_rows, 'row')} has the oracle's own label."
            return f"Every candidate is labelled: {rows} are exactly the positive ones."
        if self.targets.kind == "exact":
            share = _percent(self.bounds.recall)
            return f"Surely {rows} are positive, and at least {share} of the positive ones."
        promises = []
        if self.bounds.recall is not None:
            share = _percent(self.bounds.recall)
            promises.append(f"hold at least {share} of the positive rows (recall)")
        if self.bounds.precision is not None:
            share = _percent(self.bounds.precision)
            promises.append(f"are at least {share} positive (precision)")
        if self.bounds.accuracy is not None:
            rows = f"the labels of the {counted(self.n_rows, 'row')}"
            share = _percent(self.bounds.accuracy)
            promises.append(f"agree with the oracle on at least {share} of them (accuracy)")
        if not promises:
            return f"Nothing is certified of {rows}."
        return f"{self._sure}, {rows} {' and '.join(promises)}; {self._resting_on}."

    @property
    def _sure(self) -> str:
        about = "about " if self.grade == "asymptotic" else "at least "
        return f"With probability {about}{_percent(1 - self.delta)}"

    @property
    def _resting_on(self) -> str:
        if self.assumption is None:
            return "nothing is assumed of the proxy"
        text = f"this assumes that {self.assumption}"
        if self.grade == "asymptotic":
            text += ", and is no finite-sample guarantee: with few labels it may fail more often"
        if self.bounds.free_recall is not None:
            text += f" (without it, recall is at least {_percent(self.bounds.free_recall)})"
        return text

    def _rows_statement(self) -> str:
        target, sought = self.targets.rows, f"{self.n_returned:,} positive rows"
        if target is None:
            raise TypeError("a target of rows is missing")
        found = f"{counted(self.n_returned, 'row')} found, each known to be positive"
        if target.gap is not None:
            found += f", any two at least {target.gap:g} apart"
        if not self.met:
            return f"{found}; the search ended before row {target.count:,}."
        if self.n_returned < target.count:
            more = "that far from all of them" if target.gap is not None else "in the population"
            return f"{found}; there is no other positive row {more}."
        if target.ordered:
            apart = "" if target.gap is None else " that lie so far apart, taken one by one"
            return f"{found}: the first {sought} in the order of the statement{apart}."
        return f"{found}; LIMIT asks for no more, and there may be others."

    def _estimates_statement(self) -> str:
        if self.grade == "exact":
            return "Every row that could change them is labelled: the aggregates are exact."
        limits = "limits hold" if len(self.intervals) == 1 else "limits hold all together"
        return (
            f"{self._sure}, the {limits} for {counted(len(self.intervals), 'estimate')}; "
            f"{self._resting_on}."
        )

    @property
    def summary(self) -> str:
        """One line for a terminal."""
        if self.targets.kind == "rows":
            promise = f"{self.n_returned:,} of {self.targets}"
            promise = promise if self.met else f"NOT COMPLETE: {promise}"
        elif self.targets.kind == "exact":
            promise = "exact" if self.grade == "exact" else "exact but for rows without an answer"
        elif self.grade == "exact":
            promise = "exact"
        else:
            about = "about " if self.grade == "asymptotic" else ""
            promise = f"{self.targets} with probability {about}{1 - self.delta:.4g}"
            promise = promise if self.met else f"NOT CERTIFIED: {promise}"
        parts = [
            promise,
            f"{self.n_returned:,} of {counted(self.n_rows, 'row')}"
            + (f" selected, {self.answer}" if self.answer else ""),
            f"{counted(self.n_labels, 'label')} bought, {self.n_reused:,} reused",
        ]
        if self.assumption is not None:
            parts.append(f"assuming {self.assumption}")
        if self.targets.estimated:
            parts[1] = (
                f"{counted(len(self.intervals), 'estimate')} over {counted(self.n_rows, 'row')}"
            )
        elif self.targets.accuracy is not None:
            parts.append(f"est. accuracy {_percent(self.bounds.accuracy_estimate)}")
        elif self.grade != "exact":
            recall, precision = self.bounds.recall_estimate, self.bounds.precision_estimate
            parts.append(f"est. recall {_percent(recall)}, precision {_percent(precision)}")
        if self.cost_usd:
            parts.append(f"${self.cost_usd:.4f}")
        if self.proxy_cost is not None and self.proxy_cost.cost_usd:
            parts.append(f"${self.proxy_cost.cost_usd:.4f} for proxy scores")
        return " | ".join([*parts, f"{self.elapsed_s:.1f} s", f"certificate {self.id}"])

    def to_dict(self) -> dict[str, Any]:
        """Return every field and the derived ones as plain values."""
        derived = {"id": self.id, "statement": self.statement, "delta": self.delta}
        return {**derived, **self._fields()}

    def _fields(self) -> dict[str, Any]:
        """Every field but the log, as plain values; what few statements need only where it is."""
        fields = asdict(replace(self, log=None))
        spared = {"log", *(name for name in _SPARED if not fields[name])}
        return {name: value for name, value in fields.items() if name not in spared}

    def verify(self, log: pa.Table | None = None) -> Verification:
        """Derive every bound again from the label log alone.

        Parameters
        ----------
        log : pyarrow.Table, optional
            The label log (`thresher.label_log.LOG_SCHEMA`); None: the one that the certificate
            carries.

        Raises
        ------
        ValueError
            If there is no log.
        """
        from thresher.verify import verify  # scipy.stats takes a second to load

        log = self.log if log is None else log
        if log is None:
            raise ValueError(
                f"certificate {self.id} carries no label log. Give one: verify(log), with the "
                "log that the label store keeps for it."
            )
        return verify(self.to_dict(), log)

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON; NaN never occurs in it."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def _facts(self) -> list[tuple[str, str]]:
        """Rows of the text and HTML forms."""
        facts = [
            ("certificate", self.id),
            ("promise", self.statement),
            ("targets", f"{self.targets}, probability {1 - self.delta:.4g}"),
            ("grade", self.grade),
            ("assumes", self.assumption or "nothing"),
            ("population", counted(self.n_rows, "row")),
            ("selected" if self.answer else "returned", self._returned),
            ("labels", f"{self.n_labels:,} bought, {self.n_reused:,} reused{self._unused}"),
            *([("requests", f"{self.n_requests:,}")] if self.n_requests is not None else []),
            *self._bound_facts(),
            ("algorithm", self.algorithm),
            ("stages", ", ".join(_stage_texts(self.stages))),
            ("proxies", ", ".join(_proxy_text(p) for p in self.proxies) or "none"),
            *[("trained", str(one)) for one in self.trained],
            *[("shown", _output_text(output)) for output in self.outputs],
            ("cost", self._cost),
            *([] if self.proxy_cost is None else [("proxy cost", str(self.proxy_cost))]),
            ("seed", str(self.seed)),
            ("oracles", ", ".join(f"{k} {v[:12]}" for k, v in self.oracles.items())),
            ("versions", ", ".join(f"{k} {v}" for k, v in self.versions.items())),
        ]
        read = (("understood", sentence) for sentence in self.understood)
        more = (
            ("session", self.session), ("budget", self.budget), ("note", self.note), *read,
        )  # fmt: skip
        return [*facts, *((name, text) for name, text in more if text)]

    @property
    def _unused(self) -> str:
        return f", {self.n_unused:,} of them in an unfinished batch" if self.n_unused else ""

    @property
    def _cost(self) -> str:
        tokens = f", {counted(self.n_tokens, 'token')}" if self.n_tokens else ""
        return f"${self.cost_usd:.4f}{tokens}, {self.elapsed_s:.2f} s"

    @property
    def _returned(self) -> str:
        rows = counted(self.n_returned, "row")
        return f"{rows}; {self.answer}" if self.answer else rows

    def _bound_facts(self) -> list[tuple[str, str]]:
        """Rows of the text and HTML forms that say what holds of the answer."""
        bounds = self.bounds
        if self.algorithm == "plain":
            return []
        if self.targets.estimated:
            return [(f"  {_interval_name(i)}", _interval_text(i)) for i in self.intervals[:20]]
        if self.targets.accuracy is not None:
            return [("accuracy", _bound(bounds.accuracy, bounds.accuracy_estimate))]
        facts = [
            ("recall", _bound(bounds.recall, bounds.recall_estimate)),
            ("precision", _bound(bounds.precision, bounds.precision_estimate)),
            ("cut", "none" if self.cut is None else f"proxy score {self.cut:.6g}"),
        ]
        if bounds.free_recall is not None:
            facts.insert(1, ("recall if not", _bound(bounds.free_recall, None)))
        return facts

    def __str__(self) -> str:
        return "\n".join(f"{name:<12} {text}" for name, text in self._facts())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._facts()
        )
        return f"<table>{rows}</table>"


def _stage_texts(stages: Sequence[StageReport]) -> list[str]:
    """Write positives and rows of each stage, those of its steps in a row together."""
    texts = []
    for stage, steps in itertools.groupby(stages, lambda s: s.stage):
        each = list(steps)
        n_positive, n_rows = sum(s.n_positive for s in each), sum(s.n_rows for s in each)
        more = f" in {len(each)} steps" if len(each) > 1 else ""
        texts.append(f"{stage} {n_positive:,}/{n_rows:,}{more}")
    return texts


def _interval_name(interval: Interval) -> str:
    group = f" [{', '.join(interval.group)}]" if interval.group else ""
    return f"{interval.name}{group}"


def _interval_text(interval: Interval) -> str:
    if interval.estimate is None:
        return "no value"
    low = "-inf" if interval.low is None else f"{interval.low:.6g}"
    high = "inf" if interval.high is None else f"{interval.high:.6g}"
    beyond = "" if interval.beyond is None else f", at most {interval.beyond:.2%} beyond"
    return f"{interval.estimate:.6g} in [{low}, {high}]{beyond}"


def _proxy_text(proxy: ProxyReport) -> str:
    quality = "" if proxy.auc is None else f" (AUC {proxy.auc:.3f})"
    return f"{proxy.name}{quality}{'' if proxy.used else ' not used'}"


def _output_text(output: OutputReport) -> str:
    rows, labels = counted(output.n_rows, "row"), counted(output.n_labels, "label")
    return f"{output.call} of {rows}, {labels} bought"
