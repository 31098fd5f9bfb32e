"""How a certificate reads: the promise in words, one line, and the rows of its text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from thresher.reports import Interval, OutputReport, ProxyReport, StageReport, counted

if TYPE_CHECKING:
    from thresher.certificate import Certificate

__all__ = ["facts", "floored", "interval_name", "probability", "statement", "summary"]


def _estimated(**shares: float | None) -> list[str]:
    """Write the estimates that the labels allow: where none was drawn among the rows, none."""
    known = [f"{name} {share:.1%}" for name, share in shares.items() if share is not None]
    return [f"est. {', '.join(known)}"] if known else []


def floored(bound: float) -> str:
    """Write a lower bound as a percentage, never more than it is.

    Examples
    --------
    >>> floored(0.9), floored(0.94999), floored(0.57), floored(1.0)
    ('90.0%', '94.9%', '57.0%', '100.0%')
    """
    return f"{math.floor(round(1000 * bound, 6)) / 10:.1f}%"


def _bound(bound: float | None, estimate: float | None) -> str:
    certified = "not certified" if bound is None else f">= {floored(bound)}"
    return certified if estimate is None else f"{certified}, est. {estimate:.1%}"


def statement(certificate: Certificate) -> str:
    """Return the promise in words."""
    if certificate.targets.estimated:
        return _estimates_statement(certificate)
    chosen = "selected" if certificate.answer else "returned"
    rows = f"the {counted(certificate.n_returned, 'row')} {chosen}"
    if certificate.targets.kind == "rows":
        return _rows_statement(certificate)
    if certificate.grade == "exact":
        if not certificate.n_rows:
            return "There are no candidates: no row meets the conditions without an oracle."
        if certificate.algorithm == "plain":
            selected = f"Plain SQL selects the {counted(certificate.n_returned, 'row')}"
            return f"{selected}; oracles only give what they show, or their order."
        if certificate.targets.accuracy is not None:
            return f"Each of the {counted(certificate.n_rows, 'row')} has the oracle's own label."
        return f"Every candidate is labelled: {rows} are exactly the positive ones."
    if certificate.targets.kind == "exact":
        share = floored(certificate.bounds.recall or 0.0)
        return f"Surely {rows} are positive, and at least {share} of the positive ones."
    promises = []
    if certificate.bounds.recall is not None:
        share = floored(certificate.bounds.recall)
        promises.append(f"hold at least {share} of the positive rows (recall)")
    if certificate.bounds.precision is not None:
        share = floored(certificate.bounds.precision)
        promises.append(f"are at least {share} positive (precision)")
    if certificate.bounds.accuracy is not None:
        rows = f"the labels of the {counted(certificate.n_rows, 'row')}"
        share = floored(certificate.bounds.accuracy)
        promises.append(f"agree with the oracle on at least {share} of them (accuracy)")
    if not promises:
        return f"Nothing is certified of {rows}."
    return f"{_sure(certificate)}, {rows} {' and '.join(promises)}; {_resting_on(certificate)}."


def _sure(certificate: Certificate) -> str:
    about = "about " if certificate.grade == "asymptotic" else "at least "
    percentage = f"{(100 * probability(certificate.delta)).normalize():f}"
    return f"With probability {about}{percentage}{'' if '.' in percentage else '.0'}%"


def probability(delta: float) -> Decimal:
    """Return 1 - delta without what lies beyond three digits of delta, which is rounded up.

    Parameters
    ----------
    delta : float
        In (0, 1).

    Examples
    --------
    >>> [str(probability(delta)) for delta in (0.05, 0.00001, 0.05 / 3)]
    ['0.95', '0.99999', '0.9833']
    """
    failing = Decimal(repr(float(delta)))
    failing = failing.quantize(Decimal(1).scaleb(failing.adjusted() - 2), ROUND_CEILING)
    return (1 - failing).normalize()


def _resting_on(certificate: Certificate) -> str:
    if certificate.assumption is None:
        return "nothing is assumed of the proxy"
    text = f"this assumes that {certificate.assumption}"
    if certificate.grade == "asymptotic":
        text += ", and is no finite-sample guarantee: with few labels it may fail more often"
    if certificate.bounds.free_recall is not None:
        text += f" (without it, recall is at least {floored(certificate.bounds.free_recall)})"
    return text


def _rows_statement(certificate: Certificate) -> str:
    target, sought = certificate.targets.rows, f"{certificate.n_returned:,} positive rows"
    if target is None:
        raise TypeError("a target of rows is missing")
    found = f"{counted(certificate.n_returned, 'row')} found, each known to be positive"
    if target.gap is not None:
        found += f", any two at least {target.gap:g} apart"
    if not certificate.met:
        return f"{found}; the search ended before row {target.count:,}."
    if certificate.n_returned < target.count:
        more = "that far from all of them" if target.gap is not None else "in the population"
        return f"{found}; there is no other positive row {more}."
    if target.ordered:
        apart = "" if target.gap is None else " that lie so far apart, taken one by one"
        return f"{found}: the first {sought} in the order of the statement{apart}."
    return f"{found}; LIMIT asks for no more, and there may be others."


def _estimates_statement(certificate: Certificate) -> str:
    if certificate.grade == "exact":
        return "Every row that could change them is labelled: the aggregates are exact."
    n_estimates = len(certificate.intervals)
    limits = "limits hold" if n_estimates == 1 else "limits hold all together"
    return (
        f"{_sure(certificate)}, the {limits} for {counted(n_estimates, 'estimate')}; "
        f"{_resting_on(certificate)}."
    )


def summary(certificate: Certificate) -> str:
    """Return one line for a terminal."""
    if certificate.targets.kind == "rows":
        promise = f"{certificate.n_returned:,} of {certificate.targets}"
        promise = promise if certificate.met else f"NOT COMPLETE: {promise}"
    elif certificate.targets.kind == "exact":
        promise = (
            "exact" if certificate.grade == "exact" else "exact but for rows without an answer"
        )
    elif certificate.grade == "exact":
        promise = "exact"
    else:
        about = "about " if certificate.grade == "asymptotic" else ""
        promise = f"{certificate.targets} with probability {about}{probability(certificate.delta)}"
        promise = promise if certificate.met else f"NOT CERTIFIED: {promise}"
    parts = [
        promise,
        f"{certificate.n_returned:,} of {counted(certificate.n_rows, 'row')}"
        + (f" selected, {certificate.answer}" if certificate.answer else ""),
        f"{counted(certificate.n_labels, 'label')} bought, {certificate.n_reused:,} reused",
    ]
    if certificate.assumption is not None:
        parts.append(f"assuming {certificate.assumption}")
    if certificate.targets.estimated:
        estimates = counted(len(certificate.intervals), "estimate")
        parts[1] = f"{estimates} over {counted(certificate.n_rows, 'row')}"
    elif certificate.targets.accuracy is not None:
        parts += _estimated(accuracy=certificate.bounds.accuracy_estimate)
    elif certificate.grade != "exact":
        bounds = certificate.bounds
        parts += _estimated(recall=bounds.recall_estimate, precision=bounds.precision_estimate)
    if certificate.cost_usd:
        parts.append(f"${certificate.cost_usd:.4f}")
    if certificate.proxy_cost is not None and certificate.proxy_cost.cost_usd:
        parts.append(f"${certificate.proxy_cost.cost_usd:.4f} for proxy scores")
    return " | ".join([*parts, f"{certificate.elapsed_s:.1f} s", f"certificate {certificate.id}"])


def facts(certificate: Certificate) -> list[tuple[str, str]]:
    """Return the rows of the text and HTML forms: a name and a text each."""
    rows = [
        ("certificate", certificate.id),
        ("promise", certificate.statement),
        ("targets", f"{certificate.targets}, probability {probability(certificate.delta)}"),
        ("grade", certificate.grade),
        ("assumes", certificate.assumption or "nothing"),
        ("population", counted(certificate.n_rows, "row")),
        ("selected" if certificate.answer else "returned", _returned(certificate)),
        ("labels", _labels(certificate)),
        *(
            [("requests", f"{certificate.n_requests:,}")]
            if certificate.n_requests is not None
            else []
        ),
        *_bound_facts(certificate),
        ("algorithm", certificate.algorithm),
        ("stages", ", ".join(_stage_texts(certificate.stages))),
        ("proxies", ", ".join(_proxy_text(p) for p in certificate.proxies) or "none"),
        *[("trained", str(one)) for one in certificate.trained],
        *[("shown", _output_text(output)) for output in certificate.outputs],
        ("cost", _cost(certificate)),
        *([] if certificate.proxy_cost is None else [("proxy cost", str(certificate.proxy_cost))]),
        ("seed", str(certificate.seed)),
        ("oracles", ", ".join(f"{k} {v[:12]}" for k, v in certificate.oracles.items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in certificate.versions.items())),
    ]
    read = (("understood", sentence) for sentence in certificate.understood)
    more = (
        ("session", certificate.session),
        ("budget", certificate.budget),
        ("note", certificate.note),
        *read,
    )
    return [*rows, *((name, text) for name, text in more if text)]


def _labels(certificate: Certificate) -> str:
    n_unused = certificate.n_unused
    unused = f", {n_unused:,} of them in an unfinished batch" if n_unused else ""
    return f"{certificate.n_labels:,} bought, {certificate.n_reused:,} reused{unused}"


def _cost(certificate: Certificate) -> str:
    tokens = f", {counted(certificate.n_tokens, 'token')}" if certificate.n_tokens else ""
    return f"${certificate.cost_usd:.4f}{tokens}, {certificate.elapsed_s:.2f} s"


def _returned(certificate: Certificate) -> str:
    rows = counted(certificate.n_returned, "row")
    return f"{rows}; {certificate.answer}" if certificate.answer else rows


def _bound_facts(certificate: Certificate) -> list[tuple[str, str]]:
    """Rows of the text and HTML forms that say what holds of the answer."""
    bounds = certificate.bounds
    if certificate.algorithm == "plain":
        return []
    if certificate.targets.estimated:
        return [(f"  {interval_name(i)}", _interval_text(i)) for i in certificate.intervals[:20]]
    if certificate.targets.accuracy is not None:
        return [("accuracy", _bound(bounds.accuracy, bounds.accuracy_estimate))]
    facts = [
        ("recall", _bound(bounds.recall, bounds.recall_estimate)),
        ("precision", _bound(bounds.precision, bounds.precision_estimate)),
        ("cut", "none" if certificate.cut is None else f"proxy score {certificate.cut:.6g}"),
    ]
    if bounds.free_recall is not None:
        facts.insert(1, ("recall if not", _bound(bounds.free_recall, None)))
    return facts


def _stage_texts(stages: Sequence[StageReport]) -> list[str]:
    """Write positives and rows of each stage, those of its steps in a row together."""
    texts = []
    for stage, steps in itertools.groupby(stages, lambda s: s.stage):
        each = list(steps)
        n_positive, n_rows = sum(s.n_positive for s in each), sum(s.n_rows for s in each)
        more = f" in {len(each)} steps" if len(each) > 1 else ""
        texts.append(f"{stage} {n_positive:,}/{n_rows:,}{more}")
    return texts


def interval_name(interval: Interval) -> str:
    """Return the name of an estimate, with its group."""
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
