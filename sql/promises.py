"""Which clauses go together: targets, budgets and assumptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from thresher.errors import Error, ProgrammingError
from thresher.plan import Place, Tail
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a block asks for: its clauses, and the kind of answer that they make."""

    written: Mapping[str, Place]
    tail: Tail
    kind: QueryKind


_Refusal = tuple[str, str]  # the clause at which it stands, and the message


def _one_kind_of_target(asked: _Asked) -> _Refusal | None:
    selects = [name for name in ("RECALL TARGET", "PRECISION TARGET") if name in asked.written]
    kinds = {
        "ACCURACY TARGET": "every row gets a label",
        "ERROR WITHIN": "aggregates are estimated over all positive rows",
    }
    for clause, what in kinds.items():
        if clause in asked.written and selects:
            return clause, (
                f"{clause} does not go with {selects[0]}: with it {what}. Leave one of them out."
            )
    if all(clause in asked.written for clause in kinds):
        return "ERROR WITHIN", (
            "ERROR WITHIN does not go with ACCURACY TARGET: one estimates aggregates, the other "
            "gives every row a label. Leave one of them out."
        )
    return None


def _exact_on_shortfall(asked: _Asked) -> _Refusal | None:
    if asked.kind not in ("accuracy", "estimate") or asked.tail.on_shortfall != "EXACT":
        return None
    return "ON SHORTFALL", (
        f"ON SHORTFALL EXACT does not serve {_KINDS[asked.kind]}. Write ON SHORTFALL RETURN for "
        "what is proved, or leave the target and the limit out for an exact answer."
    )


def _budget(asked: _Asked) -> _Refusal | None:
    if not asked.tail.budget or not asked.tail.assuming:
        return None
    return "BUDGET", (
        "a budget of TOKENS, SECONDS or USD beside ASSUMING is not supported: what is assumed "
        "serves one size of sample. Write ORACLE LIMIT n."
    )


def _assumption(asked: _Asked) -> _Refusal | None:
    assuming = asked.tail.assuming
    if assuming is None:
        return None
    if asked.kind not in _SERVES[assuming.name]:
        return "ASSUMING", (
            f"ASSUMING {assuming.name} does not serve {_KINDS[asked.kind]}. CALIBRATION serves "
            "RECALL TARGET; PROXY QUALITY and CORE SET CLOSURE serve RECALL TARGET or "
            "PRECISION TARGET; NORMALITY serves one of them or both, and estimates. Leave ASSUMING "
            "out: the promise then rests on no assumption."
        )
    if asked.tail.error is not None:
        return "ERROR WITHIN", (
            "ERROR WITHIN does not go with ASSUMING NORMALITY: limits that hold for one size of "
            "sample do not hold where they look narrow enough to stop. Write ORACLE LIMIT n in its "
            "place, or leave ASSUMING out."
        )
    return None


_RULES: tuple[Callable[[_Asked], _Refusal | None], ...] = (
    _one_kind_of_target,
    _exact_on_shortfall,
    _budget,
    _assumption,
)


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
    kind = query_kind(tail.recall, tail.precision, tail.accuracy, estimated=estimated, rows=sought)
    asked = _Asked(clauses.places, tail, kind)
    for rule in _RULES:
        if (refusal := rule(asked)) is not None:
            clause, message = refusal
            raise _at(source, clauses, message, clause)


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
        A clause is about a condition where there is none.
    """
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
