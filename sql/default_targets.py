"""Targets that settings give to a query block which names none itself."""

from __future__ import annotations

from collections.abc import Callable

from thresher.sql.blocks import cut
from thresher.sql.clauses import find_tail, parse_tail
from thresher.sql.foreign_blocks import put
from thresher.sql.names import Names
from thresher.sql.selections import AGGREGATES, outer_tokens
from thresher.sql.tokens import Source, Token

__all__ = ["TARGET_SETTINGS", "add_targets", "targets_set"]

TARGET_SETTINGS = {
    "recall_target": "RECALL TARGET {}",
    "precision_target": "PRECISION TARGET {}",
    "accuracy_target": "ACCURACY TARGET {}",
    "error_target": "ERROR WITHIN {} RELATIVE",
}
_OWN = ("RECALL TARGET", "PRECISION TARGET", "ACCURACY TARGET", "ERROR WITHIN")


def targets_set(names: Names) -> dict[str, float]:
    """Return the settings that give targets, and their values."""
    known = names.settings()
    values = {name: names.setting(name) for name in TARGET_SETTINGS if name in known}
    return {name: value for name, value in values.items() if isinstance(value, float)}


def add_targets(
    source: Source,
    targets: dict[str, float],
    called: Callable[[Source, int], bool],
    notes: list[str],
) -> list[Token]:
    """Return one query block with the targets of the settings behind it.

    Parameters
    ----------
    source : Source
        The block, with its own clauses in canonical form.
    targets : dict of str to float
        As `targets_set` returns them; not empty.
    called : callable
        Whether an oracle call begins at a token.
    notes : list of str
        Takes which targets were added.

    Raises
    ------
    ProgrammingError
        Two settings contradict each other.
    """
    n = len(source.tokens)
    calls = [i for i in outer_tokens(source, 0, n) if called(source, i)]
    if not calls:
        return source.tokens
    end = find_tail(source, 0, n, ours=True)
    block, clauses = cut(source, 0, end), parse_tail(source, end, n)
    if any(clause in clauses.places for clause in _OWN):
        return source.tokens
    selected = range(*block.range("select"))
    if any(
        source.word(i) in AGGREGATES and source.mark(i + 1, "(")
        for i in outer_tokens(source, selected.start, selected.stop)
    ):
        wanted = ["error_target"] if "ASSUMING" not in clauses.places else []
    elif any(i in selected for i in calls):
        wanted = ["accuracy_target"]
    elif "group" in block.sections:
        wanted = []
    else:
        wanted = ["recall_target", "precision_target", "accuracy_target"]
    chosen = [name for name in wanted if name in targets]
    if "accuracy_target" in chosen[1:]:
        raise source.error(
            f"thresher_accuracy_target does not go with thresher_{chosen[0]}: RESET one of them",
            calls[0],
        )
    tokens = list(source.tokens)
    for name in chosen:
        clause = TARGET_SETTINGS[name].format(f"{targets[name]:.15g}")
        tokens += put(clause, source.tokens[-1])
        notes.append(f"{clause} is taken from thresher_{name}")
    return tokens
