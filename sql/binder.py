"""One query block bound to the declared oracles: tokens in, `SelectionQuery` out."""

from __future__ import annotations

from thresher.plan import Answer, Estimation, Labelled, Outputs, ProxyTerm, SelectionQuery, Tail
from thresher.sql.aggregates import bind_estimation
from thresher.sql.aliases import without_aliases
from thresher.sql.blocks import Block, cut, query_at
from thresher.sql.checks import (
    check_aggregates,
    check_lambdas,
    check_row_ids,
    check_rows,
    check_sample,
)
from thresher.sql.clauses import (
    TailClauses,
    check_words,
    clause_name,
    find_clause,
    find_tail,
    parse_tail,
)
from thresher.sql.expressions import Node, parse_condition
from thresher.sql.formula import BOOLEANS, Formula, call_at, conjuncts
from thresher.sql.names import Names
from thresher.sql.outputs import OutputCalls, named
from thresher.sql.placing import check_calls, no_call
from thresher.sql.promises import check_outputs, check_promises
from thresher.sql.relations import ROW_PREFIX, parse_from
from thresher.sql.selections import first_aggregate, rewrite_answer
from thresher.sql.sought import bind_sought
from thresher.sql.tokens import Source

__all__ = ["bind_query"]


def bind_query(
    source: Source, first: int, names: Names, *, for_value: bool = False
) -> SelectionQuery:
    """Bind the query block that begins at a token.

    Parameters
    ----------
    source : Source
        The statement.
    first : int
        0, or the token after EXPLAIN.
    names : Names
        What is declared.
    for_value : bool
        Whether it stands where a value stands: its estimates then come without their limits.

    Raises
    ------
    ProgrammingError
        A clause, the condition or the use of an oracle is wrong.
    NotSupportedError
        It makes sense but cannot be answered yet.
    """
    return _Binder(source, first, names).query(for_value=for_value)


class _Binder:
    """The state of binding one block."""

    def __init__(self, source: Source, first: int, names: Names) -> None:
        self.source, self.first, self.names = source, first, names
        self.oracles = frozenset(name.lower() for name in names.oracle_names())
        self.calls = [
            i for i in range(first, len(source.tokens)) if call_at(source, i, self.oracles)
        ]
        self._read()
        if self._drop_schemas():
            self._read()
        leaves = self.relations.leaves
        tokens = without_aliases(self.source, self.block, leaves, self.calls, names)
        if tokens is not None:
            self.source = Source(source.sql, tokens)
            self._read()

    def _read(self) -> None:
        """Cut the statement and read FROM."""
        self._cut()
        self.relations = parse_from(self.source, *self.block.range("from"), self._cte_names())

    def _cut(self) -> None:
        """Take the clauses off and cut the rest into sections."""
        source, n = self.source, len(self.source.tokens)
        self.calls = [i for i in range(self.first, n) if call_at(source, i, self.oracles)]
        self.end = find_tail(source, self.first, n, ours=bool(self.calls))
        if source.mark(self.first, "(") or (nested := find_clause(source, self.first, self.end)):
            at = self.first if source.mark(self.first, "(") else nested or self.first
            raise source.refuse(
                f"{clause_name(source, at) or 'this statement'} inside brackets is not supported "
                "yet. Write the clauses at the end of the whole statement, without brackets.",
                at,
                at + 2,
            )
        self.block: Block = cut(source, self.first, self.end)
        self.clauses: TailClauses = parse_tail(source, self.end, n)

    def query(self, *, for_value: bool) -> SelectionQuery:
        source, block, leaves = self.source, self.block, tuple(self.relations.leaves)
        outputs = OutputCalls(source, block, self.output_calls)
        self._check_places()
        plain, held = self._condition()
        tail = self.clauses.tail()
        self._check_answer(outputs, tail, called=bool(held))
        formula = Formula(source, self.names)
        for node in held:
            formula.add(node)
        estimation = self._estimation(formula, tail, for_value=for_value)
        labelled = self._labelled(formula)
        shown, answer = None, Answer("")
        if not estimation:
            shown, answer = self._answer(labelled, formula, outputs)
        sought = bind_sought(
            source, block, self.clauses, answer,
            called=bool(held), by_answers=bool(outputs.ordering),
        )  # fmt: skip
        check_promises(source, self.clauses, tail, estimated=bool(estimation), sought=bool(sought))
        return SelectionQuery(
            sql=source.sql,
            canonical=self._canonical(tail),
            ctes=f"{source.text(*block.ctes)} " if block.ctes[0] < block.ctes[1] else "",
            leaves=leaves,
            from_sql=self._between(),
            plain=" AND ".join(plain) or None,
            formula=formula.sql if labelled is None else _label_formula(formula),
            parts=tuple((column, sql) for sql, column in formula.parts.items()),
            monotone=formula.monotone and labelled is None,
            calls=tuple(formula.calls),
            proxies=tuple(self._proxy(i, formula) for i in range(len(self.clauses.using))),
            tail=tail,
            answer=answer,
            estimation=estimation,
            labelled=labelled,
            outputs=shown,
            sought=sought,
        )

    def _estimation(self, formula: Formula, tail: Tail, *, for_value: bool) -> Estimation | None:
        """Bind the aggregates, if they are estimated; a value comes without its limits."""
        if not self.estimated:
            return None
        limits = not for_value and bool(tail.error or tail.oracle_limit or tail.budget)
        return bind_estimation(
            self.source, self.block, formula, self.names, limits=limits, error=tail.error
        )

    def _check_places(self) -> None:
        """Refuse what stands where it cannot."""
        source, block = self.source, self.block
        check_calls(source, block, self.calls, self.end, self._allowed)
        check_lambdas(source, self.calls)
        check_row_ids(source, block.ctes[1], self.end, self.relations, self.names)
        check_sample(source, block.ctes[1], self.end)
        check_rows(source, block, self.relations, self.clauses.using)
        ordered = [i for i in self.calls if i in range(*block.range("order"))]
        check_aggregates(source, block, self.clauses.using, ordered)
        for section in ("group", "having", "qualify", "order", "limit", "offset"):
            check_words(source, *block.range(section))

    def _answer(
        self, labelled: Labelled | None, formula: Formula, outputs: OutputCalls
    ) -> tuple[Outputs | None, Answer]:
        """Write the rest of the block, with columns in the places of its calls."""
        source, block, leaves = self.source, self.block, self.relations.leaves
        if self.output_calls:
            shown, swaps = outputs.bind(self.names, len(leaves))
            hidden = (*shown.rows, *shown.columns)
            swaps = named(source, block, swaps)
            return shown, rewrite_answer(source, block, leaves, swaps, hidden)
        if labelled is None:
            return None, rewrite_answer(source, block, leaves)
        arguments = formula.calls[0].arguments
        missing = " OR ".join(f"({sql}) IS NULL" for sql in arguments)
        label = f"(CASE WHEN NOT ({missing}) THEN {labelled.column} END)"
        swaps = named(source, block, {(i, source.skip(i + 1)): label for i in self.calls})
        hidden = (*labelled.rows, labelled.column)
        return None, rewrite_answer(source, block, leaves, swaps, hidden)

    @property
    def output_calls(self) -> list[int]:
        """The calls that rows which come back show, or are ordered by."""
        if self.labels_rows or self.estimated:
            return []
        ranges = [range(*self.block.range(section)) for section in self._allowed[1:]]
        return [i for i in self.calls if any(i in tokens for tokens in ranges)]

    @property
    def _allowed(self) -> tuple[str, ...]:
        """Sections in which calls may stand."""
        if self.estimated:
            return ("where", "select", "having")
        if self._target or self.labels_rows:
            return ("where", "select", "order")
        return ("where", "select", "group", "having", "qualify", "order")

    @property
    def _target(self) -> str:
        """The target that the rows meet, or an empty string."""
        targets = ("RECALL TARGET", "PRECISION TARGET")
        return next((name for name in targets if name in self.clauses.values), "")

    def _labelled(self, formula: Formula) -> Labelled | None:
        """Bind the call in the SELECT list that ACCURACY TARGET labels every row with."""
        source, (first, last) = self.source, self.block.range("select")
        calls = [i for i in self.calls if first <= i < last]
        if not self.labels_rows or not calls:
            return None
        before = len(formula.calls)
        for i in self.calls:
            node = parse_condition(
                source, i, source.skip(i + 1), lambda k: call_at(source, k, self.oracles)
            )
            formula.expression(node, value=True)
            if before or len(formula.calls) > 1:
                raise source.refuse(
                    "ACCURACY TARGET labels every row with one oracle: a second oracle call is "
                    "not supported. Keep the labelled rows in a table first.",
                    i,
                    source.skip(i + 1),
                )
        if self.block.range("select")[0] < last and first_aggregate(source, self.block) is not None:
            raise source.refuse(
                "an aggregate over labels with ACCURACY TARGET is not supported: write ERROR "
                "WITHIN for an estimate with limits, or keep the labelled rows in a table first.",
                calls[0],
            )
        rows = tuple(f"{ROW_PREFIX}k{k}" for k in range(len(self.relations.leaves)))
        call, prediction = formula.calls[0], None
        if call.returns.upper() not in BOOLEANS and len(self.clauses.using) == 2:
            prediction = source.text(*self.clauses.using.pop(0))
            prediction = f"CAST(({prediction}) AS {call.returns})"
        return Labelled(0, f"{ROW_PREFIX}l0", rows, prediction)

    @property
    def labels_rows(self) -> bool:
        """Whether a call in the SELECT list gives every row a label."""
        return "ACCURACY TARGET" in self.clauses.values

    @property
    def estimated(self) -> bool:
        """Whether the aggregates are estimated from a sample."""
        values = self.clauses.values
        if any(target in values for target in ("RECALL TARGET", "PRECISION TARGET")):
            return False
        if "ERROR WITHIN" in values:
            return True
        asked = any(clause in values for clause in ("ORACLE LIMIT", "BUDGET"))
        return asked and first_aggregate(self.source, self.block) is not None

    def _condition(self) -> tuple[list[str], list[Node]]:
        """Split WHERE into SQL free of oracle calls, and the conjuncts with calls."""
        source, (first, last) = self.source, self.block.range("where")
        selected = range(*self.block.range("select"))
        labelled = self.labels_rows and any(i in selected for i in self.calls)
        elsewhere = labelled or bool(self.output_calls) or (self.estimated and bool(self.calls))
        if first >= last:
            if elsewhere:
                return [], []
            raise no_call(self.source, self.block, self.names, self.end)
        node = parse_condition(source, first, last, lambda i: call_at(source, i, self.oracles))
        if not node.holds and not elsewhere:
            raise no_call(self.source, self.block, self.names, self.end)
        parts = conjuncts(node)
        plain = [self._conjunct(part) for part in parts if not part.holds]
        return plain, [part for part in parts if part.holds]

    def _conjunct(self, node: Node) -> str:
        text = self.source.text(node.first, node.last)
        return f"({text})" if node.kind == "or" else text

    def _check_answer(self, outputs: OutputCalls, tail: Tail, *, called: bool) -> None:
        """Refuse calls and aggregates over rows of which too little is known."""
        if self.output_calls:
            check_outputs(self.source, self.clauses, called=called)
            outputs.check(self._target)
        if "select" in self.block.sections or "group" in self.block.sections:
            at = first_aggregate(self.source, self.block)
            if at is not None and (tail.recall is not None or tail.precision is not None):
                target = "RECALL TARGET" if tail.recall is not None else "PRECISION TARGET"
                raise self.source.refuse(
                    f"an aggregate in a query with {target} is not supported: the returned rows "
                    "are not all positives, so that it would be biased. Write ERROR WITHIN 10% or "
                    "ORACLE LIMIT n in its place for an estimate with limits, leave it out for an "
                    "exact aggregate (every row is labelled), or aggregate over the rows that come "
                    f"back: SELECT ... FROM (SELECT ... {target} 90%).",
                    at,
                )

    def _proxy(self, i: int, formula: Formula) -> ProxyTerm:
        """Bind one item of USING."""
        source, name = self.source, None
        first, last = self.clauses.using[i]
        if last == first + 1 and source.tokens[first].is_name:
            declared = self.names.proxy(source.tokens[first].name.lower())
            if declared is not None:
                name = source.tokens[first].name.lower()
                called = [call.oracle for call in formula.calls]
                if declared.oracle.lower() not in called:
                    raise source.error(
                        f"proxy {name} stands for the oracle {declared.oracle}, which this query "
                        f"does not call; it calls {', '.join(called)}",
                        first,
                    )
        return ProxyTerm(
            source.text(first, last), name, f"__thresher_s{i}", source.place(first, last)
        )

    def _between(self) -> tuple[str, ...]:
        """Return the text of FROM before, between and after the leaves."""
        first, last = self.block.range("from")
        texts = []
        for start, end in self.relations.spans:
            texts.append(self.source.text(first, start))
            first = end
        return (*texts, self.source.text(first, last))

    def _cte_names(self) -> frozenset[str]:
        source, (first, last) = self.source, self.block.ctes
        start = first + 2 if source.words(first, "with", "recursive") else first + 1
        return (
            frozenset(source.tokens[a].name.lower() for a, _ in source.split(start, last))
            if first < last
            else frozenset()
        )

    def _drop_schemas(self) -> bool:
        """Turn ``main.t.x`` into ``t.x``: a source has an alias but no schema."""
        source = self.source
        written = {
            tuple(part.lower() for part in leaf.table): leaf
            for leaf in self.relations.leaves
            if leaf.table and len(leaf.table) > 1 and leaf.alias == leaf.table[-1]
        }
        spans = {i for a, b in self.relations.spans for i in range(a, b)}
        dropped: set[int] = set()
        i = self.first
        while i < len(source.tokens):
            if source.mark(i, "(") and query_at(source, i + 1):
                i = source.skip(i)
                continue
            for parts in written:
                if i not in spans and self._path(i, parts):
                    dropped |= set(range(i, i + 2 * len(parts) - 2))
            i += 1
        if dropped:
            kept = [token for i, token in enumerate(source.tokens) if i not in dropped]
            self.source = Source(source.sql, kept)
        return bool(dropped)

    def _path(self, i: int, parts: tuple[str, ...]) -> bool:
        """Whether ``a.b.`` stands at a token."""
        source = self.source
        if i + 2 * len(parts) > len(source.tokens) or source.mark(i - 1, "."):
            return False
        return all(
            source.tokens[i + 2 * k].is_name
            and source.tokens[i + 2 * k].name.lower() == part
            and source.mark(i + 2 * k + 1, ".")
            for k, part in enumerate(parts)
        )

    def _canonical(self, tail: Tail) -> str:
        """Write the statement with its clauses in fixed order."""
        source = self.source
        values = {
            "RECALL TARGET": tail.recall,
            "PRECISION TARGET": tail.precision,
            "ACCURACY TARGET": tail.accuracy,
            "ERROR WITHIN": None if tail.error is None else tail.error.clause,
            "WITH PROBABILITY": tail.probability,
            "ORACLE LIMIT": tail.oracle_limit,
            "BUDGET": ", ".join(f"{amount:g} {unit}" for amount, unit in tail.budget) or None,
            "ASSUMING": tail.assuming,
            "ON SHORTFALL": tail.on_shortfall,
            "ON ORACLE ERROR": tail.on_oracle_error,
            "SEED": tail.seed,
            "GAP": self._gap(),
        }
        texts = [source.text(self.first, self.end)]
        if self.clauses.using:
            texts.append("USING " + ", ".join(source.text(*item) for item in self.clauses.using))
        texts += [f"{name} {value}" for name, value in values.items() if value is not None]
        return " ".join(texts)

    def _gap(self) -> str | None:
        """Write the value of GAP."""
        gap, on = self.clauses.values.get("GAP"), self.clauses.gap_on
        if gap is None:
            return None
        return f"{gap:.15g}" + (f" ON {self.source.text(*on)}" if on else "")


def _label_formula(formula: Formula) -> str:
    """Write what a label decides where no condition holds a call: itself if BOOLEAN."""
    call = formula.calls[0]
    return call.value if call.returns.upper() in BOOLEANS else f"{call.value} IS NOT NULL"
