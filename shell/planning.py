"""What the user's text becomes: ordinary SQL that sends rows to the worker and reads its answers.

Planning has no effects and buys nothing: DuckDB plans a statement several times, for EXPLAIN and
PREPARE too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa

from thresher import plan
from thresher.catalog import Catalog, OracleEntry, ProxyEntry
from thresher.errors import Error, NotSupportedError, ProgrammingError
from thresher.fed_population import unknown_functions
from thresher.session import Session
from thresher.sql import feeding, parse, split
from thresher.sql.nesting import BLOCK_PREFIX
from thresher.sql.shipping import Shipped, ship
from thresher.stillness import refuse_volatile
from thresher.verdicts import as_table

__all__ = ["Asked", "Part", "Work", "bound_part", "part_of", "plan_text", "queries_of"]

Work = Literal["answer", "do", "lines", "show", "table"]

_STORE = re.compile(r"\bthresher_(labels|spend|label_log|certificates)\s*\(", re.IGNORECASE)
_PERCENTAGE = re.compile(r"\b((?:write|or|as) )([\d.]+%)", re.IGNORECASE)
_CREATES = re.compile(r"\s*(create|insert|copy|update|delete|merge)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of work for the worker, as it stands in the SQL that the user's text becomes.

    Parameters
    ----------
    work : {"answer", "do", "lines", "show", "table"}
        Answer a query over rows that are sent (or explain it, or test its certificate, as the
        statement says), run a statement, give the lines of EXPLAIN, show what the worker knows, or
        take a table in.
    sql : str
        The user's statement; of a table, its name.
    number : int
        Which of the queries of the statement, in the order in which they are answered.
    """

    work: Work
    sql: str
    number: int = 0

    def text(self) -> str:
        """Write it as the text that travels with the rows."""
        return json.dumps([self.work, self.number, self.sql], ensure_ascii=False)


def part_of(text: str) -> Part:
    """Read what `Part.text` wrote.

    Raises
    ------
    ProgrammingError
        It is no such text.
    """
    try:
        work, number, sql = json.loads(text)
    except (ValueError, TypeError) as error:
        raise ProgrammingError(
            "thresh_feed is for SQL that thresh_plan writes: call thresh('SELECT ...')."
        ) from error
    return Part(work, str(sql), int(number))


def plan_text(session: Session, sql: str, clauses: str | None) -> str:
    """Return the SQL that answers a statement in DuckDB.

    Parameters
    ----------
    session : Session
        What is declared and set.
    sql : str
        One statement.
    clauses : str or None
        Clauses to put behind it.

    Raises
    ------
    Error
        The statement is wrong, or cannot be answered in a shell.
    """
    asked = _one(sql)
    statement = f"{asked}\n{clauses}" if clauses else asked
    session.catalog.refresh()
    try:
        bound = parse(statement, session.catalog, None)
    except Error as error:
        raise _of_an_argument(error, statement, len(asked)) from error.__cause__
    if clauses and not isinstance(bound, plan.SelectionQuery | plan.Composed | plan.Explain):
        raise ProgrammingError(f"{clauses} belongs to a SELECT that calls an oracle.")
    if isinstance(bound, plan.SelectionQuery | plan.Composed):
        return _answered(session, statement, bound)
    if isinstance(bound, plan.Explain):
        return _explained(session, statement, bound)
    if isinstance(bound, plan.Passthrough):
        return _passed(session, bound.sql)
    if isinstance(bound, plan.Prepare):
        raise NotSupportedError(
            "PREPARE stands outside: PREPARE name AS FROM thresh($$SELECT ...$$); EXECUTE name;"
        )
    if isinstance(bound, plan.Audit):
        return _audited(session, statement, bound)
    if isinstance(bound, plan.CreateProxy) and bound.trained is not None:
        place = bound.places["trained"]
        raise NotSupportedError(
            "TRAINED FROM cannot read your tables from inside the shell. Leave it out, and the "
            "proxy is trained by the first query that uses it and kept; or close the shell and run "
            "thresher query --db FILE 'CREATE PROXY ... TRAINED FROM ...'."
        ).at(statement, place.offset, place.length)
    if isinstance(bound, plan.Show | plan.Describe | plan.ShowSetting):
        return _table(session, statement)
    return feeding.lines_sql((), Part("do", statement).text(), "done")


def _of_an_argument(error: Error, statement: str, end: int) -> Error:
    """Return the error for a clause that the user wrote as an argument of thresh().

    Its place is nowhere in the user's text, which ends at `end`, and DuckDB takes percentages as
    texts alone.
    """
    if error.sql != statement or error.offset is None or error.offset <= end:
        return error
    return type(error)(_PERCENTAGE.sub(r"\1'\2'", error.message))


def _one(sql: str) -> str:
    """Return the only statement of a text, without its semicolon."""
    found = [one.text for one in split(sql) if one.text.strip()]
    if not found:
        raise ProgrammingError("thresh() needs a statement: thresh($$SELECT ...$$).")
    if len(found) > 1:
        raise ProgrammingError(
            f"thresh() takes one statement, got {len(found)}. Call it once for each."
        )
    return found[0].strip().removesuffix(";").rstrip()


def _answered(session: Session, sql: str, bound: plan.SelectionQuery | plan.Composed) -> str:
    """Write the SQL that answers a query, its inner blocks first."""
    if isinstance(bound, plan.SelectionQuery):
        return _query(session, bound, Part("answer", sql))
    if isinstance(bound.outer, str) and _CREATES.match(bound.outer):
        word = bound.outer.split(None, 1)[0].upper()
        raise NotSupportedError(
            f"thresh() gives rows, {word} does not. Put it outside: "
            "CREATE TABLE name AS FROM thresh($$SELECT ...$$), "
            "COPY (FROM thresh($$SELECT ...$$)) TO 'file.parquet'."
        )
    blocks: list[tuple[str, str]] = []
    before = None
    for i, block in enumerate(bound.blocks):
        blocks.append((block.name, _query(session, block.query, Part("answer", sql, i), before)))
        before = block.name
    if isinstance(bound.outer, str):
        return feeding.with_blocks(blocks, bound.outer)
    last = Part("answer", sql, len(blocks))
    return feeding.with_blocks(blocks, _query(session, bound.outer, last, before))


def _query(
    session: Session, query: plan.SelectionQuery, part: Part, after: str | None = None
) -> str:
    """Write the SQL that answers one query block."""
    refuse_volatile(session.connection, query)
    sides = sides_of(session.catalog, query)
    # A macro may aggregate: such rows cannot be put in order. Over rows that meet a target only in
    # part it would be biased, and the order makes DuckDB refuse it.
    targets = query.tail.recall is not None or query.tail.precision is not None
    unordered = not targets and unknown_functions(session.connection, query)
    by_row = False if unordered else None
    return feeding.answered_here(ship(query), part.text(), sides, by_row, after)


def sides_of(catalog: Catalog, query: plan.SelectionQuery) -> list[feeding.Side]:
    """List the tables that oracles and proxies of a query read their answers from."""
    called = {call.oracle for call in query.all_calls}
    entries = [entry for entry in catalog.oracles() if entry.name in called]
    proxies = [entry for entry in catalog.proxies() if entry.oracle in called]
    found: dict[str, tuple[str, ...]] = {}
    reading: list[OracleEntry | ProxyEntry] = [*entries, *proxies]
    for entry in reading:
        if entry.provider != "column":
            continue
        keys, table = entry.options["key"], str(entry.options["table"])
        columns = [*(keys if isinstance(keys, list) else [keys]), entry.options["value"]]
        wanted = [*found.get(table, ()), *map(str, columns)]
        found[table] = tuple(dict.fromkeys(wanted))
    return [
        feeding.Side(Part("table", table).text(), table, columns)
        for table, columns in sorted(found.items())
    ]


def queries_of(statement: plan.Statement) -> list[plan.SelectionQuery]:
    """List the queries of ours in a statement, in the order in which they are answered."""
    if isinstance(statement, plan.Explain):
        statement = statement.query
    if isinstance(statement, plan.SelectionQuery):
        return [statement]
    if not isinstance(statement, plan.Composed):
        return []
    last = [] if isinstance(statement.outer, str) else [statement.outer]
    return [*(block.query for block in statement.blocks), *last]


def _explained(session: Session, sql: str, bound: plan.Explain) -> str:
    """Write the SQL that explains a query."""
    queries = queries_of(bound)
    if bound.analyze and len(queries) > 1:
        raise NotSupportedError(
            "EXPLAIN ANALYZE of several queries is not supported in the shell. Explain the "
            "statement without ANALYZE, or run it and read FROM thresh_certificate()."
        )
    sent = []
    for i, query in enumerate(queries):
        if BLOCK_PREFIX not in query.canonical:  # else its rows are not known before it runs
            refuse_volatile(session.connection, query)
            sides = sides_of(session.catalog, query)
            sent.append((ship(query), Part("answer", sql, i).text(), sides))
    return feeding.lines_sql(sent, Part("lines", sql).text(), "explain")


def _audited(session: Session, sql: str, bound: plan.Audit) -> str:
    """Write the SQL that tests a certificate."""
    if bound.against is not None:
        raise NotSupportedError(
            "AGAINST cannot be read from inside the shell. Close it and run "
            "thresher query --db FILE 'AUDIT CERTIFICATE ... AGAINST ...'."
        )
    query = session.executor.audited(bound)
    columns = [(field.name, _sql_type(field.type)) for field in as_table([]).schema]
    sides = sides_of(session.catalog, query)
    return feeding.rows_sql(ship(query), Part("answer", sql).text(), columns, sides)


def _sql_type(kind: pa.DataType) -> str:
    numbers = "BIGINT" if pa.types.is_integer(kind) else "DOUBLE"
    return "VARCHAR" if pa.types.is_string(kind) else numbers


def _passed(session: Session, sql: str) -> str:
    """Return a statement without an oracle: as it is, or over the label store."""
    if _STORE.search(sql):
        return _table(session, sql)
    try:
        kinds = [one.type for one in session.connection.extract_statements(sql)]
    except duckdb.Error:
        return sql  # DuckDB says what is wrong, at its place
    if kinds != [duckdb.StatementType.SELECT]:
        raise NotSupportedError("this statement is DuckDB's own: write it without thresh().")
    return sql


def _table(session: Session, sql: str) -> str:
    """Write the SQL that shows rows which the worker has, with the types they have there."""
    relation = session.execute(sql).relation
    if relation is None:
        raise ProgrammingError("the statement gives no rows")
    columns = list(zip(relation.columns, map(str, relation.types), strict=True))
    return feeding.rows_sql(None, Part("do", sql).text(), columns)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of a statement, bound.

    Parameters
    ----------
    sent : Shipped
        The query.
    among : list of SelectionQuery
        All queries of the statement.
    explain : Explain or None
        The statement, where it is EXPLAIN.
    audit : Audit or None
        The statement, where it is AUDIT.
    """

    sent: Shipped
    among: list[plan.SelectionQuery]
    explain: plan.Explain | None = None
    audit: plan.Audit | None = None


def bound_part(session: Session, part: Part) -> Asked:
    """Bind the query of a part again: a worker that has just begun knows nothing of the plan."""
    session.catalog.refresh()
    statement = parse(part.sql, session.catalog, None)
    if isinstance(statement, plan.Audit):
        query = session.executor.audited(statement)
        return Asked(ship(query), [query], audit=statement)
    queries = queries_of(statement)
    if part.number >= len(queries):
        raise ProgrammingError("the statement has changed its meaning since it was planned")
    explain = statement if isinstance(statement, plan.Explain) else None
    return Asked(ship(queries[part.number]), queries, explain)
