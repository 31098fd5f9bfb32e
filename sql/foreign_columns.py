"""Oracles that are written as columns: ``class = 'car'`` stands for ``class(frame) = 'car'``.

Only an oracle declared WITH (as_column = true) may be written so, and only over a relation that
has the columns named like its arguments and none named like the oracle.
"""

from __future__ import annotations

from thresher.errors import Error
from thresher.plan import Leaf
from thresher.sql.blocks import operand_ends
from thresher.sql.clauses import find_tail
from thresher.sql.foreign_blocks import Edit, edited, outer_brackets, put, sections
from thresher.sql.names import Names
from thresher.sql.relations import parse_from
from thresher.sql.selections import outer_tokens
from thresher.sql.tokens import Source, Token, identifier

__all__ = ["column_oracles", "rewrite_columns"]

_SECTIONS = ("select", "where", "group", "having", "qualify", "order")
_ALIASED = ("group", "having", "qualify", "order")
_LISTS = ("exclude", "rename", "using")


def column_oracles(names: Names) -> frozenset[str]:
    """Return the names, in lower case, of the oracles that may be written as columns."""
    found = ((name, names.oracle(name)) for name in names.oracle_names())
    return frozenset(name.lower() for name, oracle in found if oracle and oracle.as_column)


def rewrite_columns(
    source: Source, names: Names, oracles: frozenset[str], ctes: str, notes: list[str]
) -> list[Token]:
    """Return one query block with such columns written as calls.

    Parameters
    ----------
    source : Source
        The block.
    names : Names
        What is declared, and which columns a relation has.
    oracles : frozenset of str
        As `column_oracles` returns it.
    ctes : str
        The CTEs that the block may name, as ``WITH ...``, or an empty string.
    notes : list of str
        Takes how each column was understood.

    Raises
    ------
    ProgrammingError
        A column may stand for calls over two relations.
    """
    if not any(token.is_name and token.name.lower() in oracles for token in source.tokens):
        return source.tokens
    end = find_tail(source, 0, len(source.tokens), ours=True)
    block = Source(source.sql, source.tokens[:end])
    written = _Columns(block, names, oracles, ctes, notes).rewritten()
    return written + source.tokens[end:]


class _Columns:
    """The columns of one block."""

    def __init__(
        self, source: Source, names: Names, oracles: frozenset[str], ctes: str, notes: list[str]
    ) -> None:
        self._source, self._names, self._oracles = source, names, oracles
        self._ctes, self._notes = ctes, notes
        self._around = outer_brackets(source)
        self._sections = sections(source)
        self._leaves = self._relations()
        self._known: dict[str, frozenset[str]] = {}
        self._aliases = self._written_aliases()

    def rewritten(self) -> list[Token]:
        edits = []
        for name, first, last in self._sections:
            if name not in _SECTIONS:
                continue
            for i in outer_tokens(self._source, first + 1, last):
                if self._is_column(i) and not (name in _ALIASED and self._alias(i)):
                    edits += self._edit(i, first, last if name == "select" else 0)
        return edited(self._source, edits)

    def _relations(self) -> list[Leaf]:
        """Return the relations of FROM; none where it has a form that no oracle can stand by."""
        for name, first, last in self._sections:
            if name == "from":
                try:
                    return parse_from(self._source, first + 1, last, frozenset()).leaves
                except Error:  # it is raised again where the block is bound, if it is ours
                    return []
        return []

    def _written_aliases(self) -> frozenset[str]:
        """Return the names that the SELECT list gives."""
        source = self._source
        return frozenset(
            source.tokens[i].name.lower()
            for name, first, last in self._sections
            if name == "select"
            for i in range(first + 2, last)
            if source.tokens[i].is_name and source.word(i - 1) == "as" and self._around[i] == -1
        )

    def _alias(self, i: int) -> bool:
        qualified = self._source.mark(i - 1, ".")
        return not qualified and self._source.tokens[i].name.lower() in self._aliases

    def _is_column(self, i: int) -> bool:
        """Whether a name in the place of a column stands at a token."""
        source = self._source
        if not source.tokens[i].is_name or source.tokens[i].name.lower() not in self._oracles:
            return False
        after = source.tokens[i + 1].text if i + 1 < len(source.tokens) else ""
        if after in ("(", ".", ":", ":=", "=>", "->"):
            return False
        opened = self._around[i]
        if opened > 0 and source.word(opened - 1) in _LISTS:
            return False
        if source.mark(i - 1, "."):
            return not source.mark(i - 3, ".")
        if source.mark(i - 1, "::"):
            return False
        return source.word(i - 1) not in ("as", *_LISTS) and not operand_ends(source, i - 1)

    def _edit(self, i: int, first: int, end: int) -> list[Edit]:
        """Write a column as a call; in a SELECT list that ends before `end`, under its name."""
        source = self._source
        qualifier = source.tokens[i - 2].name.lower() if source.mark(i - 1, ".") else ""
        name = source.tokens[i].name.lower()
        leaves = [
            leaf
            for leaf in self._leaves
            if qualifier in ("", leaf.alias.lower()) and self._fits(leaf, name)
        ]
        taken = any(name in self._columns(leaf) for leaf in self._leaves) and not qualifier
        if not leaves or taken:
            return []
        start = i - 2 if qualifier else i
        written = source.text(start, i + 1)
        if len(leaves) > 1:
            choice = " or ".join(f"{leaf.alias}.{name}" for leaf in leaves)
            raise source.error(f"{written} may be of two relations: write {choice}", i)
        prefix = f"{identifier(leaves[0].alias)}." if len(self._leaves) > 1 or qualifier else ""
        declared = self._arguments(name)
        arguments = ", ".join(prefix + identifier(argument) for argument in declared)
        call = f"{identifier(name)}({arguments})"
        note = f"the column {written} is read as {call}"
        if note not in self._notes:
            self._notes.append(note)
        alone = end and (start, i + 1) in source.split(first + 1, end)
        sql = f"{call} AS {identifier(name)}" if alone else call
        return [Edit(start, i + 1, put(sql, source.tokens[start], source.tokens[i]))]

    def _arguments(self, name: str) -> list[str]:
        oracle = self._names.oracle(name)
        return [argument.name for argument in oracle.signature.arguments] if oracle else []

    def _fits(self, leaf: Leaf, name: str) -> bool:
        """Whether a relation has the oracle's arguments and no column of its name."""
        columns = self._columns(leaf)
        wanted = {argument.lower() for argument in self._arguments(name)}
        return name not in columns and wanted <= columns

    def _columns(self, leaf: Leaf) -> frozenset[str]:
        if leaf.relation not in self._known:
            found = self._names.columns(leaf.relation, self._ctes)
            renamed = [name.lower() for name in leaf.columns]
            left = [name.lower() for name in found[len(renamed) :]]
            self._known[leaf.relation] = frozenset([*renamed, *left] if found else [])
        return self._known[leaf.relation]
