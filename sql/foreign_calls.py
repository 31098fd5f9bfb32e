"""The calls of one query block: foreign functions, and targets written as named arguments."""

from __future__ import annotations

from collections.abc import Sequence

from thresher.errors import nearest
from thresher.sql.blocks import operand_ends, query_at
from thresher.sql.foreign_arguments import Asked, Form, Range, read_call
from thresher.sql.foreign_blocks import outer_brackets, put, sections
from thresher.sql.foreign_functions import FORMS
from thresher.sql.foreign_prompts import Prompt, string_value
from thresher.sql.foreign_refused import REFUSED, TABLES
from thresher.sql.formula import BOOLEANS, call_at
from thresher.sql.names import DeclaredOracle, Names
from thresher.sql.tokens import Source, Token, identifier

__all__ = ["NAMES", "Calls"]

_TARGETS = {
    "recall": "RECALL TARGET",
    "precision": "PRECISION TARGET",
    "accuracy": "ACCURACY TARGET",
    "probability": "WITH PROBABILITY",
    "oracle_limit": "ORACLE LIMIT",
    "seed": "SEED",
}
_NAMING = (":=", "=>")
_KNOWN = (*FORMS, *REFUSED)
NAMES = frozenset(name.partition(".")[0] for name in _KNOWN)
"""First words of all such functions, in lower case."""
_SCHEMAS = frozenset(
    name[:i] for name in _KNOWN for i, character in enumerate(name) if character == "."
)
_TEXTS = ("VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR")
_RELATION = ("from", "join", "lateral", "as")


class Calls:
    """Rewrites the calls of one block.

    Parameters
    ----------
    source : Source
        The block.
    names : Names
        What is declared.
    notes : list of str
        Takes how each call was understood.
    """

    def __init__(self, source: Source, names: Names, notes: list[str]) -> None:
        self._source, self._names, self._notes = source, names, notes
        self._oracles = frozenset(name.lower() for name in names.oracle_names())
        self._relations = _relations(source)
        self._clauses: dict[str, list[Token]] = {}

    def found(self) -> bool:
        """Whether a function of another system stands in the block that DuckDB does not have."""
        return any(self._foreign_at(i) for i in range(len(self._source.tokens)))

    def rewritten(self) -> list[Token]:
        """Return the block with its calls rewritten; targets named in them come last.

        Raises
        ------
        ProgrammingError
            No oracle can stand for a function, or an argument is wrong.
        NotSupportedError
            The function has no meaning here.
        """
        written = self._emit(0, len(self._source.tokens))
        return written + [token for clause in self._clauses.values() for token in clause]

    def _emit(self, first: int, last: int) -> list[Token]:
        source, written, i = self._source, list[Token](), first
        while i < last:
            end = i + 1
            if source.mark(i, "(") and query_at(source, i + 1):
                end = source.skip(i)  # a block of its own, which is done
                written += source.tokens[i:end]
            elif name := self._foreign_at(i):
                tokens, end = self._foreign(name, i)
                written += tokens
            elif call_at(source, i, self._oracles):
                end = source.skip(i + 1)
                written += self._declared(i)
                self._check_field(i, end)
            else:
                written.append(source.tokens[i])
            i = end
        return written

    def _foreign_at(self, i: int) -> str:
        """Return the name of the function of another system that is called at a token."""
        source = self._source
        name, opened = source.word(i), i + 1
        while name in _SCHEMAS and source.mark(opened, "."):
            name, opened = f"{name}.{source.word(opened + 1)}", opened + 2
        if (name not in FORMS and name not in REFUSED) or not source.mark(opened, "("):
            return ""
        elsewhere = (i in self._relations) != (name in TABLES)
        named = source.mark(i - 1, ".") or operand_ends(source, i - 1) or elsewhere
        if named or name in self._oracles or source.partner[opened] < 0:
            return ""
        return "" if self._is_duckdbs(name, opened) else name

    def _is_duckdbs(self, name: str, opened: int) -> bool:
        """Whether DuckDB has the function, by an extension or a macro, and no oracle is meant."""
        if self._defaults() and name not in REFUSED:
            return False
        inside = self._source.tokens[opened : self._source.partner[opened]]
        if any((string_value([token]) or "").lower() in self._oracles for token in inside):
            return False
        return self._names.has_function(name)

    def _defaults(self) -> list[str]:
        if "default_oracle" not in self._names.settings():
            return []
        value = str(self._names.setting("default_oracle") or "")
        return [name.strip().lower() for name in value.split(",") if name.strip()]

    def _foreign(self, name: str, i: int) -> tuple[Sequence[Token], int]:
        """Write a call of an oracle for the function at a token; return the token after it."""
        source = self._source
        opened = i + 1 + 2 * name.count(".")
        end = source.skip(opened)
        shown = source.text(i, opened).upper()
        if name in REFUSED:
            raise source.refuse(f"{shown} is not supported: {REFUSED[name]}.", i, opened)
        form = FORMS[name]
        self._check_nested(shown, opened, end)
        values, named = self._arguments(source.split(opened + 1, end - 1), ())
        asked = read_call(source, shown, form, (i, end), values, named)
        end = self._path(form, shown, i, end)
        oracle, how = self._oracle(asked, shown, (i, end))
        declared = self._known(oracle, (i, end)).signature.arguments
        call = _call(
            identifier(oracle),
            asked.prompt,
            len(declared),
            source.tokens[i],
            source.tokens[end - 1],
        )
        if call is None:
            n = len(asked.prompt.inputs)
            raise source.error(
                f"the oracle {oracle} takes {len(declared)} arguments, {shown} gives it a prompt "
                f"and {n} input{'s' * (n != 1)}. Declare one argument, which gets all as one "
                f"text, or {n + 1}: the prompt and then the inputs.", i, end,
            )  # fmt: skip
        self._note(f"{shown}(...) is read as a call of the oracle {oracle}, {how}")
        unknown = asked.model is not None and asked.model.lower() != oracle
        for ignored in (*asked.ignored, *([f"the model {asked.model}"] if unknown else [])):
            self._note(f"{ignored} of {shown} is ignored")
        return call, end

    def _path(self, form: Form, shown: str, i: int, end: int) -> int:
        """Step over ``:labels[0]``, ``.result`` or ``['label']``, the way to the one value."""
        source, path, at = self._source, list[str](), end
        while (step := self._step(at)) is not None:
            path.append(step[0])
            at = step[1]
        if tuple(path) in form.paths:
            return at
        if path and (form.paths or source.mark(end, ".")):
            written = source.text(end, at)
            raise source.refuse(
                f"{shown} answers one value, it has no {written}. Write {shown}(...) alone.", i, at
            )
        return end

    def _step(self, i: int) -> tuple[str, int] | None:
        """Read one step of a path: its name or number, and the token after it."""
        source = self._source
        if (source.mark(i, ":") or source.mark(i, ".")) and i + 1 < len(source.tokens):
            named = source.tokens[i + 1].is_name and not source.mark(i + 2, "(")
            return (source.tokens[i + 1].name.lower(), i + 2) if named else None
        if source.mark(i, "[") and source.partner[i] == i + 2:
            inside = source.tokens[i + 1]
            text = inside.text if inside.kind == "number" else string_value([inside])
            return None if text is None else (text.lower(), i + 3)
        return None

    def _check_nested(self, shown: str, opened: int, end: int) -> None:
        for i in range(opened + 1, end):
            if self._foreign_at(i) not in ("", "prompt"):
                raise self._source.refuse(
                    f"an oracle call as an argument of {shown} is not supported. Write the two "
                    "conditions apart, joined by AND.", i,
                )  # fmt: skip

    def _note(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)

    def _oracle(self, asked: Asked, shown: str, span: Range) -> tuple[str, str]:
        """Return the oracle that answers a call, and why it is that one."""
        if asked.model is not None and asked.model.lower() in self._oracles:
            return asked.model.lower(), "which the call names"
        defaults = self._defaults()
        returned = []
        for name in defaults:
            kind = _family(self._known(name, span).signature.returns)
            if kind == asked.returns:
                return name, "of thresher_default_oracle"
            returned.append(f"{name}, which returns {kind}")
        example = (
            f"CREATE ORACLE name(prompt VARCHAR) RETURNS {asked.returns} USING provider WITH (...)"
        )
        if not defaults:
            raise self._source.error(
                f"{shown} needs an oracle that answers it. Write {example}; and "
                "SET thresher_default_oracle = 'name'.", *span,
            )  # fmt: skip
        raise self._source.error(
            f"{shown} needs an oracle that returns {asked.returns}; thresher_default_oracle names "
            f"{' and '.join(returned)}. Write {example}; and SET thresher_default_oracle = "
            f"'{', '.join([*defaults, 'name'])}'.", *span,
        )  # fmt: skip

    def _known(self, name: str, span: Range) -> DeclaredOracle:
        found = self._names.oracle(name)
        if found is None:
            known = self._names.oracle_names()
            raise self._source.error(
                f"thresher_default_oracle names {name}, which is not declared."
                f"{nearest(name, known)}", *span,
            )  # fmt: skip
        return found

    def _declared(self, i: int) -> list[Token]:
        """Take the targets out of a call of a declared oracle."""
        source = self._source
        end = source.skip(i + 1)
        known = self._known(source.tokens[i].name.lower(), (i, end)).signature.arguments
        pieces = source.split(i + 2, end - 1)
        own = [argument.name.lower() for argument in known]
        kept = [piece for piece in pieces if not self._target(piece, own)]
        if len(kept) == len(pieces):
            return [*source.tokens[i : i + 2], *self._emit(i + 2, end - 1), source.tokens[end - 1]]
        written = source.tokens[i : i + 2]
        for k, (first, last) in enumerate(kept):
            comma = [source.tokens[first - 1]] if k else []
            written += [*comma, *self._emit(first, last)]
        return [*written, source.tokens[end - 1]]

    def _arguments(
        self, pieces: Sequence[Range], own: Sequence[str]
    ) -> tuple[list[Range], dict[str, Range]]:
        """Tell arguments by position, by name, and targets apart."""
        source = self._source
        values, named = list[Range](), dict[str, Range]()
        for first, last in pieces:
            if first == last:
                raise source.error("an argument is empty", first - 1)
            if self._target((first, last), own):
                continue
            if last - first > 2 and source.tokens[first + 1].text in _NAMING:
                named[source.tokens[first].name.lower()] = (first + 2, last)
            else:
                values.append((first, last))
        return values, named

    def _target(self, piece: Range, own: Sequence[str]) -> bool:
        """Take an argument such as ``recall := 0.9`` as a clause of the block."""
        source, (first, last) = self._source, piece
        if last - first < 3 or source.tokens[first + 1].text not in _NAMING:
            return False
        name = source.tokens[first].name.lower()
        clause = _TARGETS.get(name)
        if clause is None or name in own:
            return False
        value = source.text(first + 2, last)
        key = f"{clause} {value}"
        if key not in self._clauses:  # two calls may name the same target
            head = put(clause, source.tokens[first])
            self._clauses[key] = [*head, *source.tokens[first + 2 : last]]
            self._note(f"{source.text(first, last)} is read as {key}")
        return True

    def _check_field(self, i: int, end: int) -> None:
        """Refuse ``oracle(x).labels``: an oracle answers one value."""
        source = self._source
        if source.mark(end, ".") and end + 1 < len(source.tokens) and not source.mark(end + 2, "("):
            call = source.text(i, end)
            raise source.refuse(
                f"an oracle answers one value: {call} has no field "
                f"{source.tokens[end + 1].text}. Compare the answer, as in {call} = 'car'.",
                end, end + 2,
            )  # fmt: skip


def _call(
    name: str, prompt: Prompt, n_arguments: int, first: Token, last: Token
) -> Sequence[Token] | None:
    """Write a call of an oracle in the place of tokens; None where its arguments do not fit."""
    if n_arguments == 1:
        arguments: list[Sequence[Token]] = [prompt.joined]
    elif n_arguments == 1 + len(prompt.inputs):
        arguments = [prompt.text, *prompt.inputs]
    else:
        return None
    written = [*put(name, first, last), *put("(", first, last)]
    for k, argument in enumerate(arguments):
        written += [*(put(",", first, last) if k else []), *argument]
    return [*written, *put(")", first, last)]


def _family(returns: str) -> str:
    kind = returns.upper().partition("(")[0].strip()
    if kind in BOOLEANS:
        return "BOOLEAN"
    return "VARCHAR" if kind in _TEXTS else "DOUBLE"


def _relations(source: Source) -> frozenset[int]:
    """Return the tokens where a relation of FROM begins."""
    around = outer_brackets(source)
    found = set()
    for name, first, last in sections(source):
        if name != "from":
            continue
        for i in range(first + 1, last):
            before = source.word(i - 1)
            if before in _RELATION or (source.mark(i - 1, ",") and around[i] == -1):
                found.add(i)
    return frozenset(found)
