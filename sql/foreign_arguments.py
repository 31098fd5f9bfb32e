"""The arguments of a function of another system, and what is read of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from thresher.sql.foreign_prompts import Prompt, pieces_of, prompt_of, string_value
from thresher.sql.tokens import Source, Token

__all__ = ["Asked", "Call", "Form", "Range", "read_call"]

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, read.

    Parameters
    ----------
    prompt : Prompt
        What is asked.
    returns : str
        'BOOLEAN', 'VARCHAR' or 'DOUBLE'.
    model : str or None
        The model or endpoint that the call names.
    ignored : tuple of str
        Arguments that have no meaning here.
    """

    prompt: Prompt
    returns: str
    model: str | None = None
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class Call:
    """The arguments of a call; what a reader takes is taken out."""

    source: Source
    name: str
    span: Range
    values: list[Range]
    named: dict[str, Range] = field(default_factory=dict)

    def take(self, what: str, *names: str) -> Range:
        """Take the named argument, or the next one without a name."""
        for name in names:
            if name in self.named:
                return self.named.pop(name)
        if not self.values:
            raise self.source.error(f"{self.name} needs {what}", *self.span)
        return self.values.pop(0)

    def text(self, *names: str) -> str | None:
        """Take a named string, if there is one."""
        for name in names:
            if name in self.named:
                return string_value(self.tokens(self.named.pop(name)))
        return None

    def tokens(self, item: Range) -> list[Token]:
        """Return the tokens of one argument."""
        return self.source.tokens[slice(*item)]

    def prompt(self, item: Range) -> Prompt:
        """Read one argument that holds everything; as it is written for an oracle of one."""
        pieces = pieces_of(self.source, *item)
        if not pieces:
            raise self.source.error(f"{self.name} needs a prompt", *self.span)
        made = prompt_of(pieces)
        plain = not self.source.mark(item[0], "(") and self.source.word(item[0]) != "prompt"
        return Prompt(self.tokens(item), made.text, made.inputs) if plain else made

    def texts(self, item: Range, what: str, example: str) -> list[str]:
        """Read ``['a', 'b']``, ``ARRAY('a', 'b')`` or ``[{'label': 'a', ...}]`` as texts."""
        source, (first, last) = self.source, item
        opened = first + (source.word(first) == "array")
        listed = opened < last and source.partner[opened] == last - 1 and opened + 2 < last
        found = [self._label(part) for part in source.split(opened + 1, last - 1)] if listed else []
        texts = [text for text in found if text is not None]
        if not texts or len(texts) < len(found):
            message = f"{self.name} needs its {what} written out, as in {example}"
            raise source.error(message, first, last)
        return texts

    def _label(self, item: Range) -> str | None:
        """Read one of several texts; of a struct or pair the label, its description in brackets."""
        source, (first, last) = self.source, item
        if source.mark(first, "(") and source.partner[first] == last - 1:
            pair = [string_value(self.tokens(at)) for at in source.split(first + 1, last - 1)]
            label, description = [*pair, None, None][:2]
        elif source.mark(first, "{"):
            found = {key: string_value(self.tokens(at)) for key, at in self.struct(item).items()}
            label, description = found.get("label"), found.get("description")
        else:
            return string_value(self.tokens(item))
        return f"{label} ({description})" if label and description else label

    def struct(self, item: Range) -> dict[str, Range]:
        """Read ``{'key': value, ...}`` as the token ranges of its values."""
        source, (first, last) = self.source, item
        if not source.mark(first, "{") or source.partner[first] != last - 1:
            raise source.error(f"{self.name} takes structs, as in {{'prompt': '...'}}", first, last)
        found = {}
        for a, b in source.split(first + 1, last - 1):
            if b - a < 3 or not source.mark(a + 1, ":"):
                raise source.error("a field is written 'key': value", a, b)
            found[(string_value([source.tokens[a]]) or source.tokens[a].name).lower()] = (a + 2, b)
        return found

    def rest(self) -> tuple[str, ...]:
        """Name the arguments that nothing has taken."""
        return (*(self.source.text(*item) for item in self.values), *self.named)


@dataclass(frozen=True, slots=True)
class Form:
    """A function of another system.

    Parameters
    ----------
    returns : str
        'BOOLEAN', 'VARCHAR' or 'DOUBLE'.
    read : callable
        Reads the arguments.
    paths : tuple of tuples of str
        Ways to the one value in what the function answers elsewhere, such as ``labels[0]``.
    """

    returns: str
    read: Callable[[Call, str], Asked]
    paths: tuple[tuple[str, ...], ...] = ()


def read_call(
    source: Source, name: str, form: Form, span: Range, values: list[Range], named: dict[str, Range]
) -> Asked:
    """Read one call.

    Parameters
    ----------
    source : Source
        The block.
    name : str
        As written.
    form : Form
        What the function is.
    span : (int, int)
        Tokens of the call.
    values, named
        Token ranges of its arguments.

    Raises
    ------
    ProgrammingError
        An argument is missing, or is no constant where a constant is needed.
    """
    return form.read(Call(source, name, span, values, dict(named)), form.returns)
