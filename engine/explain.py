"""What EXPLAIN prints: how a statement is read, planned and forecast; with ANALYZE what it took."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import rankdata

from thresher.catalog import ProxyEntry
from thresher.forecasting import Outlook
from thresher.plan import Composed, Explain, OracleCall, SelectionQuery
from thresher.run import Answered
from thresher.settings import Settings
from thresher.targets import QueryKind, Targets

__all__ = ["Explanation", "Node", "ProxyQuality", "ScoreBin", "most_labels", "plan_of", "written"]

_BINS = 5
_METHODS: dict[QueryKind, str] = {
    "exact": "every candidate is labelled that is not decided without",
    "rows": "candidates are labelled in growing batches until so many are found",
    "recall": "a pilot plans; one uniform sample sets the cut (T1), or a census of the best rows "
    "and a sample below it (T2)",
    "precision": "a prefix of the ranking certified by a sample (T4), a second look, rows verified "
    "one by one below it",
    "joint": "looks at growing samples set the cut for recall (T3), rows between are verified, a "
    "sample certifies the head (T4)",
    "accuracy": "the rows with the least sure scores are labelled, the rest is tested (D1-D4)",
    "estimate": "weighted draws from strata of the scores, limits by inverted tests and bets",
}
_SPLITS: dict[QueryKind, str] = {
    "recall": "one test",
    "precision": "the first look .7 of it, the second .3",
    "joint": "recall's looks .75 to .92 of it as the plan chooses, precision's head the rest",
    "accuracy": "one test, or shared among looks where the labels may stop",
    "estimate": "shared equally among all limits of the statement",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a plan, with the steps that it needs."""

    step: str
    text: str
    needs: tuple[Node, ...] = ()

    def lines(self) -> Iterator[str]:
        """Draw the tree."""
        yield f"{self.step}: {self.text}"
        for i, node in enumerate(self.needs):
            last = i == len(self.needs) - 1
            for k, line in enumerate(node.lines()):
                lead = ("└─ " if last else "├─ ") if k == 0 else ("   " if last else "│  ")
                yield lead + line

    def to_dict(self) -> dict[str, object]:
        """Return the tree as plain values."""
        return {
            "step": self.step,
            "text": self.text,
            "needs": [node.to_dict() for node in self.needs],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say of one query block.

    Parameters
    ----------
    query : SelectionQuery
        The block.
    plan : Node
        How it will be answered.
    outlook : Outlook or None
        What is known before it runs; None where it hangs on blocks before it.
    answered : Answered or None
        What it gave; None without ANALYZE.
    """

    query: SelectionQuery
    plan: Node
    outlook: Outlook | None
    answered: Answered | None = None

    def lines(self) -> list[str]:
        """Return it as text."""
        found = [("query", self.query.canonical)]
        found += [("understood", note) for note in self.query.understood]
        found += [("plan" if i == 0 else "", line) for i, line in enumerate(self.plan.lines())]
        if self.outlook is not None:
            found += self.outlook.lines()
        elif self.answered is None:
            found.append(("rows", "known once the blocks before are answered"))
        lines = [f"{name:<11}{text}" for name, text in found]
        if self.answered is not None:
            lines += str(self.answered.certificate).splitlines()
            lines += [f"{name:<13}{text}" for name, text in self._measured()]
        return lines

    def _measured(self) -> list[tuple[str, str]]:
        """Say how long each stage took, and how well the scores told the labels."""
        if self.answered is None:
            return []
        times = ", ".join(f"{name} {s:.3g} s" for name, s in self.answered.seconds.items())
        found = [("time", times)]
        if (quality := quality_of(self.answered)) is not None:
            found.append(
                ("proxy AUC", f"{quality.auc:.3f} over {quality.n_labels:,} labelled rows")
            )
            bins = ", ".join(
                f"{b.low:.2g} to {b.high:.2g}: {b.n_positive:,} of {b.n_rows:,}"
                for b in quality.bins
            )
            found.append(("calibration", f"positive by score, {bins}"))
        return found

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        found: dict[str, object] = {
            "query": self.query.canonical,
            "understood": list(self.query.understood),
            "plan": self.plan.to_dict(),
            "outlook": None if self.outlook is None else self.outlook.to_dict(),
        }
        if self.answered is not None:
            quality = quality_of(self.answered)
            found["certificate"] = self.answered.certificate.to_dict()
            found["seconds"] = dict(self.answered.seconds)
            found["proxy"] = None if quality is None else asdict(quality)
        return found


def written(statement: Explain, explained: Sequence[Explanation]) -> list[str]:
    """Return the lines of EXPLAIN for a statement whose parts are explained."""
    asked = statement.query
    blocks = asked.blocks if isinstance(asked, Composed) else ()
    then = asked.outer if isinstance(asked, Composed) and isinstance(asked.outer, str) else None
    if statement.as_json:
        found: dict[str, object] = {"blocks": [one.to_dict() for one in explained]}
        found |= {"then": then} if then is not None else {}
        return [json.dumps(found, indent=2, allow_nan=False)]
    lines: list[str] = []
    for i, one in enumerate(explained):
        if blocks:
            named = f"into {blocks[i].name}" if i < len(blocks) else "the statement round it"
            lines.append(f"block {i + 1}, {named}")
        lines += one.lines()
    return lines if then is None else [*lines, f"{'then':<11}{then}"]


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Labelled rows with scores in [low, high]."""

    low: float
    high: float
    n_rows: int
    n_positive: int


@dataclass(frozen=True, slots=True)
class ProxyQuality:
    """How well scores told the labels of a run: area under the ROC curve, and calibration.

    The labelled rows are not a uniform sample: the run chose most of them by their scores.
    """

    auc: float
    n_labels: int
    bins: tuple[ScoreBin, ...]


def quality_of(answered: Answered) -> ProxyQuality | None:
    """Hold the scores of a run against its labels; None where there is nothing to tell."""
    log = answered.certificate.log
    if log is None or answered.scores is None or log.column("truth").null_count:
        return None
    truth = np.asarray(log.column("truth"), dtype=np.bool_)
    scores = np.asarray(answered.scores, dtype=np.float64)
    if truth.all() or not truth.any() or np.isnan(scores).any():
        return None
    ranks = rankdata(scores)
    n_positive = int(truth.sum())
    over = float(ranks[truth].sum()) - n_positive * (n_positive + 1) / 2
    order = np.argsort(scores, kind="stable")
    bins = tuple(
        ScoreBin(float(scores[part[0]]), float(scores[part[-1]]), len(part), int(truth[part].sum()))
        for part in np.array_split(order, min(_BINS, len(order)))
    )
    return ProxyQuality(over / (n_positive * (len(truth) - n_positive)), len(truth), bins)


def plan_of(
    query: SelectionQuery, targets: Targets, entries: Sequence[ProxyEntry], settings: Settings
) -> Node:
    """Return how a block will be answered, as a tree.

    Parameters
    ----------
    query : SelectionQuery
        The block.
    targets : Targets
        Its targets, with the failure probability it may spend.
    entries : sequence of ProxyEntry
        Declared proxies that it may use.
    settings : Settings
        Of the session.
    """
    kind = targets.kind
    promise = "exact"
    if kind == "rows":
        promise = str(targets)
    elif kind != "exact":
        promise = f"{targets}, probability {1 - targets.delta:.6g}"
        if query.tail.assuming is not None:
            promise += f", assuming {query.tail.assuming}"
    candidates = Node("candidates", _candidates(query))
    needs = [candidates]
    if kind == "rows":
        needs[:0] = [Node("method", _METHODS[kind]), Node("order", _search(query, entries))]
    elif kind != "exact":
        needs.insert(0, Node("score", _score(query, entries)))
        method = _METHODS[kind]
        if query.tail.assuming is not None:
            method = f"that of ASSUMING {query.tail.assuming.name}"
        needs.insert(0, Node("method", method))
        needs.insert(1, Node("delta", f"{targets.delta:.4g}: {_SPLITS[kind]}"))
    calls = tuple(Node("ask", _call(call)) for call in query.calls)
    if calls:
        needs.insert(-1, Node("labels", _labels(query, targets, settings), calls))
    step = {"estimate": "estimates", "accuracy": "labels of all rows"}.get(kind, "rows")
    where = f" WHERE {_predicate(query)}" if calls else ", no oracle decides on them"
    decided = Node(step, f"{promise}{where}", tuple(needs))
    return Node("answer", _answer(query), (*_shown(query), decided))


def _answer(query: SelectionQuery) -> str:
    """Write what is done with the rows."""
    if (estimation := query.estimation) is not None:
        names = ", ".join(aggregate.name for aggregate in estimation.aggregates)
        groups = ", ".join(sql for _, sql in estimation.groups)
        return f"{names} with limits{f' by {groups}' if groups else ''}"
    answer = query.answer
    written = re.sub(r"\*\s*EXCLUDE \(__thresher[^)]*\)", "*", answer.select)
    parts = [written, answer.grouping, answer.order, answer.limit]
    text = " ".join(part for part in parts if part)
    outputs = query.outputs
    if outputs is None:
        return text
    columns = dict(zip(outputs.columns, map(_called, outputs.calls), strict=True))
    return re.sub(r"__thresher_rl\d+", lambda found: columns[found[0]], text)


def _shown(query: SelectionQuery) -> tuple[Node, ...]:
    """Say for which rows the calls outside WHERE are asked."""
    if query.outputs is None:
        return ()
    return tuple(
        Node("show", f"{_call(call)}, of each row {'that LIMIT leaves' if late else 'returned'}")
        for call, late in zip(query.outputs.calls, query.outputs.late, strict=True)
    )


def _search(query: SelectionQuery, entries: Sequence[ProxyEntry]) -> str:
    """Say in which order rows are looked for where LIMIT says how many are enough."""
    if query.sought is None:
        raise TypeError("a query without LIMIT seeks no number of rows")
    target = query.sought.target
    order = f"the best first by {_score(query, entries)}"
    if target.ordered:
        order = "that of the statement"
    if target.gap is None:
        return order
    place = query.sought.gap_on or "the number of the row"
    return f"{order}; none nearer than {target.gap:g} in {place} to one found"


def _candidates(query: SelectionQuery) -> str:
    relations = []
    for before, leaf in zip(query.from_sql, query.leaves, strict=False):
        plain = leaf.relation if leaf.relation == leaf.alias else f"{leaf.relation} AS {leaf.alias}"
        relations += [before, plain]
    written = " ".join(piece for piece in [*relations, query.from_sql[-1]] if piece)
    return f"FROM {written}" + (f" WHERE {query.plain}" if query.plain else "")


def _predicate(query: SelectionQuery) -> str:
    """Write the formula as the user did."""
    written = query.formula
    columns = {call.value: _called(call) for call in query.calls} | {
        column: f"({sql})" for column, sql in query.parts
    }
    return re.sub(r"__thresher_[op]\d+", lambda found: columns.get(found[0], found[0]), written)


def _called(call: OracleCall) -> str:
    arguments = [re.sub(r"^CAST\(\((.*)\) AS [^()]*(\(.*\))?\)$", r"\1", a) for a in call.arguments]
    return f"{call.oracle}({', '.join(arguments)})"


def _call(call: OracleCall) -> str:
    return f"{_called(call)} -> {call.returns}"


def _score(query: SelectionQuery, entries: Sequence[ProxyEntry]) -> str:
    if query.proxies:
        return ", ".join(term.text for term in query.proxies)
    fitted = dict.fromkeys([*(entry.name for entry in entries), "tfidf"])
    return f"the best, after the first labels, of {', '.join(fitted)}"


def _labels(query: SelectionQuery, targets: Targets, settings: Settings) -> str:
    """Say what the query may spend at most."""
    tail, cap = query.tail, settings.count("oracle_limit")
    budgets = "".join(f", {amount:g} {unit}" for amount, unit in tail.budget)
    if tail.oracle_limit is not None:
        return f"at most {tail.oracle_limit:,} (ORACLE LIMIT){budgets}"
    most = most_labels(query, targets, settings)
    if most < cap:
        return f"at most {most:,} (thresher_default_budget){budgets}"
    few = "one for every candidate" if targets.kind == "exact" else "as few as it takes"
    return f"{few}, at most {cap:,} (thresher_oracle_limit){budgets}"


def most_labels(query: SelectionQuery, targets: Targets, settings: Settings) -> int:
    """Return how many labels a query may buy at most."""
    cap = settings.count("oracle_limit")
    if query.tail.oracle_limit is not None:
        return min(query.tail.oracle_limit, cap)
    if targets.kind in ("recall", "precision"):
        return min(settings.count("default_budget"), cap)
    return cap
