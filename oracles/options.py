"""Options of the ``WITH (...)`` clause: names, types and choices, checked before anything loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from thresher.errors import ProgrammingError, nearest

__all__ = ["Option", "OptionError", "Options", "check_options"]

Kind = Literal["text", "number", "count", "boolean", "texts", "numbers", "text or texts"]
Value = str | int | float | bool | list[str] | list[float] | None

_EXPECTED: Mapping[Kind, str] = {
    "text": "a string",
    "number": "a number",
    "count": "a positive whole number",
    "boolean": "true or false",
    "texts": "a list of strings",
    "numbers": "a list of numbers",
    "text or texts": "a string or a list of strings",
}


class OptionError(ProgrammingError):
    """An option is unknown, missing or has a value that it cannot take.

    Attributes
    ----------
    option : str or None
        Name of the option as written; None when one is missing.
    """

    option: str | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One option that a provider understands.

    Parameters
    ----------
    kind : str
        What its value must be.
    required : bool
        Whether it must be given.
    choices : tuple of str
        The values it may take; empty when any will do.
    """

    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()


def _fits(value: object, kind: Kind) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    items = value if isinstance(value, list) else []
    texts = bool(items) and all(isinstance(v, str) for v in items)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in items)
    return {
        "text": isinstance(value, str),
        "number": whole or isinstance(value, float),
        "count": whole and int(str(value)) > 0,
        "boolean": isinstance(value, bool),
        "texts": texts,
        "numbers": bool(items) and numbers,
        "text or texts": texts or isinstance(value, str),
    }[kind]


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options of one model, read by type.

    Parameters
    ----------
    who : str
        What they belong to, for messages: ``oracle is_positive``.
    values : mapping
        The options that were given, names in lower case.
    """

    who: str
    values: Mapping[str, object]

    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a string option, or `default`."""
        value = self.values.get(name)
        return value if isinstance(value, str) else default

    def count(self, name: str, default: int) -> int:
        """Return a positive whole number, or `default`."""
        value = self.values.get(name)
        return value if isinstance(value, int) else default

    def number(self, name: str, default: float) -> float:
        """Return a number, or `default`."""
        value = self.values.get(name)
        return float(value) if isinstance(value, (int, float)) else default

    def boolean(self, name: str, default: bool) -> bool:
        """Return true or false, or `default`."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else default

    def texts(self, name: str) -> list[str]:
        """Return a list of strings; a single string is a list of one; empty when not given."""
        value = self.values.get(name)
        if isinstance(value, str):
            return [value]
        return [str(v) for v in value] if isinstance(value, list) else []

    def numbers(self, name: str) -> list[float]:
        """Return a list of numbers; empty when not given."""
        value = self.values.get(name)
        return [float(v) for v in value] if isinstance(value, list) else []

    def error(self, message: str, option: str | None = None) -> OptionError:
        """Make the error that says what is wrong with one option."""
        error = OptionError(f"{self.who}: {message}")
        error.option = option
        return error


def check_options(
    who: str, provider: str, given: Mapping[str, Value], known: Mapping[str, Option]
) -> Options:
    """Return the options by lower-case name after checking names, types and choices.

    Parameters
    ----------
    who : str
        What they belong to, for messages: ``oracle is_positive``.
    provider : str
        The provider, for messages.
    given : mapping
        As parsed from ``WITH (...)``; NULL values count as not given.
    known : mapping of str to Option
        What the provider understands.

    Raises
    ------
    OptionError
        If an option is unknown (with the nearest known one), missing, or of the wrong type.
    """
    values = {key.lower(): value for key, value in given.items() if value is not None}
    options = Options(who, values)
    listed = ", ".join(sorted(known)) or "none"
    for name in given:
        if name.lower() not in known:
            raise options.error(
                f"{provider} has no option '{name}'.{nearest(name, known)} Its options: {listed}.",
                name,
            )
    for name, option in known.items():
        if name not in values:
            if option.required:
                raise options.error(
                    f"{provider} needs the option '{name}'. Write WITH ({name} = ...)."
                )
            continue
        value = values[name]
        if not _fits(value, option.kind):
            raise options.error(
                f"option '{name}' must be {_EXPECTED[option.kind]}, got {value!r}.", name
            )
        if option.choices and str(value).lower() not in option.choices:
            raise options.error(
                f"option '{name}' has no value {value!r}.{nearest(str(value), option.choices)}"
                f" Its values: {', '.join(option.choices)}.",
                name,
            )
    return options
