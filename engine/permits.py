"""What a run may still buy: asked before each batch, of budgets and interruptions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from thresher.bound_oracles import BoundOracle
from thresher.budgets import Amounts, SessionBudget, Spent
from thresher.errors import BudgetError, OracleError, ProgrammingError
from thresher.plan import SelectionQuery
from thresher.sampling import OutOfLabelsError
from thresher.settings import Settings
from thresher.targets import BudgetUnit, Targets

__all__ = ["Bought", "OnSpent", "Permits", "check_tokens", "stops_anywhere"]

OnSpent = Literal["stop", "fail", "go on"]

_FIRST_SCORES = 32  # inputs that tell what a score takes
_PRUDENT = 0.9  # share of a budget that is planned with


class Bought(Protocol):
    """What a run has bought by now."""

    n_labels: int
    n_asked: int  # rows asked for, whether bought or known
    asked_s: float  # seconds that took

    @property
    def on_labels(self) -> Spent:
        """What its labels took, without their time."""

    @property
    def spent(self) -> Spent:
        """What labels and proxy scores took, without their time."""


@dataclass(frozen=True, slots=True)
class _Limit:
    """An amount, what is spent of it, and how much of that this run spent on rows."""

    amount: float
    unit: BudgetUnit
    spent: float
    on_rows: float
    name: str


def stops_anywhere(query: SelectionQuery, targets: Targets, settings: Settings) -> bool:
    """Return whether a query may stop at any label and answers with what is proved by then."""
    if targets.kind == "exact":
        return False
    if query.tail.budget:
        return query.outputs is None
    if settings.get("on_interrupt") == "ANSWER":
        return True
    limited = settings.get("session_budget") is not None
    return limited and query.tail.assuming is None and query.outputs is None


def check_tokens(
    oracles: Mapping[str, BoundOracle], budget: Amounts, session: SessionBudget | None
) -> None:
    """Refuse a budget of tokens where they are not counted.

    Raises
    ------
    ProgrammingError
        An oracle does not count them.
    """
    amounts = budget if session is None else (*budget, *session.amounts)
    if all(unit != "TOKENS" for _, unit in amounts):
        return
    for name, bound in oracles.items():
        if not bound.counts_tokens:
            own = any(unit == "TOKENS" for _, unit in budget)
            what = "BUDGET n TOKENS" if own else "TOKENS in thresher_session_budget"
            raise ProgrammingError(
                f"{what} cannot be kept: oracle {name} does not say how many tokens it reads and "
                "writes. Write CALLS, SECONDS or USD in their place."
            )


def _scores_for(left: float, unit: BudgetUnit, taken: tuple[Spent, int]) -> int:
    """Return how many scores an amount will do for, at least 1: few until it is known."""
    spent, n_inputs = taken
    if not n_inputs:
        return _FIRST_SCORES
    each = spent.of(unit) / n_inputs
    return max(1, int(left / each)) if each else sys.maxsize


class Permits:
    """Says how much a run may buy besides its limit of labels.

    Parameters
    ----------
    budget : sequence of (float, str)
        Of the statement.
    session : SessionBudget or None
        Of the session.
    early : bool
        Whether the run can stop anywhere and answer; else a spent budget is an error.
    batch : int
        Rows that are asked for together at least.
    n_calls : int
        Oracle calls of a row.
    instead : str
        How to write a statement that answers with what is proved when its budget is spent.
    interrupted : callable
        Whether the user has asked a query that can answer early to stop.
    check : callable
        Raises where the statement was cancelled.

    Attributes
    ----------
    stopped : str
        Why the run stopped before it was done; empty where it did not.
    usd_limit : float or None
        Dollars that the budgets left for the run when it began; None where they name none.

    Notes
    -----
    Nothing rests on the forecasts in here: a run that may stop anywhere is right wherever it does.
    """

    def __init__(
        self,
        budget: Amounts,
        session: SessionBudget | None,
        *,
        early: bool,
        batch: int,
        n_calls: int,
        instead: str,
        interrupted: Callable[[], bool],
        check: Callable[[], None],
    ) -> None:
        self._budget, self._session, self._early = budget, session, early
        self._batch, self._n_calls = batch, max(1, n_calls)
        self._instead, self._interrupted, self._check = instead, interrupted, check
        self._refused = session is not None and bool(session.exhausted)
        self._began = time.perf_counter()
        left = () if session is None else session.left
        dollars = [amount for amount, unit in (*budget, *left) if unit == "USD"]
        self.usd_limit = min(dollars, default=None)
        self._fresh = False  # whether the budgets were looked at since the last purchase
        self.stopped = ""

    @property
    def early(self) -> bool:
        """Whether the run may stop anywhere and answer."""
        return self._early

    @property
    def forecasts(self) -> bool:
        """Whether it must be known what a label takes."""
        return self._early and any(unit != "CALLS" for _, unit in self._amounts())

    def rows(self, bought: Bought, most: int) -> int:
        """Return how many rows the budgets allow, by the pace so far; 0 once one is spent."""
        if not self._early:
            return most
        if not self.stopped and self._interrupted():
            self.stopped = "interrupted"
        for limit in self._limits(bought):
            each = limit.on_rows / max(bought.n_asked, 1)
            left = limit.amount - limit.spent
            if limit.unit == "CALLS":
                allowed = int(left) // self._n_calls
                left = allowed
            elif limit.unit == "SECONDS":
                allowed = most
            else:
                left -= each * self._batch
                allowed = most
            if left <= 0 and not self.stopped:
                self.stopped = f"stopped by {limit.name}"
            if limit.unit != "CALLS" and each > 0:
                allowed = max(1, int(_PRUDENT * left / each))
            elif limit.unit != "CALLS" and not bought.n_asked:
                allowed = self._batch
            most = min(most, allowed)
        self._fresh = not self.stopped
        return 0 if self.stopped else most

    def calls(self, bought: Bought, wanted: int, on_spent: OnSpent) -> int:
        """Return how many answers may be bought at once, at least 1.

        Parameters
        ----------
        bought : Bought
            Of the run.
        wanted : int
            Answers that are missing.
        on_spent : {"stop", "fail", "go on"}
            What a run that can stop anywhere does once a budget is spent; others fail.

        Raises
        ------
        OutOfLabelsError
            It stops.
        BudgetError
            It fails.
        """
        self._check()
        looked, self._fresh = self._fresh, False
        for limit in self._limits(bought):
            left = limit.amount - limit.spent
            if left > 0:
                wanted = min(wanted, int(left)) if limit.unit == "CALLS" else wanted
            elif on_spent == "fail" or not self._early:
                raise self._spent(limit, bought)
            elif on_spent == "stop" and not looked:
                self.stopped = self.stopped or f"stopped by {limit.name}"
                raise OutOfLabelsError
        if self._refused and self._session is not None:
            raise self._nothing_left(self._session)
        return wanted

    def scores(self, bought: Bought, wanted: int, taken: tuple[Spent, int]) -> int:
        """Return how many inputs a model may score at once for a proxy; 0 where the run stops.

        Parameters
        ----------
        bought : Bought
            Of the run.
        wanted : int
            Inputs that have no score yet.
        taken : (Spent, int)
            What so many scores of the run have taken by now.

        Raises
        ------
        BudgetError
            A budget is spent and the run cannot answer early.
        """
        self._check()
        if self._refused and self._session is not None:
            raise self._nothing_left(self._session)
        if self._early and not self.stopped and self._interrupted():
            self.stopped = "interrupted"
        for limit in self._limits(bought):
            if limit.unit == "CALLS":
                continue
            if (left := limit.amount - limit.spent) > 0:
                wanted = min(wanted, _scores_for(left, limit.unit, taken))
                continue
            if not self._early:
                raise self._spent(limit, bought)
            self.stopped = self.stopped or f"stopped by {limit.name}"
        return 0 if self.stopped else wanted

    @property
    def limits_tokens(self) -> bool:
        """Whether the statement or its session may spend so many tokens only."""
        return any(unit == "TOKENS" for _, unit in self._amounts())

    def waits(self, bought: Bought) -> bool:
        """Whether an oracle may go on waiting for people to answer a batch.

        Raises
        ------
        InterruptedQueryError
            The statement was cancelled.
        """
        self._check()
        if self._early and not self.stopped and self._interrupted():
            self.stopped = "interrupted"
        for limit in self._limits(bought):
            if limit.unit == "SECONDS" and limit.spent >= limit.amount:
                if not self._early:
                    return False
                self.stopped = self.stopped or f"stopped by {limit.name}"
        return not self.stopped

    def seconds_left(self) -> float | None:
        """Return how many seconds the budgets leave; None where they limit none."""
        left = [
            amount - (time.perf_counter() - self._began)
            for amount, unit in self._budget
            if unit == "SECONDS"
        ]
        session = () if self._session is None else self._session.left
        left += [amount for amount, unit in session if unit == "SECONDS"]
        return max(0.0, min(left)) if left else None

    def give_up(self, why: str) -> bool:
        """Stop a run that can answer early because people have not answered; else return False."""
        if self._early:
            self.stopped = self.stopped or why
        return self._early

    def pay(self, spent: Spent) -> None:
        """Count a batch that was answered."""
        if self._session is not None:
            self._session.pay(spent)

    def check_counted(self, name: str, *, counted: bool) -> None:
        """Refuse an oracle that has not counted the tokens of a batch, where they are limited.

        Raises
        ------
        OracleError
            It has not.
        """
        if not counted and self.limits_tokens:
            raise OracleError(
                f"oracle {name} did not say how many tokens it read and wrote, so that a budget of "
                "TOKENS cannot be kept. Write CALLS, SECONDS or USD in their place."
            )

    def _amounts(self) -> Amounts:
        return (*self._budget, *(self._session.amounts if self._session else ()))

    def _limits(self, bought: Bought) -> Iterator[_Limit]:
        """Every amount that can end the run."""
        own, labels = bought.spent, bought.on_labels
        seconds = time.perf_counter() - self._began
        for amount, unit in self._budget:
            on_rows = bought.asked_s if unit == "SECONDS" else labels.of(unit)
            spent = seconds if unit == "SECONDS" else own.of(unit)
            yield _Limit(amount, unit, spent, on_rows, f"BUDGET {amount:g} {unit}")
        if self._session is None or self._refused:
            return
        total = self._session.spent
        for amount, unit in self._session.amounts:
            on_rows = bought.asked_s if unit == "SECONDS" else labels.of(unit)
            name = f"thresher_session_budget = '{amount:g} {unit}'"
            yield _Limit(amount, unit, total.of(unit), on_rows, name)

    def _spent(self, limit: _Limit, bought: Bought) -> BudgetError:
        way = f"Raise it, or {self._instead}"
        if limit.name.startswith("thresher"):
            way = "SET it anew for another budget, or RESET it"
        kept = "Labels bought by then are kept: the same query goes on from them"
        return BudgetError(
            f"{limit.name} is spent before the answer was complete, which it must be here. "
            f"{way}. {kept}.",
            spent=bought.n_labels,
        )

    def _nothing_left(self, session: SessionBudget) -> BudgetError:
        return BudgetError(
            f"the budget of this session is spent ({session.text()}), and the answer needs labels "
            "that are not in the store. SET thresher_session_budget anew for another budget, or "
            "RESET it."
        )
