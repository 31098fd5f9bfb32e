"""How a query block will be answered, as a tree that people read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thresher.catalog import ProxyEntry
from thresher.outlook import HARD_SPACE, Outlook
from thresher.permits import stops_anywhere
from thresher.plan import OracleCall, SelectionQuery
from thresher.sampling.levels import (
    Level,
    core_set_levels,
    estimate_levels,
    labelling_levels,
    selection_levels,
)
from thresher.settings import Settings
from thresher.sql.nesting import BLOCK_PREFIX
from thresher.targets import QueryKind, Targets

__all__ = ["Node", "levels_of", "most_labels", "named", "plan_of", "wrapped"]

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
    "estimate": "weighted draws, limits by bets that hold wherever the draws stop",
}
_COUNTS = "uniform samples from strata of the scores, exact limits by inverted tests"
_BLOCK = re.compile(rf"(?:SELECT \* FROM )?{BLOCK_PREFIX}(\d+)\b")
_MOST_LEVELS = 4  # more are only counted
_LEAST_WIDE = 24  # columns for text, however deep the tree


def named(text: str) -> str:
    """Call the tables of inner blocks what people may call them.

    Examples
    --------
    >>> named("WITH a AS (SELECT * FROM __thresher_b0) SELECT x FROM a")
    'WITH a AS (block 1) SELECT x FROM a'
    """
    return _BLOCK.sub(lambda found: f"block {int(found[1]) + 1}", text)


def wrapped(text: str, width: int) -> list[str]:
    """Return lines of at most so many columns, broken between words only; at least one."""
    lines = textwrap.wrap(
        text, max(width, _LEAST_WIDE), break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(HARD_SPACE, " ") for line in lines] or [""]


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a plan, with the steps that it needs."""

    step: str
    text: str
    needs: tuple[Node, ...] = ()

    def lines(self, width: int) -> Iterator[str]:
        """Draw the tree in so many columns."""
        first, *more = wrapped(f"{self.step}: {named(self.text)}", width)
        yield first
        for line in more:
            yield ("│   " if self.needs else "    ") + line
        for i, node in enumerate(self.needs):
            last = i == len(self.needs) - 1
            for k, line in enumerate(node.lines(width - 3)):
                lead = ("└─ " if last else "├─ ") if k == 0 else ("   " if last else "│  ")
                yield lead + line

    def to_dict(self) -> dict[str, object]:
        """Return the tree as plain values."""
        return {
            "step": self.step,
            "text": named(self.text),
            "needs": [node.to_dict() for node in self.needs],
        }


def plan_of(
    query: SelectionQuery,
    targets: Targets,
    entries: Sequence[ProxyEntry],
    settings: Settings,
    outlook: Outlook | None = None,
    share: str | None = None,
    left: str | None = None,
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
    outlook : Outlook, optional
        What is known before it runs.
    share : str, optional
        How the failure probability was taken from a larger one.
    left : str, optional
        What is left of the session's budget.
    """
    kind = targets.kind
    promise = "exact"
    if kind == "rows":
        promise = str(targets)
    elif kind != "exact":
        promise = f"{targets}, probability {1 - targets.delta:.6g}"
        if query.tail.assuming is not None:
            promise += f", assuming {query.tail.assuming}"
    needs = _needs(query, targets, entries, settings, outlook, share)
    calls = tuple(Node("ask", _call(call)) for call in query.calls)
    if calls:
        needs.append(Node("labels", _labels(query, targets, settings), calls))
        needs += [Node("budget", left)] if left else []
    needs.append(Node("candidates", _candidates(query)))
    step = {"estimate": "estimates", "accuracy": "labels of all rows"}.get(kind, "rows")
    predicate = _predicate(query)
    where = "" if predicate.upper() == "TRUE" else f" WHERE {predicate}"
    if query.labelled is not None:
        where = f", by {_called(query.calls[query.labelled.call])}"
    decided = Node(
        step,
        f"{promise}{where}" if calls else f"{promise}, all candidates, chosen without a label",
        tuple(needs),
    )
    return Node("answer", _answer(query), (*_shown(query), decided))


def _needs(
    query: SelectionQuery,
    targets: Targets,
    entries: Sequence[ProxyEntry],
    settings: Settings,
    outlook: Outlook | None,
    share: str | None,
) -> list[Node]:
    """Return the steps that say how rows are chosen, at what level, and by what score."""
    kind = targets.kind
    if kind == "exact":
        return []
    if kind == "rows":
        return [Node("method", _METHODS[kind]), Node("order", _search(query, entries))]
    if outlook is not None and outlook.exact:
        method = "every row that is not known is labelled: the limit allows it"
        return [Node("method", method), Node("delta", "nothing of it is spent: exact")]
    method = _METHODS[kind]
    if query.tail.assuming is not None:
        method = f"that of ASSUMING {query.tail.assuming.name}"
    elif kind == "estimate" and _counts(query, targets, settings):
        method = _COUNTS
    levels = levels_of(query, targets, settings, outlook)
    parts = tuple(Node(one.part, _sum(one.parts)) for one in levels if one.parts)
    spent = f"{targets.delta:.4g}"
    if levels:
        single = len(levels) == levels[0].count == 1
        spent += f": {levels[0].part}" if single else f" = {_sum(levels)}"
    delta = Node("delta", f"{spent}; {share}" if share else spent, parts)
    return [Node("method", method), delta, Node("score", _score(query, entries))]


def _sum(levels: Sequence[Level]) -> str:
    """Write levels as a sum; many alike are counted."""
    alike = {(one.delta, one.most) for one in levels}
    if len(levels) > _MOST_LEVELS and len(alike) == 1:
        return f"{sum(one.count for one in levels):,} x {levels[0].delta:.4g}"
    return " + ".join(str(one) for one in levels)


def levels_of(
    query: SelectionQuery, targets: Targets, settings: Settings, outlook: Outlook | None
) -> tuple[Level, ...]:
    """Return how a block splits its failure probability among its tests and intervals.

    Empty where nothing is spent, or where the split hangs on rows that are not known yet.
    """
    kind, delta, assuming = targets.kind, targets.delta, query.tail.assuming
    if kind in ("exact", "rows") or (outlook is not None and outlook.exact):
        return ()
    stops = stops_anywhere(query, targets, settings)
    if kind == "estimate":
        if query.estimation is None or outlook is None:
            return ()
        return estimate_levels(_estimated(query), outlook.n_groups, delta)
    if assuming is not None:
        counted = assuming.name == "CORE SET CLOSURE" and assuming.value is None
        if kind == "recall":
            return core_set_levels(delta, counted=counted)
        return (Level(kind, delta, delta),)
    if kind == "accuracy":
        if outlook is None:
            return ()
        return labelling_levels(delta, suffices=outlook.suffices, interruptible=stops)
    match kind:
        case "recall" | "precision" | "joint":
            return selection_levels(kind, delta, interruptible=stops)
    return ()


def _estimated(query: SelectionQuery) -> list[str]:
    """Names of the aggregates that a sample estimates."""
    if query.estimation is None:
        return []
    measured = query.estimation.measured
    return [
        one.name
        for one in query.estimation.aggregates
        if not all(
            measured[i].certain for i in (one.column, one.denominator) if i is not None
        )
    ]  # fmt: skip


def _counts(query: SelectionQuery, targets: Targets, settings: Settings) -> bool:
    """Whether all that is estimated are counts of a sample whose size is fixed."""
    estimation = query.estimation
    stops = stops_anywhere(query, targets, settings)
    if estimation is None or stops or targets.error is not None:
        return False
    return all(one.kind == "count" for one in estimation.aggregates)


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
    if (labelled := query.labelled) is not None:
        guarded = rf"\(CASE WHEN NOT \(.*?\) THEN {labelled.column} END\)"
        return re.sub(guarded, lambda _: _called(query.calls[labelled.call]), text)
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
    kinds = {entry.provider for entry in entries}
    default = [] if "tfidf" in kinds else ["tfidf"]
    if len(entries) == 1 and entries[0].trained is not None and not default:
        return f"{entries[0].name}, trained when it was declared"
    fitted = dict.fromkeys([*(entry.name for entry in entries), *default])
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
