"""Prompt templates: declared arguments in braces."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from thresher.errors import nearest
from thresher.oracles.options import Options

__all__ = ["Prompt", "parse_prompt", "system_prompt", "unescape"]

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def unescape(text: str) -> str:
    r"""Return the text with ``\n``, ``\t`` and ``\\`` replaced.

    A plain SQL string holds a backslash and an ``n`` where the user means a new line.

    Examples
    --------
    >>> unescape(r"a\nb")
    'a\nb'
    """
    return re.sub(r"\\([nt\\])", lambda match: _ESCAPES[match[1]], text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A parsed template: literals around placeholders.

    Parameters
    ----------
    literals : tuple of str, length k + 1
        What stands before, between and after the placeholders.
    fields : tuple of int, length k
        Position of the argument that fills each placeholder.
    """

    literals: tuple[str, ...]
    fields: tuple[int, ...]

    @property
    def n_values(self) -> int:
        """How many values `render` reads."""
        return max(self.fields, default=-1) + 1

    def render(self, values: Sequence[str]) -> str:
        """Return the prompt for the arguments of one row."""
        pieces = [self.literals[0]]
        for field, literal in zip(self.fields, self.literals[1:], strict=True):
            pieces += values[field], literal
        return "".join(pieces)

    def example(self) -> str:
        """Return a prompt whose arguments are all ``x``."""
        return self.render(["x"] * self.n_values)

    def rows(self, batch: pa.Table) -> list[tuple[str, ...]]:
        """Return the arguments of each row as text."""
        columns = [column.cast(pa.string()).to_pylist() for column in batch.columns]
        return list(zip(*columns, strict=True))


def parse_prompt(template: str, names: Sequence[str], options: Options) -> Prompt:
    """Parse a template in which ``{argument}`` stands for an argument and ``{{`` for a brace.

    Parameters
    ----------
    template : str
        As the user wrote it.
    names : sequence of str
        Declared arguments; case does not matter, and each must appear.
    options : Options
        For messages.

    Raises
    ------
    OptionError
        If a brace is open, a placeholder is no argument, or an argument is not used.
    """
    listed = ", ".join(f"{{{name}}}" for name in names)
    positions = {name.lower(): i for i, name in enumerate(names)}
    literals, fields = [""], list[int]()
    try:
        pieces = list(string.Formatter().parse(unescape(template)))
    except ValueError as error:
        raise options.error(
            f"the prompt has a brace that does not pair ({error}). Write {{{{ and }}}} for braces.",
            "prompt",
        ) from None
    for literal, field, spec, conversion in pieces:
        literals[-1] += literal
        if field is None:
            continue
        if field.strip().lower() not in positions or spec or conversion:
            written = (
                field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            )
            raise options.error(
                f"the prompt has a placeholder {{{written}}} that is no argument."
                f"{nearest(field, names)} The arguments are {listed}; write {{{{ and }}}} for"
                " braces.",
                "prompt",
            )
        fields.append(positions[field.strip().lower()])
        literals.append("")
    unused = [name for i, name in enumerate(names) if i not in fields]
    if unused:
        raise options.error(
            f"the prompt does not use {{{unused[0]}}}; each argument must appear in it.", "prompt"
        )
    return Prompt(tuple(literals), tuple(fields))


def system_prompt(options: Options, *, chat: bool = True) -> str | None:
    """Return what the system says first, option ``system``; None where it says nothing.

    Raises
    ------
    OptionError
        If it says something outside a chat.
    """
    system = options.text("system")
    if system is not None and not chat:
        raise options.error("option 'system' goes with chat = true.", "system")
    return None if system is None else unescape(system)
