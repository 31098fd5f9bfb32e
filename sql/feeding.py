"""A statement that sends its rows to another process and takes the answer from there.

It is one SELECT, so that it runs in the user's own transaction: temporary tables, uncommitted rows
and files are read as they are. An aggregate does the sending: ``thresh_feed(text, row)`` streams
the rows and returns the answer, JSON of rows of texts: estimates, answers of oracles, lines, or
which of the rows come back. The first column of a row is its number. A row with the number -1 is
sent in every case, so that a query over no rows is answered too; it does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from thresher.sql import lowering
from thresher.sql.ordering import order_sql
from thresher.sql.shipping import ORDER, ROW, Shipped
from thresher.sql.sources import numbered, temp_source
from thresher.sql.tokens import identifier, literal, quoted

__all__ = [
    "PIECE",
    "SIDE",
    "Side",
    "answered_here",
    "lines_sql",
    "rows_sql",
    "side_fields",
    "told_sql",
    "with_blocks",
]

SIDE = "__thresher_side"  # the relation that sends a table of labels; then its number
PIECE = 4096  # rows whose bits come as one text; a power of two

_FED, _KEPT, _LABELS = "__thresher_fed", "__thresher_kept", "__thresher_labels_fed"
_POPULATION, _BITS = "__thresher_rows_fed", "__thresher_bits"
_ANSWER = "from_json(decode(thresh_feed({text}, {row})), '[[\"VARCHAR\"]]') AS answer"
# The answer is read once: an expression inside unnest() is evaluated for each 2,048 rows of it.
_ROWS = f"SELECT unnest(answer) AS r FROM {_FED}"


@dataclass(frozen=True, slots=True)
class Side:
    """A table that an oracle of the query reads, sent before the rows.

    Parameters
    ----------
    text : str
        Tells the worker what it is.
    table : str
        As it stands in FROM.
    columns : tuple of str
        The columns that are read.
    """

    text: str
    table: str
    columns: tuple[str, ...]


def side_fields(n_sides: int) -> list[str]:
    """Name the columns of `thresher.sql.shipping.SENT` that hold the runs of the tables."""
    return [f"{SIDE}{i}" for i in range(n_sides)]


def answered_here(
    shipped: Shipped,
    text: str,
    sides: Sequence[Side] = (),
    by_row: bool | None = None,
    after: str | None = None,
) -> str:
    """Return the statement that answers a query.

    Parameters
    ----------
    shipped : Shipped
        The query and what is sent of its rows.
    text : str
        Tells the worker what to run.
    sides : sequence of Side
        Tables that its oracles read.
    by_row : bool, optional
        As for `thresher.sql.lowering.answer_sql`.
    after : str, optional
        A relation that must be there before the rows are sent: queries of one statement are
        answered in their order, which DuckDB does not keep by itself.
    """
    query = shipped.asked
    feed = _Feed(shipped, text, sides, after)
    if query.estimation is not None:
        relation = f"({feed.estimates()})"
        return feed.with_clause() + lowering.estimates_sql(query, relation)
    if feed.in_place:
        cut = lowering.from_sql(query, [feed.cut()])
        return feed.with_clause() + lowering.answered_sql(replace(query, ctes=""), cut, by_row)
    feed.keep()
    asked = replace(query, ctes=feed.with_clause())
    return lowering.answer_sql(asked, feed.sources, _KEPT, by_row)


def rows_sql(
    shipped: Shipped | None,
    text: str,
    columns: Sequence[tuple[str, str]],
    sides: Sequence[Side] = (),
) -> str:
    """Return the statement that gives rows which the worker has.

    Parameters
    ----------
    shipped : Shipped or None
        The query whose rows are sent before; None where none are needed.
    text, sides
        As for `answered_here`.
    columns : sequence of (str, str)
        Name and type of each column.
    """
    before = _told(text) if shipped is None else _Feed(shipped, text, sides).with_clause()
    casts = [
        f"CAST(r[{i}] AS {kind}) AS {identifier(name)}" for i, (name, kind) in enumerate(columns, 1)
    ]
    return f"{before}SELECT {', '.join(casts)} FROM ({_ROWS})"


def told_sql(text: str, columns: Sequence[str]) -> str:
    """Return the statement that gives rows of texts which the worker has.

    Parameters
    ----------
    text : str
        Tells the worker what to run.
    columns : sequence of str
        Their names.
    """
    return rows_sql(None, text, [(name, "VARCHAR") for name in columns])


def lines_sql(sent: Sequence[tuple[Shipped, str, Sequence[Side]]], text: str, column: str) -> str:
    """Return the statement that gives lines of text, once the rows of some queries were sent.

    Parameters
    ----------
    sent : sequence of (Shipped, str, sequence of Side)
        The queries, each with its text and tables.
    text : str
        Of the lines.
    column : str
        What they are called.
    """
    feeds = [_Feed(*one) for one in sent]
    before = [
        f"({feed.with_clause()}SELECT answer FROM {_FED}) AS f{i}" for i, feed in enumerate(feeds)
    ]
    return f"{_told(text, before)}SELECT r[1] AS {identifier(column)} FROM ({_ROWS})"


def with_blocks(blocks: Sequence[tuple[str, str]], statement: str) -> str:
    """Put statements that give the rows of inner blocks in front of the one round them.

    Parameters
    ----------
    blocks : sequence of (str, str)
        Name of its rows, and statement, of each block, in the order in which they are answered.
    statement : str
        A SELECT.
    """
    if not blocks:
        return statement
    written = ", ".join(f"{name} AS MATERIALIZED ({sql})" for name, sql in blocks)
    return f"WITH {written} FROM ({statement})"


def _told(text: str, before: Sequence[str] = ()) -> str:
    """Write WITH, and the answer to a text that needs no rows, once other feeds have theirs."""
    waits = [(f"__thresher_after{i}", f"len(f{i}.answer)") for i in range(len(before))]
    source = f" FROM {', '.join(before)}" if before else ""
    fed = _ANSWER.format(text=literal(text), row=_struct("CAST(-1 AS BIGINT)", waits))
    return f"WITH {_FED} AS MATERIALIZED (SELECT {fed}{source}) "


class _Feed:
    """The parts of a statement that sends rows: CTEs in the order in which they must stand."""

    def __init__(
        self, shipped: Shipped, text: str, sides: Sequence[Side], after: str | None = None
    ) -> None:
        self.shipped, self.query, self.text = shipped, shipped.asked, literal(text)
        leaves = self.query.leaves
        names = [f"__thresher_src{i}" for i in range(len(leaves))]
        self.sources = [temp_source(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
        self.ctes = [
            f"{name} AS MATERIALIZED ({numbered(leaf)})"
            for leaf, name in zip(leaves, names, strict=True)
            if not leaf.lateral
        ]
        # A row of one relation is named by its number there, and need not be looked up by it.
        alone = len(leaves) == 1 and not leaves[0].lateral
        labelled = self.query.labelled is not None or self.query.outputs is not None
        self.in_place = alone and not labelled
        self._send(alone, sides, after)

    def with_clause(self) -> str:
        """Write WITH, the user's CTEs first."""
        ctes = self.query.ctes.rstrip()
        return f"{f'{ctes},' if ctes else 'WITH'} {', '.join(self.ctes)} "

    def _send(self, alone: bool, sides: Sequence[Side], after: str | None) -> None:
        """Write the rows, and the aggregate that sends them."""
        runs = side_fields(len(sides))
        self.ctes += [f"{name} AS ({_sent(side)})" for name, side in zip(runs, sides, strict=True)]
        fields = self._population(alone)
        pairs = [(name, name) for name in fields]
        pairs += [(name, f"octet_length({name}.sent)") for name in runs]  # so that it is sent first
        rows = f"(FROM {_POPULATION} UNION ALL BY NAME SELECT CAST(-1 AS BIGINT) AS {ROW})"
        relations = [rows, *runs]
        if after is not None:
            relations.append(f"(SELECT count(*) FROM {after}) AS __thresher_after")
        fed = _ANSWER.format(text=self.text, row=_struct(ROW, pairs))
        self.ctes.append(f"{_FED} AS MATERIALIZED (SELECT {fed} FROM {', '.join(relations)})")

    def _population(self, alone: bool) -> list[str]:
        """Write the rows; return the columns that are sent beside the number of a row."""
        rows = [leaf.row for leaf in self.query.leaves]
        columns = [f"coalesce({row}, -1) AS {row}" for row in rows]
        columns += [f"({sql}) AS {name}" for name, sql in self.shipped.columns]
        columns.append(f"{rows[0] if alone else 'row_number() OVER () - 1'} AS {ROW}")
        where = f" WHERE {self.query.plain}" if self.query.plain else ""
        population = f"SELECT {', '.join(columns)} FROM {self._from()}{where}"
        fields = [] if alone else rows
        fields = [*fields, *(name for name, _ in self.shipped.columns)]
        if self.shipped.ordered:
            self.ctes.append(f"{ORDER}_of AS MATERIALIZED ({self._order()})")
            population = f"FROM ({population}) JOIN {ORDER}_of USING ({', '.join(rows)})"
            fields.append(ORDER)
        kind = "" if self.in_place else "MATERIALIZED "
        self.ctes.append(f"{_POPULATION} AS {kind}({population})")
        return fields

    def _from(self) -> str:
        return lowering.from_sql(self.query, self.sources)

    def _order(self) -> str:
        """Write the place of each candidate in the order of the answer."""
        bare = replace(self.query, ctes="")
        places = (
            f"SELECT *, row_number() OVER () - 1 AS place FROM ({order_sql(bare, self.sources)})"
        )
        # A macro in ORDER BY may make several rows of one.
        rows = ", ".join(leaf.row for leaf in self.query.leaves)
        return f"SELECT {rows}, min(place) AS {ORDER} FROM ({places}) GROUP BY {rows}"

    def cut(self) -> str:
        """Write the only relation of FROM, cut down to the rows that are returned."""
        leaf, hidden = self.query.leaves[0], self.query.answer.hidden
        source = "__thresher_src0"
        columns = f"{source}.*" + (f" EXCLUDE ({leaf.row})" if hidden else "")
        order = f" ORDER BY {leaf.row}" if hidden else ""
        kept = self._returned(source, leaf.row)
        return f"(SELECT {columns} FROM {kept}{order}) AS {identifier(leaf.alias)}"

    def _returned(self, relation: str, row: str) -> str:
        """Write a relation, its rows cut down to those whose numbers come back."""
        pieces = "CAST(r[1] AS BIGINT) AS piece, CAST(from_base64(r[2]) AS BIT) AS bits"
        self.ctes.append(f"{_BITS} AS MATERIALIZED (SELECT {pieces} FROM ({_ROWS}))")
        shift = PIECE.bit_length() - 1
        return (
            f"{relation} JOIN {_BITS} ON {_BITS}.piece = {row} >> {shift} "
            f"WHERE get_bit({_BITS}.bits, CAST({row} & {PIECE - 1} AS INTEGER)) = 1"
        )

    def keep(self) -> None:
        """Write the relation of the rows that are returned, with their labels."""
        names, labels = lowering.kept_columns(self.query)
        rows = [leaf.row for leaf in self.query.leaves]
        columns = [f"p.{row} AS {name}" for row, name in zip(rows, names, strict=True)]
        if not labels:
            kept = self._returned(f"{_POPULATION} AS p", f"p.{ROW}")
            self.ctes.append(f"{_KEPT} AS MATERIALIZED (SELECT {', '.join(columns)} FROM {kept})")
            return
        casts = [f"CAST(r[{i}] AS {kind}) AS {name}" for i, (name, kind) in _from_two(labels)]
        self.ctes.append(
            f"{_LABELS} AS MATERIALIZED (SELECT CAST(r[1] AS BIGINT) AS {ROW}, {', '.join(casts)} "
            f"FROM ({_ROWS}))"
        )
        columns += [f"l.{name}" for name in labels]
        self.ctes.append(
            f"{_KEPT} AS MATERIALIZED (SELECT {', '.join(columns)} "
            f"FROM {_POPULATION} AS p JOIN {_LABELS} AS l USING ({ROW}))"
        )

    def estimates(self) -> str:
        """Write the estimates as `thresher.sql.lowering.estimates_sql` needs them."""
        moved = self.shipped.query.estimation
        if moved is None:
            raise TypeError("a query without estimation has no estimates")
        columns = [f"p.{column} AS {name}" for name, column in moved.groups]
        at = 2
        for i, aggregate in enumerate(moved.aggregates):
            kind = lowering.estimate_type(aggregate)
            for end in ("", "_low", "_high"):
                columns.append(f"CAST(r[{at}] AS {kind}) AS __thresher_a{i}{end}")
                at += 1
        if not moved.groups:
            return f"SELECT {', '.join(columns)} FROM ({_ROWS})"
        # A group is named by one of its rows, so that its values keep their types.
        numbered_rows = f"SELECT r, row_number() OVER () AS i FROM ({_ROWS})"
        return (
            f"SELECT {', '.join(columns)} FROM ({numbered_rows}) AS e "
            f"JOIN {_POPULATION} AS p ON p.{ROW} = CAST(r[1] AS BIGINT) ORDER BY i"
        )


def _sent(side: Side) -> str:
    """Write the aggregate that sends a table of labels."""
    fields = _struct("__thresher_i", ((column, quoted(column)) for column in side.columns))
    return (
        f"SELECT thresh_feed({literal(side.text)}, {fields}) AS sent "
        f"FROM (SELECT *, row_number() OVER () - 1 AS __thresher_i FROM {side.table})"
    )


def _from_two(labels: dict[str, str]) -> list[tuple[int, tuple[str, str]]]:
    return list(enumerate(labels.items(), start=2))


def _struct(number: str, fields: Iterable[tuple[str, str]]) -> str:
    """Write the row that is sent, its number first."""
    return f"{{{', '.join(f'{literal(name)}: {sql}' for name, sql in [(ROW, number), *fields])}}}"
