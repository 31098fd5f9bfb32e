"""One query block bound to the declared oracles: tokens in, `SelectionQuery` out."""

from __future__ import annotations

from thresher.errors import Error, nearest
from thresher.plan import Answer, Labelled, ProxyTerm, SelectionQuery, Tail
from thresher.sql.aggregates import bind_estimation
from thresher.sql.blocks import Block, cut, query_at
from thresher.sql.checks import check_rows, check_sample
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
from thresher.sql.promises import check_promises
from thresher.sql.relations import ROW_PREFIX, parse_from
from thresher.sql.selections import first_aggregate, rewrite_answer
from thresher.sql.tokens import Source

__all__ = ["bind_query"]

_PLACES = {
    "select": "the SELECT list",
    "from": "FROM",
    "group": "GROUP BY",
    "having": "HAVING",
    "window": "WINDOW",
    "qualify": "QUALIFY",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "OFFSET",
}


def bind_query(source: Source, first: int, names: Names) -> SelectionQuery:
    """Bind the query block that begins at a token.

    Parameters
    ----------
    source : Source
        The statement.
    first : int
        0, or the token after EXPLAIN.
    names : Names
        What is declared.

    Raises
    ------
    ProgrammingError
        A clause, the condition or the use of an oracle is wrong.
    NotSupportedError
        It makes sense but cannot be answered yet.
    """
    return _Binder(source, first, names).query()


class _Binder:
    """The state of binding one block."""

    def __init__(self, source: Source, first: int, names: Names) -> None:
        self.source, self.first, self.names = source, first, names
        self.oracles = frozenset(name.lower() for name in names.oracle_names())
        self.calls = [
            i for i in range(first, len(source.tokens)) if call_at(source, i, self.oracles)
        ]
        self._cut()
        self.relations = parse_from(self.source, *self.block.range("from"), self._cte_names())
        if self._drop_schemas():
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

    def query(self) -> SelectionQuery:
        source, block, leaves = self.source, self.block, tuple(self.relations.leaves)
        self._check_calls()
        check_sample(source, block.ctes[1], self.end)
        check_rows(source, block, self.relations, self.clauses.using)
        for section in ("group", "having", "qualify", "order", "limit", "offset"):
            check_words(source, *block.range(section))
        plain, held = self._condition()
        tail = self.clauses.tail()
        check_promises(source, self.clauses, tail, estimated=self.estimated)
        self._check_aggregates(tail)
        formula = Formula(source, self.names)
        for node in held:
            formula.add(node)
        estimation = None
        if self.estimated:
            limits = bool(tail.error or tail.oracle_limit or tail.budget)
            estimation = bind_estimation(source, block, formula, self.names, limits=limits)
        labelled = self._labelled(formula)
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
            proxies=tuple(
                self._proxy(i, *item, formula) for i, item in enumerate(self.clauses.using)
            ),
            tail=tail,
            answer=(
                self._answer(labelled, formula.calls[0].arguments)
                if estimation is None
                else Answer("")
            ),
            estimation=estimation,
            labelled=labelled,
        )

    def _answer(self, labelled: Labelled | None, arguments: tuple[str, ...]) -> Answer:
        source, block, leaves = self.source, self.block, self.relations.leaves
        if labelled is None:
            return rewrite_answer(source, block, leaves)
        missing = " OR ".join(f"({sql}) IS NULL" for sql in arguments)
        label = f"(CASE WHEN NOT ({missing}) THEN {labelled.column} END)"
        swaps = {(i, source.skip(i + 1)): label for i in self.calls}
        hidden = (*labelled.rows, labelled.column)
        return rewrite_answer(source, block, leaves, swaps, hidden)

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
        """Whether the aggregates are estimated from a sample, or over an oracle's values."""
        values = self.clauses.values
        if any(target in values for target in ("RECALL TARGET", "PRECISION TARGET")):
            return False
        if "ERROR WITHIN" in values:
            return True
        first, last = self.block.range("select")
        if first_aggregate(self.source, self.block) is None:
            return False
        asked = any(clause in values for clause in ("ORACLE LIMIT", "BUDGET"))
        return asked or any(first <= i < last for i in self.calls)

    def _condition(self) -> tuple[list[str], list[Node]]:
        """Split WHERE into SQL free of oracle calls, and the conjuncts with calls."""
        source, (first, last) = self.source, self.block.range("where")
        selected = range(*self.block.range("select"))
        labelled = self.labels_rows and any(i in selected for i in self.calls)
        elsewhere = labelled or (self.estimated and bool(self.calls))
        if first >= last:
            if elsewhere:
                return [], []
            raise self._no_call()
        node = parse_condition(source, first, last, lambda i: call_at(source, i, self.oracles))
        if not node.holds and not elsewhere:
            raise self._no_call()
        parts = conjuncts(node)
        plain = [self._conjunct(part) for part in parts if not part.holds]
        return plain, [part for part in parts if part.holds]

    def _conjunct(self, node: Node) -> str:
        text = self.source.text(node.first, node.last)
        return f"({text})" if node.kind == "or" else text

    def _no_call(self) -> Error:
        """Say why a statement with clauses has no oracle to ask."""
        source, (first, last) = self.source, self.block.range("where")
        known = self.names.oracle_names()
        example = "CREATE ORACLE name(text VARCHAR) RETURNS BOOLEAN USING provider WITH (...)"
        for i in range(first, last):
            token = source.tokens[i]
            if token.is_name and source.mark(i + 1, "("):
                hint = nearest(token.name, known)
                if hint or not known:
                    hint = hint or f" No oracle is declared: write {example} first."
                    return source.error(f"{token.name} is not a declared oracle.{hint}", i)
        declared = f"Declared: {', '.join(sorted(known))}." if known else f"Write {example} first."
        what = clause_name(source, self.end) if self.end < len(source.tokens) else "the statement"
        return source.error(
            f"{what} needs a call of a declared oracle in WHERE. {declared}",
            min(self.end, len(source.tokens) - 1),
        )

    def _check_calls(self) -> None:
        """Refuse calls outside WHERE."""
        block, source = self.block, self.source
        for i in self.calls:
            name = source.tokens[i].name
            end = source.skip(i + 1)
            if block.ctes[0] <= i < block.ctes[1]:
                raise source.refuse(
                    f"a call of the oracle {name} in WITH is not supported yet. "
                    "Call it in the WHERE of the outermost SELECT.", i, end,
                )  # fmt: skip
            for section, (first, last) in block.sections.items():
                allowed = section == "where" or (
                    section in ("select", "order")
                    and (self.labels_rows or (section == "select" and self.estimated))
                )
                if not allowed and first <= i < last:
                    raise source.refuse(
                        f"a call of the oracle {name} in {_PLACES.get(section, section)} is not "
                        f"supported yet. Call it in WHERE: {_ways_on(section)}", i, end,
                    )  # fmt: skip
            if i >= self.end:
                raise source.error(
                    f"the oracle {name} cannot be its own proxy: USING takes a column, an "
                    "expression without oracle calls, or a declared proxy", i, end,
                )  # fmt: skip

    def _check_aggregates(self, tail: Tail) -> None:
        if "select" in self.block.sections or "group" in self.block.sections:
            at = first_aggregate(self.source, self.block)
            if at is not None and (tail.recall is not None or tail.precision is not None):
                target = "RECALL TARGET" if tail.recall is not None else "PRECISION TARGET"
                raise self.source.refuse(
                    f"an aggregate in a query with {target} is not supported: the returned rows "
                    "are not all positives, so that it would be biased. Leave the target out for "
                    "an exact aggregate (every row is labelled), or select the rows first, keep "
                    "them in a table (CREATE TABLE ... AS over the fetched rows) and aggregate "
                    "over that.",
                    at,
                )

    def _proxy(self, i: int, first: int, last: int, formula: Formula) -> ProxyTerm:
        """Bind one item of USING."""
        source, name = self.source, None
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
        }
        texts = [source.text(self.first, self.end)]
        if self.clauses.using:
            texts.append("USING " + ", ".join(source.text(*item) for item in self.clauses.using))
        texts += [f"{name} {value}" for name, value in values.items() if value is not None]
        return " ".join(texts)


def _label_formula(formula: Formula) -> str:
    """Write what a label decides where no condition holds a call: itself if BOOLEAN."""
    call = formula.calls[0]
    return call.value if call.returns.upper() in BOOLEANS else f"{call.value} IS NOT NULL"


def _ways_on(section: str) -> str:
    match section:
        case "select":
            return "the rows that come back are those for which the condition holds."
        case "from":
            return "FROM a, b WHERE is_match(a.x, b.y)."
        case "order":
            return "a declared proxy or a column can order the rows instead."
        case _:
            return "then group or order the rows that come back."
