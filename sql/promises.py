"""Which clauses go together: targets, budgets and assumptions."""

from __future__ import annotations

from typing import cast

from thresher.errors import Error, ProgrammingError
from thresher.plan import Tail
from thresher.sql.clause_heads import TailClauses
from thresher.sql.tokens import Source
from thresher.targets import AssumptionName, QueryKind, query_kind

__all__ = ["check_outputs", "check_promises"]

_KINDS: dict[QueryKind, str] = {
    "exact": "a query without a target",
    "rows": "LIMIT without a target",
    "recall": "RECALL TARGET",
    "precision": "PRECISION TARGET",
    "joint": "both targets",
    "accuracy": "ACCURACY TARGET",
    "estimate": "estimates",
}
_CONDITIONAL = ("RECALL TARGET", "PRECISION TARGET", "USING", "ASSUMING", "ON SHORTFALL", "GAP")
_SERVES: dict[AssumptionName, tuple[QueryKind, ...]] = {
    "CALIBRATION": ("recall",),
    "PROXY QUALITY": ("recall", "precision"),
    "CORE SET CLOSURE": ("recall", "precision"),
    "NORMALITY": ("recall", "precision", "joint", "estimate"),
}


def check_promises(
    source: Source, clauses: TailClauses, tail: Tail, *, estimated: bool, sought: bool
) -> None:
    """Refuse clauses that do not go together.

    Parameters
    ----------
    source : Source
        The statement.
    clauses, tail
        What was read of them.
    estimated : bool
        Whether the aggregates of the block are estimated.
    sought : bool
        Whether a number of positive rows is enough.

    Raises
    ------
    ProgrammingError
        Two clauses contradict each other; the error stands at one of them.
    """
    selects = [n for n in ("RECALL TARGET", "PRECISION TARGET") if n in clauses.places]
    for clause in ("ACCURACY TARGET", "ERROR WITHIN"):
        if clause in clauses.places and selects:
            what = (
                "every row gets a label"
                if clause == "ACCURACY TARGET"
                else "aggregates are estimated over all positive rows"
            )
            raise _at(
                source,
                clauses,
                f"{clause} does not go with {selects[0]}: with it {what}. Leave one of them out.",
                clause,
            )
    if tail.accuracy is not None and tail.error is not None:
        raise _at(source, clauses, "ACCURACY TARGET does not go with ERROR WITHIN", "ERROR WITHIN")
    kind = query_kind(tail.recall, tail.precision, tail.accuracy, estimated=estimated, rows=sought)
    if kind in ("accuracy", "estimate") and tail.on_shortfall == "EXACT":
        raise _at(
            source,
            clauses,
            f"ON SHORTFALL EXACT does not serve {_KINDS[kind]}. Write ON SHORTFALL RETURN for what "
            "is proved, or leave the target and the limit out for an exact answer.",
            "ON SHORTFALL",
        )
    if tail.budget and (kind == "exact" or tail.assuming):
        what = "beside ASSUMING" if tail.assuming else "without a target"
        raise _at(
            source,
            clauses,
            f"a budget of SECONDS or USD {what} is not supported. Write ORACLE LIMIT n.",
            "BUDGET",
        )
    if tail.assuming is not None and kind not in _SERVES[tail.assuming.name]:
        raise _at(
            source,
            clauses,
            f"ASSUMING {tail.assuming.name} does not serve {_KINDS[kind]}. CALIBRATION serves "
            "RECALL TARGET; PROXY QUALITY and CORE SET CLOSURE serve RECALL TARGET or "
            "PRECISION TARGET; NORMALITY serves one of them or both, and estimates. Leave ASSUMING "
            "out: the promise then rests on no assumption.",
            "ASSUMING",
        )
    if tail.assuming is not None and tail.error is not None:
        raise _at(
            source,
            clauses,
            "ERROR WITHIN does not go with ASSUMING NORMALITY: limits that hold for one size of "
            "sample do not hold where they look narrow enough to stop. Write ORACLE LIMIT n in its "
            "place, or leave ASSUMING out.",
            "ERROR WITHIN",
        )


def check_outputs(source: Source, clauses: TailClauses, *, called: bool) -> None:
    """Refuse clauses that do not go with oracle calls in the SELECT list or ORDER BY.

    Parameters
    ----------
    source : Source
        The statement.
    clauses : TailClauses
        What was read of its clauses.
    called : bool
        Whether WHERE calls an oracle.

    Raises
    ------
    ProgrammingError
        A clause is about a condition where there is none, or a budget ends what must be complete.
    """
    budget = clauses.values.get("BUDGET", ())
    if any(unit != "CALLS" for _, unit in cast(tuple[tuple[float, str], ...], budget)):
        raise _at(
            source,
            clauses,
            "a budget of SECONDS or USD beside oracle calls in the SELECT list or ORDER BY is not "
            "supported: every row that comes back needs their answers. Write ORACLE LIMIT n.",
            "BUDGET",
        )
    for clause in _CONDITIONAL:
        if clause in clauses.places and not called:
            raise _at(
                source,
                clauses,
                f"{clause} is about rows for which a condition holds, and WHERE calls no oracle: "
                "every row of WHERE comes back. Call an oracle in WHERE, or leave the clause out; "
                "ACCURACY TARGET takes some of the answers from a proxy.",
                clause,
            )


def _at(source: Source, clauses: TailClauses, message: str, clause: str) -> Error:
    place = clauses.places[clause]
    return ProgrammingError(message).at(source.sql, place.offset, place.length)
