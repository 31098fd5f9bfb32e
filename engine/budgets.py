"""Budgets of calls, tokens, seconds and dollars: what is spent of them, and what is left."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from thresher.errors import ProgrammingError, nearest
from thresher.targets import BudgetUnit

__all__ = ["UNITS", "Amounts", "SessionBudget", "Spent", "parse_budget", "spent_of", "written"]

UNITS: tuple[BudgetUnit, ...] = ("CALLS", "TOKENS", "SECONDS", "USD")
Amounts = tuple[tuple[float, BudgetUnit], ...]

_AMOUNT = re.compile(r"\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s+([A-Za-z]+)\s*")


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent.

    Parameters
    ----------
    calls : int
        Answers that an oracle was asked for, one for each distinct input.
    tokens : int
        Read and written, where they were counted.
    seconds : float
        Wall time.
    usd : float
        Dollars.
    """

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    usd: float = 0.0

    def of(self, unit: BudgetUnit) -> float:
        """Return the amount in a unit."""
        amounts = {"CALLS": self.calls, "TOKENS": self.tokens, "SECONDS": self.seconds}
        return float(amounts.get(unit, self.usd))


def parse_budget(text: str) -> Amounts:
    """Read a budget as ``BUDGET`` takes it.

    Raises
    ------
    ProgrammingError
        It is none.

    Examples
    --------
    >>> parse_budget("10 USD, 5_000 calls")
    ((10.0, 'USD'), (5000.0, 'CALLS'))
    """
    found: dict[BudgetUnit, float] = {}
    for part in text.split(","):
        match = _AMOUNT.fullmatch(part)
        unit = match[2].upper() if match else ""
        if match is None or unit not in UNITS:
            raise ProgrammingError(
                f"{part.strip()!r} is no amount.{nearest(unit, UNITS) if unit else ''} Write a "
                f"number and one of {', '.join(UNITS)}, as in '10 USD, 5000 CALLS'."
            )
        amount = float(match[1].replace("_", ""))
        if not 0 < amount < float("inf") or (unit in ("CALLS", "TOKENS") and amount % 1):
            whole = "a whole number" if unit in ("CALLS", "TOKENS") else "a number"
            raise ProgrammingError(f"{unit} must be {whole} above 0, got {match[1]}.")
        if unit in found:
            raise ProgrammingError(f"{unit} stands twice.")
        found[cast("BudgetUnit", unit)] = amount
    return tuple((amount, unit) for unit, amount in found.items())


def written(amounts: Sequence[tuple[float, BudgetUnit]]) -> str:
    """Write amounts as people do.

    Examples
    --------
    >>> written([(5000.0, "CALLS"), (1.25, "USD"), (0.0, "SECONDS")])
    '5000 CALLS, 1.25 USD, 0 SECONDS'
    """
    return ", ".join(f"{_plain(amount)} {unit}" for amount, unit in amounts)


def _plain(amount: float) -> str:
    return str(int(amount)) if amount == int(amount) else str(round(amount, 6))


def spent_of(amounts: Sequence[tuple[float, BudgetUnit]], spent: Spent) -> str:
    """Return the first amount that is spent, as it is written; empty where none is."""
    for amount, unit in amounts:
        if spent.of(unit) >= amount:
            return f"{amount:g} {unit}"
    return ""


class SessionBudget:
    """A budget over all statements of a session, from the moment when it is set.

    Whatever happens to a statement, what it has bought stays spent. Labels that are reused cost
    nothing.

    Parameters
    ----------
    amounts : sequence of (float, str)
        As `parse_budget` returns them.

    Examples
    --------
    >>> budget = SessionBudget(parse_budget("10 CALLS, 1 USD"))
    >>> budget.pay(Spent(calls=4, usd=0.25))
    >>> budget.text(), budget.exhausted
    ('6 CALLS, 0.75 USD left of 10 CALLS, 1 USD', '')
    """

    def __init__(self, amounts: Amounts) -> None:
        self.amounts = amounts
        self._paid: dict[str, float] = dict.fromkeys(("calls", "tokens", "seconds", "usd"), 0)
        self._began: float | None = None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds of what runs inside; those of a statement inside count once."""
        if self._began is not None:
            yield
            return
        self._began = time.perf_counter()
        try:
            yield
        finally:
            self._paid["seconds"] += time.perf_counter() - self._began
            self._began = None

    def pay(self, spent: Spent) -> None:
        """Count what was bought; seconds are counted by `timed`."""
        for name in ("calls", "tokens", "usd"):
            self._paid[name] += getattr(spent, name)

    @property
    def spent(self) -> Spent:
        """What was spent by now."""
        running = 0.0 if self._began is None else time.perf_counter() - self._began
        paid: Mapping[str, float] = self._paid
        return Spent(
            int(paid["calls"]), int(paid["tokens"]), paid["seconds"] + running, paid["usd"]
        )

    @property
    def left(self) -> Amounts:
        """What is left of each amount; never below 0."""
        spent = self.spent
        return tuple((max(0.0, amount - spent.of(unit)), unit) for amount, unit in self.amounts)

    @property
    def exhausted(self) -> str:
        """The first amount that is spent; empty where none is."""
        return spent_of(self.amounts, self.spent)

    def text(self) -> str:
        """Say what is left."""
        return f"{written(self.left)} left of {written(self.amounts)}"
