"""Session settings: ``SET thresher_<name> = value`` and ``connect(config={...})``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from thresher.budgets import parse_budget, written
from thresher.errors import ProgrammingError, nearest
from thresher.plan import OptionValue
from thresher.targets import mistaken_probability

__all__ = ["SETTINGS", "Settings"]


@dataclass(frozen=True, slots=True)
class _Setting:
    """Default, one line of help, and the check of one setting."""

    default: OptionValue
    help: str
    check: str  # a kind that `_check` knows; after 'word' the words, as in 'word A|B'


SETTINGS: Mapping[str, _Setting] = {
    "oracle_limit": _Setting(10_000, "most labels that one statement may buy", "count"),
    "default_budget": _Setting(1_000, "labels for one target without ORACLE LIMIT", "count"),
    "probability": _Setting(0.95, "confidence where a statement names none", "confidence"),
    "session_probability": _Setting(
        None, "confidence that all statements from now on hold together", "confidence"
    ),
    "session_budget": _Setting(
        None, "what all statements from now on may spend, such as '10 USD, 5000 CALLS'", "budget"
    ),
    "reuse_labels": _Setting(True, "use labels that are already in the store", "flag"),
    "seed": _Setting(None, "seed where a statement names none", "seed"),
    "encoder": _Setting(None, "model folder or hub name for embedding proxies", "name"),
    "progress": _Setting(
        "notebook",
        "none, notebook, terminal, or auto for either",
        "word none|notebook|terminal|auto",
    ),
    "on_shortfall": _Setting(None, "FAIL, RETURN or EXACT", "word FAIL|RETURN|EXACT"),
    "on_interrupt": _Setting(
        "RAISE", "RAISE, or ANSWER with what is proved by then", "word RAISE|ANSWER"
    ),
    "on_oracle_error": _Setting("FAIL", "FAIL or WORST CASE", "word FAIL|WORST CASE"),
    "default_oracle": _Setting(
        None, "oracles for functions of other systems, one for each type of answer", "name"
    ),
    "recall_target": _Setting(None, "RECALL TARGET where a selection names no target", "target"),
    "precision_target": _Setting(
        None, "PRECISION TARGET where a selection names no target", "target"
    ),
    "accuracy_target": _Setting(None, "ACCURACY TARGET where a query names no target", "target"),
    "error_target": _Setting(
        None, "ERROR WITHIN, as a share of the true value, where aggregates name none", "share"
    ),
}


class Settings:
    """The settings of one connection; unknown names and wrong values are refused."""

    def __init__(self, config: Mapping[str, OptionValue] | None = None) -> None:
        self._values: dict[str, OptionValue] = {}
        for name, value in (config or {}).items():
            self.set(name.removeprefix("thresher_"), value)

    def names(self) -> list[str]:
        """Return the names without prefix."""
        return list(SETTINGS)

    def get(self, name: str) -> OptionValue:
        """Return the value in force."""
        return self._values.get(name, SETTINGS[self._known(name)].default)

    def count(self, name: str) -> int:
        """Return a setting that is a whole number."""
        value = self.get(name)
        if not isinstance(value, int):
            raise ProgrammingError(f"thresher_{name} is not a number")
        return value

    def set(self, name: str, value: OptionValue) -> None:
        """Change a setting after checking it; None resets it."""
        if value is None:
            self.reset(name)
            return
        checked = _check(name, SETTINGS[self._known(name)].check, value)
        self._values[name] = checked

    def reset(self, name: str) -> None:
        """Go back to the default."""
        self._values.pop(self._known(name), None)

    def _known(self, name: str) -> str:
        if name not in SETTINGS:
            hint = nearest(name, SETTINGS).replace("'", "'thresher_", 1)
            listed = ", ".join(f"thresher_{known}" for known in SETTINGS)
            raise ProgrammingError(
                f"there is no setting thresher_{name}.{hint or f' Settings: {listed}.'}"
            )
        return name


def _check(name: str, check: str, value: OptionValue) -> OptionValue:
    kind, _, words = check.partition(" ")
    wrong = f"thresher_{name} cannot be {value!r}:"
    if kind in ("count", "seed"):
        number = _whole(value)
        least = 1 if kind == "count" else 0
        if number is None or number < least:
            raise ProgrammingError(f"{wrong} write a whole number from {least}, such as 1000.")
        return number
    if kind in ("share", "confidence"):
        room = "in [0.5, 1)" if kind == "confidence" else "between 0 and 1"
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ProgrammingError(f"{wrong} write a number {room}, such as 0.95.")
        if kind == "confidence" and (mistaken := mistaken_probability(value)):
            raise ProgrammingError(f"{wrong} it must be {room}, and {mistaken}.")
        return float(value)
    if kind == "target":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ProgrammingError(f"{wrong} write a share in (0, 1], such as 95% or 0.95.")
        return float(value)
    if kind == "flag":
        flags = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
        if str(value).lower() not in flags:
            raise ProgrammingError(f"{wrong} write true or false.")
        return flags[str(value).lower()]
    if kind == "word":
        for word in words.split("|"):
            if str(value).lower() == word.lower():
                return word
        raise ProgrammingError(f"{wrong} write one of {words.replace('|', ', ')}.")
    if kind == "budget":
        try:
            return written(parse_budget(str(value)))
        except ProgrammingError as error:
            raise ProgrammingError(f"{wrong} {error.message}") from None
    if not isinstance(value, str) or not value:
        raise ProgrammingError(f"{wrong} write a name in quotes.")
    return value


def _whole(value: OptionValue) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    whole = math.isfinite(value) and value == int(value) and abs(value) < 2**63
    return int(value) if whole else None
