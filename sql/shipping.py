"""A bound query over rows that another process sends: what to send of each row, and the query then.

Every SQL text over FROM becomes one column of the rows that are sent, so that the query can be run
where the relations of FROM cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thresher.plan import Estimation, Leaf, OracleCall, Outputs, SelectionQuery

__all__ = ["ORDER", "ROW", "SENT", "Shipped", "ship"]

ROW = "__thresher_n"  # the number of a row among those that are sent
SENT = "__thresher_sent"  # the relation of the rows that are sent
ORDER = "__thresher_order"  # the place of a row in the order of the answer


@dataclass(frozen=True, slots=True)
class Shipped:
    """A query and what is sent of its rows.

    Parameters
    ----------
    asked : SelectionQuery
        The query as it was bound.
    query : SelectionQuery
        The same query over one relation, `SENT`, whose rows `ROW` names. What follows WHERE is
        left as it is written and must not be run over `SENT`.
    columns : tuple of (str, str)
        (name, SQL over FROM) of each column of `SENT` besides `ROW` and the row columns.
    ordered : bool
        Whether the rows have the column `ORDER` too.
    """

    asked: SelectionQuery
    query: SelectionQuery
    columns: tuple[tuple[str, str], ...]
    ordered: bool


class _Columns:
    """Names for expressions; equal texts share one."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def __call__(self, sql: str) -> str:
        return self.names.setdefault(sql, f"__thresher_f{len(self.names)}")


def ship(query: SelectionQuery) -> Shipped:
    """Return a query over rows that are sent, and what to send.

    Parameters
    ----------
    query : SelectionQuery
        The bound query.
    """
    column = _Columns()
    labelled, outputs, estimation = query.labelled, query.outputs, query.estimation
    if labelled is not None:
        prediction = labelled.prediction and column(labelled.prediction)
        labelled = replace(labelled, rows=labelled.rows[:1], prediction=prediction)
    moved = replace(
        query,
        ctes="",
        leaves=(Leaf(SENT, SENT, None, (), ROW),),
        from_sql=("", ""),
        plain=None,
        parts=tuple((name, column(sql)) for name, sql in query.parts),
        calls=_calls(query.calls, column),
        proxies=tuple(
            term if term.name else replace(term, sql=column(term.sql or term.text))
            for term in query.proxies
        ),
        estimation=None if estimation is None else _estimation(estimation, column),
        labelled=labelled,
        outputs=None if outputs is None else _outputs(query, outputs, column),
        sought=query.sought and replace(
            query.sought, gap_on=query.sought.gap_on and column(query.sought.gap_on)
        ),
    )  # fmt: skip
    columns = tuple((name, sql) for sql, name in column.names.items())
    return Shipped(query, moved, columns, _ordered(query))


def _calls(calls: Sequence[OracleCall], column: _Columns) -> tuple[OracleCall, ...]:
    return tuple(replace(call, arguments=tuple(map(column, call.arguments))) for call in calls)


def _estimation(estimation: Estimation, column: _Columns) -> Estimation:
    measured = tuple(
        one if one.plain_sql is None else replace(one, plain_sql=column(one.plain_sql))
        for one in estimation.measured
    )
    groups = tuple((name, column(sql)) for name, sql in estimation.groups)
    return replace(estimation, groups=groups, measured=measured)


def _outputs(query: SelectionQuery, outputs: Outputs, column: _Columns) -> Outputs:
    """Move the calls of the SELECT list."""
    ordered = _by_answers(query)
    return replace(
        outputs,
        calls=_calls(outputs.calls, column),
        rows=outputs.rows[:1],
        late=tuple(late and not ordered for late in outputs.late),
    )


def _by_answers(query: SelectionQuery) -> bool:
    """Whether answers of oracles decide the order, so that nothing of it is known before them."""
    outputs = query.outputs
    return outputs is not None and bool(query.answer.order) and not all(outputs.late)


def _ordered(query: SelectionQuery) -> bool:
    """Whether it matters which rows come first, and ORDER BY says so without an oracle."""
    outputs, answer = query.outputs, query.answer
    cut = query.sought is not None or (outputs is not None and bool(answer.limit))
    return cut and bool(answer.order) and not _by_answers(query)
