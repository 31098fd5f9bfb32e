"""The clauses of thresher at the end of a query block: found, checked and taken off.

A clause is found at token level: at bracket depth 0, by its words, and only where its words
cannot be names. So a table called ``oracle`` or a column called ``recall`` still works, and
``ORDER BY oracle LIMIT 5`` holds no clause.
"""

from __future__ import annotations

import decimal
import difflib
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from thresher.errors import Error, ProgrammingError
from thresher.plan import Place, Tail
from thresher.sql.blocks import operand_ends, section_at
from thresher.sql.tokens import Source
from thresher.targets import Shortfall

__all__ = [
    "TailClauses",
    "check_words",
    "clause_name",
    "find_clause",
    "find_tail",
    "parse_tail",
    "unknown_clause",
]

_HEADS: dict[tuple[str, ...], str] = {
    ("on", "oracle", "error"): "ON ORACLE ERROR",
    ("recall", "target"): "RECALL TARGET",
    ("precision", "target"): "PRECISION TARGET",
    ("accuracy", "target"): "ACCURACY TARGET",
    ("with", "probability"): "WITH PROBABILITY",
    ("at", "confidence"): "WITH PROBABILITY",
    ("oracle", "limit"): "ORACLE LIMIT",
    ("on", "shortfall"): "ON SHORTFALL",
    ("error", "within"): "ERROR WITHIN",
    ("confidence",): "WITH PROBABILITY",
    ("seed",): "SEED",
    ("budget",): "BUDGET",
    ("assuming",): "ASSUMING",
    ("using",): "USING",
}
_FIRST_WORDS = frozenset(words[0] for words in _HEADS)
_WRITTEN = [" ".join(words).upper() for words in _HEADS]
_LATER = {
    "ACCURACY TARGET": "Write RECALL TARGET and PRECISION TARGET.",
    "ERROR WITHIN": "Without targets and without ERROR WITHIN an aggregate is exact: every row "
    "that can count is labelled.",
    "BUDGET": "Write ORACLE LIMIT n, the number of labels.",
    "ASSUMING": "Leave it out: the guarantee then needs no assumption on the proxy.",
    "ON ORACLE ERROR": "Leave it out: the query fails when the oracle fails on a row.",
}
_SAMPLES = ("reservoir", "bernoulli", "system")
_SHORTFALLS = ("FAIL", "RETURN", "EXACT")
_BEFORE_NUMBER = (
    "rows",
    "range",
    "preceding",
    "first",
    "next",
    "row",
    "all",
    "nulls",
    "date",
    "interval",
)
_MOST = 2**63 - 1  # of a seed and of labels: what the label store can keep
_PAST_ANY = 10**40  # stands for larger numbers, which need not fit a float
_AFTER_WHERE = (
    "where",
    "group",
    "having",
    "window",
    "qualify",
    "order",
    "limit",
    "offset",
    "fetch",
)


@dataclass(slots=True)
class TailClauses:
    """What was read so far: the checked clauses, and the token ranges of the items of USING."""

    values: dict[str, object] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    using: list[tuple[int, int]] = field(default_factory=list)

    def tail(self) -> Tail:
        """Return the clauses as a plan node."""
        get = self.values.get
        return Tail(
            recall=cast(float | None, get("RECALL TARGET")),
            precision=cast(float | None, get("PRECISION TARGET")),
            probability=cast(float | None, get("WITH PROBABILITY")),
            oracle_limit=cast(int | None, get("ORACLE LIMIT")),
            on_shortfall=cast(Shortfall | None, get("ON SHORTFALL")),
            seed=cast(int | None, get("SEED")),
            places=dict(self.places),
        )


def _head(source: Source, i: int) -> tuple[str, int]:
    """Return the clause whose words stand at a token, and how many words; or an empty name."""
    if source.word(i) not in _FIRST_WORDS:
        return "", 0
    for words, clause in _HEADS.items():
        if source.words(i, *words):
            return clause, len(words)
    return "", 0


def _value_follows(source: Source, i: int) -> bool:
    """Whether a number, a parameter or a string stands at a token, with or without sign."""
    if i < len(source.tokens) and source.tokens[i].text in ("+", "-"):
        i += 1
    return i < len(source.tokens) and source.tokens[i].kind in ("number", "parameter", "string")


def find_tail(source: Source, first: int, last: int, *, ours: bool) -> int:
    """Return the first token of the clauses at the end of a block, `last` if there are none.

    Parameters
    ----------
    source : Source
        The statement.
    first, last : int
        Token range of the block.
    ours : bool
        Whether it is known to call an oracle; words that might be names are then read as clauses.
    """
    section, joining = "", False
    i = first
    while i < last:
        if found := section_at(source, i):
            section, joining = found, False
        elif section == "from" and source.word(i) == "join":
            joining = True
        elif section == "from" and joining and source.word(i) in ("on", "using"):
            joining = False
        elif section and _is_clause(source, i, last, section, ours=ours):
            return i
        i = source.skip(i)
    return last


def _is_clause(source: Source, i: int, last: int, section: str, *, ours: bool) -> bool:
    clause, n_words = _head(source, i)
    if not clause or source.mark(i - 1, "."):
        return False
    after, ended = section in _AFTER_WHERE, operand_ends(source, i - 1)
    value = _value_follows(source, i + n_words)
    match clause:
        case "USING":
            return ended and not _is_sample(source, i + 1)
        case "ON SHORTFALL" | "ON ORACLE ERROR":
            return ended
        case "ASSUMING":
            return ended and after and i + 1 < last
        case "ORACLE LIMIT":
            return ended and (after or ours)
        case _ if n_words == 1:
            unsigned = source.tokens[i - 1].text != "%" or source.tokens[i + 1].text not in "+-"
            if value:
                return ended and unsigned
            return ended and after and (i + 1 == last or bool(_head(source, i + 1)[0]))
        case _:
            return value or (ended and after)


def _is_sample(source: Source, i: int) -> bool:
    """Whether ``USING SAMPLE 10%`` or ``USING SAMPLE reservoir(10)`` stands there: DuckDB's."""
    if source.word(i) != "sample" or i + 1 >= len(source.tokens):
        return False
    at = i + 1 + (source.word(i + 1) in _SAMPLES)
    at += source.mark(at, "(")
    return at < len(source.tokens) and source.tokens[at].kind in ("number", "parameter")


def find_clause(source: Source, first: int, last: int) -> int | None:
    """Return the first token of a clause at any depth that cannot be anything else, or None."""
    for i in range(first, last):
        clause, n_words = _head(source, i)
        certain = n_words > 1 and _value_follows(source, i + n_words)
        if clause == "ON SHORTFALL":
            certain = source.word(i + 2).upper() in _SHORTFALLS
        if certain and clause != "ORACLE LIMIT" and not source.mark(i - 1, "."):
            return i
    return None


def clause_name(source: Source, i: int) -> str:
    """Return the clause at a token as it is written there."""
    n_words = _head(source, i)[1]
    return source.text(i, i + n_words).upper()


def parse_tail(source: Source, first: int, last: int) -> TailClauses:
    """Read the clauses in tokens ``first:last``.

    Raises
    ------
    ProgrammingError
        A clause is misspelt, stands twice, has no value or a wrong one, or is not at the end.
    NotSupportedError
        A clause belongs to a later version.
    """
    clauses = TailClauses()
    i = first
    while i < last:
        clause, n_words = _head(source, i)
        if not clause:
            raise _misplaced(source, i, first)
        if clause in _LATER:
            raise source.refuse(f"{clause} is not supported yet. {_LATER[clause]}", i, i + n_words)
        if clause in clauses.places:
            line = source.sql.count("\n", 0, clauses.places[clause].offset) + 1
            raise source.error(
                f"{clause} stands twice; the first is in line {line}", i, i + n_words
            )
        end = _READERS[clause](source, i, i + n_words, last, clauses)
        clauses.places[clause] = source.place(i, end)
        i = end
    return clauses


def _misplaced(source: Source, i: int, first: int) -> Error:
    word = source.tokens[i].text
    if section := section_at(source, i):
        shown = f"{section.upper()} BY" if section in ("group", "order") else section.upper()
        return source.error(
            f"clauses come last: write {shown} before {clause_name(source, first)}", i
        )
    if source.tokens[i].kind != "word":
        return source.error(f"a clause or the end of the statement must stand here, not {word}", i)
    return unknown_clause(source, i)


def unknown_clause(source: Source, i: int) -> ProgrammingError:
    """Make the error for words that are no clause, with the clause that may be meant."""
    for n_words in (2, 1) if source.word(i + 1) else (1,):
        written = source.text(i, min(i + n_words, len(source.tokens)))
        if hint := _meant(written, _WRITTEN):
            return source.error(f"unknown clause {written}.{hint}", i, i + n_words)
    return source.error(
        f"unexpected {source.tokens[i].text}. The clauses are USING, RECALL TARGET, PRECISION "
        "TARGET, WITH PROBABILITY, ORACLE LIMIT, ON SHORTFALL and SEED.",
        i,
    )


def _meant(written: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(written.upper(), known, n=1, cutoff=0.7)
    return f" Did you mean {found[0]}?" if found else ""


def check_words(source: Source, first: int, last: int) -> None:
    """Find a misspelt clause after WHERE: a word before a number that SQL does not put there.

    Raises
    ------
    ProgrammingError
        There is one, as in ``ORDER BY x RECAL TARGET 0.9``.
    """
    i = first
    while i < last:
        if source.tokens[i].kind in ("number", "parameter") and operand_ends(source, i - 1):
            start = i - 1
            if source.tokens[start].kind == "word" and source.word(start) not in _BEFORE_NUMBER:
                start -= operand_ends(source, start - 1) and bool(source.word(start - 1))
                raise unknown_clause(source, start)
        i = source.skip(i)


def _number(source: Source, head: int, i: int, last: int, example: str) -> tuple[float, int, bool]:
    """Read a number, maybe with sign and percent sign: value, next token, whether a percentage."""
    name = source.text(head, i).upper()
    negative = i < last and source.tokens[i].text in ("+", "-")
    sign = -1 if negative and source.tokens[i].text == "-" else 1
    at = i + negative
    if at >= last or source.tokens[at].kind not in ("number", "parameter", "string"):
        if (
            at < last
            and source.word(at)
            and not _head(source, at)[0]
            and not section_at(source, at)
        ):
            raise source.error(f"{name} needs {example}, got {source.tokens[at].text}", at)
        raise source.error(f"{name} needs a value: write {example}", head, i)
    token = source.tokens[at]
    value: object = token.value
    if token.kind == "number":
        text = token.text.replace("_", "")
        value = int(text) if text.isdigit() and len(text) <= 40 else float(text)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | decimal.Decimal):
        got = repr(value) if token.kind == "parameter" else token.text
        raise source.error(f"{name} needs {example}, got {got}", at)
    percent = at + 1 < last and source.tokens[at + 1].text == "%"
    percent = percent or source.word(at + 1) == "percent"
    if isinstance(value, numbers.Integral):
        return sign * max(-_PAST_ANY, min(int(value), _PAST_ANY)), at + 1 + percent, percent
    exact = float(value)
    return sign * exact, at + 1 + percent, percent


def _share(closed: bool) -> Callable[[Source, int, int, int, TailClauses], int]:
    """Make the reader of a share in (0, 1], or in (0, 1) when not `closed`."""

    def read(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
        name = source.text(head, i).upper()
        value, end, percent = _number(source, head, i, last, "a share such as 90% or 0.9")
        share = value / 100 if percent else value
        if not (0 < share < 1 or (closed and share == 1)):
            hint = "Write a share such as 90% or 0.9."
            if not percent and 1 < value < 100:
                hint = f"Write {value:g}% or {value / 100:g}."
            interval = "(0, 1]" if closed else "(0, 1)"
            got = source.text(i, end) if source.tokens[i].kind != "parameter" else f"{value:g}"
            raise source.error(f"{name} must be in {interval}, got {got}. {hint}", i, end)
        clauses.values[_head(source, head)[0]] = float(share)
        return end

    return read


def _whole(least: int) -> Callable[[Source, int, int, int, TailClauses], int]:
    """Make the reader of a whole number from `least` up."""

    def read(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
        name = source.text(head, i).upper()
        value, end, percent = _number(source, head, i, last, "a whole number such as 1000")
        if percent or value != value or (abs(value) < _MOST and value % 1):
            raise source.error(f"{name} must be a whole number, got {source.text(i, end)}", i, end)
        if value < least:
            raise source.error(f"{name} must be at least {least}, got {value:g}", i, end)
        if value > _MOST:
            got = source.text(i, end) if source.tokens[i].kind != "parameter" else f"{value:g}"
            raise source.error(f"{name} must be below 2^63, got {got}", i, end)
        clauses.values[_head(source, head)[0]] = int(value)
        return end

    return read


def _shortfall(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    word = source.word(i).upper() if i < last else ""
    if word not in _SHORTFALLS:
        at, got = (i, f", got {source.tokens[i].text}") if i < last else (head, "")
        hint = _meant(word, _SHORTFALLS)
        raise source.error(f"ON SHORTFALL needs FAIL, RETURN or EXACT{got}.{hint}", at)
    clauses.values["ON SHORTFALL"] = word
    return i + 1


def _using(source: Source, head: int, i: int, last: int, clauses: TailClauses) -> int:
    """Read ``[PROXY] expression, ...`` up to the next clause."""
    named = source.word(i) == "proxy" and i + 1 < last and not _ends_item(source, i + 1, last)
    i += named
    end = i
    while end < last and not _is_clause(source, end, last, "limit", ours=True):
        if section_at(source, end):
            raise _misplaced(source, end, head)
        end = source.skip(end)
    items = source.split(i, end)
    if not items or any(a == b for a, b in items):
        raise source.error("USING needs a column, an expression or a proxy's name", head)
    clauses.using = items
    return end


def _ends_item(source: Source, i: int, last: int) -> bool:
    """Whether an item of USING has ended: then the word before was a name, not PROXY."""
    token = source.tokens[i]
    return (
        source.mark(i, ",")
        or source.mark(i, ".")
        or (token.kind == "operator" and token.text not in ("-", "+"))
        or token.text in ("::", "[")
        or _is_clause(source, i, last, "limit", ours=True)
    )


_READERS: dict[str, Callable[[Source, int, int, int, TailClauses], int]] = {
    "USING": _using,
    "RECALL TARGET": _share(closed=True),
    "PRECISION TARGET": _share(closed=True),
    "WITH PROBABILITY": _share(closed=False),
    "ORACLE LIMIT": _whole(1),
    "ON SHORTFALL": _shortfall,
    "SEED": _whole(0),
}
