"""A bound query to plain DuckDB SQL: texts to texts, without the schema.

Each relation of FROM is replaced by a *source* that adds a row column. Four statements follow
from one query: the population with what is known of it for free, the inputs of sampled rows, the
formula over labelled rows, and the user's own query over the rows that are returned.
"""

from __future__ import annotations

from collections.abc import Sequence

from thresher.plan import Aggregate, Leaf, OracleCall, SelectionQuery
from thresher.sql.tokens import identifier

__all__ = [
    "BITS",
    "BLOCK",
    "answer_sql",
    "answered_sql",
    "estimate_type",
    "estimates_sql",
    "formula_sql",
    "from_sql",
    "inputs_sql",
    "kept_columns",
    "kept_sql",
    "order_by_row",
    "population_sql",
    "scores_sql",
    "typed_estimates_sql",
    "values_sql",
]

BLOCK, BITS = "__thresher_block", "__thresher_bits"
"""Columns of rows as bits: 64 row numbers from 64 times the first, as a UBIGINT, lowest first."""


def population_sql(
    query: SelectionQuery,
    sources: Sequence[str],
    stores: Sequence[str | None] | None = None,
    null_inputs: bool | None = None,
    sample: str | None = None,
) -> str:
    """Return the statement that lists the population.

    Parameters
    ----------
    query : SelectionQuery
        The bound query.
    sources : sequence of str
        One source per leaf.
    stores : sequence of str or None, optional
        One relation per call with the columns ``key`` (SHA-256, hex) and ``value`` of answers
        that are known, each key once; None for a call of which nothing is known. Without stores
        no key is computed, and the statement stays a plain scan.
    null_inputs : bool, optional
        True lists the rows alone in which an input of a call is NULL; False takes no input to be
        NULL, and reads none. By default every row is looked at.
    sample : str, optional
        Relation with the row columns of the rows to list, all of the population; else all are.

    Returns
    -------
    str
        Its columns are the row columns (-1 where an outer join found no row), ``__thresher_known``
        (1 or 0 where the formula is decided without a label, else NULL), and the DOUBLE score of
        each SQL expression in USING. Where aggregates are estimated, a row is only known to be
        positive if no call of it is open; then come the columns of GROUP BY, the plain value of
        each `Measured` that has one and the values ``__thresher_v<i>`` of known rows.
    """
    wanted = list(stores) if stores is not None else [None] * len(query.calls)
    calls = list(zip(query.calls, wanted, strict=True))
    columns, settled, joins = ["__thresher_rows.*"], [], []
    for call, store in calls:
        joined = f"{call.value}_s"
        answer = "NULL" if store is None else f"{joined}.value"
        columns.append(f"CAST({answer} AS {call.returns}) AS {call.value}")
        found = "" if store is None else f" OR {joined}.key IS NOT NULL"
        settled.append(f"({call.value}_n{found})")
        if store is not None:
            key = f"__thresher_rows.{call.key}"
            joins.append(f" LEFT JOIN {store} AS {joined} ON {joined}.key = {key}")
    columns.append(f"{' AND '.join(settled) or 'TRUE'} AS __thresher_settled")
    where = _where(query, calls if null_inputs else ())
    relation = from_sql(query, sources) + where
    if sample is not None:
        relation = _rows_of(query, sources, sample)
    rows = _candidates(query, relation, calls, inputs=null_inputs is not False)
    answered = f"SELECT {', '.join(columns)} FROM ({rows}) AS __thresher_rows{''.join(joins)}"
    outer = [leaf.row for leaf in query.leaves]
    outer.append(f"CAST({_known(query)} AS TINYINT) AS __thresher_known")
    outer += [term.column for term in query.proxies if term.name is None]
    outer += [name for name, _ in _plain_columns(query)]
    outer += ["__thresher_prediction"] if query.labelled and query.labelled.prediction else []
    outer += _values(query)
    return f"{query.ctes}SELECT {', '.join(outer)} FROM ({answered}) AS __thresher_answers"


def scores_sql(query: SelectionQuery, sources: Sequence[str]) -> str:
    """Return a statement with a column for each SQL expression in USING, as it is written."""
    terms = [
        f"({term.sql or term.text}) AS {term.column}" for term in query.proxies if term.name is None
    ]
    return f"{query.ctes}SELECT {', '.join(terms)} FROM {from_sql(query, sources)}"


def _where(query: SelectionQuery, calls: Sequence[tuple[OracleCall, str | None]]) -> str:
    """Write WHERE of the population: of rows alone with a NULL input of `calls`, if there are."""
    some = " OR ".join(_is_null(call) for call, _ in calls)
    if query.plain and some:
        return f" WHERE ({query.plain}) AND ({some})"
    return f" WHERE {query.plain or some}" if query.plain or some else ""


def _candidates(
    query: SelectionQuery,
    relation: str,
    calls: Sequence[tuple[OracleCall, str | None]],
    *,
    inputs: bool,
) -> str:
    """Select the population: row columns, parts, NULL inputs, keys where wanted, scores."""
    columns = [f"coalesce({leaf.row}, -1) AS {leaf.row}" for leaf in query.leaves]
    columns += [f"({sql}) AS {column}" for column, sql in query.parts]
    columns += [f"{_is_null(call) if inputs else 'FALSE'} AS {call.value}_n" for call, _ in calls]
    columns += [f"{_key(call)} AS {call.key}" for call, store in calls if store is not None]
    columns += [
        f"CAST(({term.sql or term.text}) AS DOUBLE) AS {term.column}"
        for term in query.proxies
        if term.name is None
    ]
    columns += [f"{sql} AS {name}" for name, sql in _plain_columns(query)]
    if query.labelled and query.labelled.prediction:
        columns.append(f"{query.labelled.prediction} AS __thresher_prediction")
    return f"SELECT {', '.join(columns)} FROM {relation}"


def _plain_columns(query: SelectionQuery) -> list[tuple[str, str]]:
    """List name and SQL of what an estimation needs of every row, free of oracle calls."""
    estimation = query.estimation
    if estimation is None:
        return []
    values = [(m.plain, f"CAST(({m.plain_sql}) AS DOUBLE)") for m in estimation.measured]
    return [*estimation.groups, *((name, sql) for name, sql in values if name is not None)]


def _values(query: SelectionQuery) -> list[str]:
    """Write the value with which a row counts in each `Measured`; NULL where it does not."""
    written = []
    for i, measured in enumerate(query.estimation.measured if query.estimation else ()):
        condition = f" AND ({measured.condition})" if measured.condition else ""
        written.append(
            f"CASE WHEN {_truth(query)}{condition} THEN {measured.value} END AS __thresher_v{i}"
        )
    return written


def _known(query: SelectionQuery) -> str:
    truth = _truth(query)
    if query.estimation is not None:
        false = f"WHEN NOT {truth} THEN FALSE " if query.monotone else ""
        return f"CASE WHEN __thresher_settled THEN coalesce({truth}, FALSE) {false}END"
    settled = f"CASE WHEN __thresher_settled THEN coalesce({truth}, FALSE)"
    return f"{settled} ELSE {truth} END" if query.monotone else f"{settled} END"


def _truth(query: SelectionQuery) -> str:
    """Write the formula as a BOOLEAN: WHERE takes any number but 0 as true."""
    return f"CAST(({query.formula}) AS BOOLEAN)"


def inputs_sql(query: SelectionQuery, sources: Sequence[str], sample: str) -> str:
    """Return the statement that reads what labelling needs for some rows of the population.

    Parameters
    ----------
    query, sources
        As for `population_sql`.
    sample : str
        Relation with the row columns of the wanted rows.

    Returns
    -------
    str
        Its columns are the row columns, the inputs and the key of each call (NULL key: an input
        is NULL), and the parts of the formula.
    """
    columns = [f"coalesce({leaf.row}, -1) AS {leaf.row}" for leaf in query.leaves]
    for call in query.calls:
        columns += [
            f"{sql} AS {name}" for name, sql in zip(call.inputs, call.arguments, strict=True)
        ]
        columns.append(f"{_key(call)} AS {call.key}")
    columns += [f"({sql}) AS {column}" for column, sql in query.parts]
    return f"{query.ctes}SELECT {', '.join(columns)} FROM {_rows_of(query, sources, sample)}"


def typed_estimates_sql(query: SelectionQuery, sources: Sequence[str]) -> str:
    """Return the user's query over its estimates, of no rows: it binds, and has their types.

    Raises
    ------
    TypeError
        The query has no estimation.
    """
    estimation = query.estimation
    if estimation is None:
        raise TypeError("a query without estimation has no estimates")
    columns = [f"({sql}) AS {name}" for name, sql in estimation.groups]
    for i, aggregate in enumerate(estimation.aggregates):
        columns += [
            f"CAST(NULL AS {estimate_type(aggregate)}) AS __thresher_a{i}{end}"
            for end in ("", "_low", "_high")
        ]
    rows = f"{query.ctes}SELECT {', '.join(columns)} FROM {from_sql(query, sources)} LIMIT 0"
    return estimates_sql(query, f"({rows})")


def estimate_type(aggregate: Aggregate) -> str:
    """Return the type of an estimate and of its limits."""
    return "BIGINT" if aggregate.kind == "count" and aggregate.scale == 1 else "DOUBLE"


def formula_sql(query: SelectionQuery, relation: str, keys: Sequence[str]) -> str:
    """Return the statement that evaluates the formula over labelled rows.

    Parameters
    ----------
    query : SelectionQuery
        The bound query.
    relation : str
        Relation with the value column of each call, the parts, and the columns `keys`.
    keys : sequence of str
        Columns that tell the rows apart.

    Returns
    -------
    str
        Its columns are `keys` and ``truth`` (TINYINT: 1, 0 or NULL).
    """
    truth = f"CAST({_truth(query)} AS TINYINT) AS truth"
    return f"SELECT {', '.join(keys)}, {truth} FROM {relation}"


def values_sql(query: SelectionQuery, relation: str, keys: Sequence[str]) -> str:
    """Return the statement that evaluates what the aggregates are over, on labelled rows.

    Parameters
    ----------
    query, relation, keys
        As for `formula_sql`.

    Returns
    -------
    str
        Its columns are `keys` and ``__thresher_v<i>``, DOUBLE, of each `Measured`: NULL where the
        row does not count.
    """
    return f"SELECT {', '.join([*keys, *_values(query)])} FROM {relation}"


def estimates_sql(query: SelectionQuery, relation: str) -> str:
    """Return the user's query over its estimates.

    Parameters
    ----------
    query : SelectionQuery
        The bound query; it has an `estimation`.
    relation : str
        Relation with the columns that `Estimation.select` names, a row for each group.

    Raises
    ------
    TypeError
        The query has no estimation.
    """
    estimation = query.estimation
    if estimation is None:
        raise TypeError("a query without estimation has no estimates")
    having = f"WHERE {estimation.having}" if estimation.having else ""
    pieces = [f"{estimation.select} FROM {relation}", having, estimation.order, estimation.limit]
    return " ".join(piece for piece in pieces if piece)


def answer_sql(
    query: SelectionQuery,
    sources: Sequence[str],
    keep: str,
    by_row: bool | None = None,
    *,
    bits: bool = False,
) -> str:
    """Return the user's query over the rows that are returned.

    Parameters
    ----------
    query, sources
        As for `population_sql`.
    keep : str
        Relation with the columns `kept_columns` of the rows to return.
    by_row : bool, optional
        Whether to order by the row columns, instead of `Answer.by_row`. Text alone does not tell
        that a macro aggregates; DuckDB then asks for GROUP BY, and False does without the order.
    bits : bool
        Whether `keep` has the columns `BLOCK` and `BITS` instead: of one relation, without labels.

    Notes
    -----
    Rows come in the order of the user's ORDER BY and, within it, of the row columns, so that the
    same rows give the same result.
    """
    return answered_sql(query, kept_sql(query, sources, keep, bits=bits), by_row)


def answered_sql(query: SelectionQuery, relation: str, by_row: bool | None = None) -> str:
    """Return the user's query over what stands behind FROM: see `answer_sql`."""
    answer = query.answer
    by_row = (answer.by_row if by_row is None else by_row) and not answer.hidden
    order = [order_by_row(query)] if by_row else [answer.order]
    pieces = [f"{answer.select} FROM {relation}", answer.grouping, *order, answer.limit]
    return query.ctes + " ".join(piece for piece in pieces if piece)


def kept_columns(query: SelectionQuery) -> tuple[list[str], dict[str, str]]:
    """Return what a relation of kept rows holds: row columns, and labels with their types."""
    if query.labelled is not None:
        call = query.calls[query.labelled.call]
        return list(query.labelled.rows), {query.labelled.column: call.returns}
    if query.outputs is not None:
        pairs = zip(query.outputs.columns, query.outputs.calls, strict=True)
        return list(query.outputs.rows), {column: call.returns for column, call in pairs}
    return [leaf.row for leaf in query.leaves], {}


def order_by_row(query: SelectionQuery) -> str:
    """Write the user's ORDER BY, and the row columns after it."""
    rows = ", ".join(leaf.row for leaf in query.leaves)
    return f"{query.answer.order}, {rows}" if query.answer.order else f"ORDER BY {rows}"


def kept_sql(
    query: SelectionQuery, sources: Sequence[str], keep: str, *, bits: bool = False
) -> str:
    """Write FROM and WHERE for the rows of a relation with `kept_columns`, or as bits."""
    names, labels = kept_columns(query)
    if not labels:
        return _rows_of(query, sources, keep, hidden=query.answer.hidden, bits=bits)
    equal = [
        f"coalesce({leaf.row}, -1) = {name}" for leaf, name in zip(query.leaves, names, strict=True)
    ]
    return f"{from_sql(query, sources)}, {keep} AS __thresher_labels WHERE {' AND '.join(equal)}"


def _rows_of(
    query: SelectionQuery,
    sources: Sequence[str],
    wanted: str,
    *,
    hidden: bool = False,
    bits: bool = False,
) -> str:
    """Write FROM and WHERE for exactly the rows whose row columns stand in a relation."""
    # Each source is first cut down to rows that occur in it. That keeps a row of an outer join
    # that found no partner: it has none in fewer rows either. Rows that lost their partner by the
    # cut differ in their row columns and go with the last condition.
    cut = [
        source if leaf.lateral else _cut(leaf, source, wanted, hidden=hidden, bits=bits)
        for leaf, source in zip(query.leaves, sources, strict=True)
    ]
    relation = from_sql(query, cut)
    if len(query.leaves) == 1:
        return relation
    rows = ", ".join(leaf.row for leaf in query.leaves)
    found = ", ".join(f"coalesce({leaf.row}, -1)" for leaf in query.leaves)
    return f"{relation} WHERE ({found}) IN (SELECT {rows} FROM {wanted})"


def _cut(leaf: Leaf, source: str, wanted: str, *, hidden: bool, bits: bool) -> str:
    excluded = [leaf.row] if hidden else []
    found = f"{source} WHERE {leaf.row} IN (SELECT {leaf.row} FROM {wanted})"
    if bits:
        excluded += [BLOCK, BITS]
        inside = f"({BITS} >> CAST({leaf.row} & 63 AS UBIGINT)) & 1 = 1"
        found = f"{source} JOIN {wanted} ON {leaf.row} >> 6 = {BLOCK} WHERE {inside}"
    columns = f"* EXCLUDE ({', '.join(excluded)})" if excluded else "*"
    order = f" ORDER BY {leaf.row}" if hidden else ""
    return f"(SELECT {columns} FROM {found}{order}) AS {identifier(leaf.alias)}"


def from_sql(query: SelectionQuery, sources: Sequence[str]) -> str:
    """Put sources in the places of the leaves."""
    written = [query.from_sql[0]]
    for source, after in zip(sources, query.from_sql[1:], strict=True):
        written += [source, after]
    return " ".join(piece for piece in written if piece)


def _is_null(call: OracleCall) -> str:
    tests = " OR ".join(f"({sql}) IS NULL" for sql in call.arguments)
    return f"({tests})"


def _key(call: OracleCall) -> str:
    """Write the SHA-256 of all arguments; NULL where one of them is."""
    # The length in bytes before each tells ('ab', 'c') from ('a', 'bc').
    texts = [f"CAST({sql} AS VARCHAR)" for sql in call.arguments]
    pieces = " || ".join(f"strlen({text}) || ':' || {text}" for text in texts)
    return f"sha256({pieces})"
