"""What scores of proxies cost: permitted before each batch, counted apart from the labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from thresher.budgets import Spent
from thresher.errors import OracleError
from thresher.labels import LabelStore, Pace
from thresher.oracles import Usage
from thresher.permits import Bought, Permits
from thresher.reports import ProxyCost

if TYPE_CHECKING:
    from thresher.oracles import Meter

__all__ = ["ScoreCosts", "ScoreMeter"]


class ScoreCosts:
    """Adds up what the scores of one run took.

    Attributes
    ----------
    n_inputs, n_requests : int
        Inputs that were scored anew, and the requests that took.
    cost_usd, seconds : float
        Dollars, and the time that the models took.
    n_tokens : int or None
        Tokens read and written; None where a proxy does not count them.
    """

    def __init__(self) -> None:
        self.n_inputs = self.n_requests = 0
        self.cost_usd = self.seconds = 0.0
        self.n_tokens: int | None = 0

    def add(self, n_inputs: int, used: Usage, seconds: float) -> None:
        """Count what some scores took."""
        self.n_inputs += n_inputs
        self.seconds += seconds
        self.n_requests += used.requests
        self.cost_usd += used.cost_usd
        both = self.n_tokens is not None and used.tokens is not None
        self.n_tokens = (self.n_tokens or 0) + sum(used.tokens or (0,)) if both else None

    @property
    def spent(self) -> Spent:
        """What they took."""
        return Spent(0, self.n_tokens or 0, self.seconds, self.cost_usd)

    def report(self) -> ProxyCost | None:
        """Return it for the certificate; None where no input was scored anew."""
        if not self.n_inputs and not self.n_requests:
            return None
        return ProxyCost(self.n_inputs, self.n_requests, self.n_tokens, self.cost_usd)


class ScoreMeter:
    """Permits the scores of one proxy and counts what they take: a `Meter`.

    Parameters
    ----------
    name, version : str
        Of the proxy.
    costs : ScoreCosts
        Of the run.
    permits : Permits
        Asked before each batch.
    bought : Bought
        What the run has bought by now, these scores included.
    store : LabelStore
        Where it is counted for good.
    on_batch : callable
        Called with no argument after each batch.
    """

    def __init__(
        self,
        name: str,
        version: str,
        costs: ScoreCosts,
        permits: Permits,
        bought: Bought,
        store: LabelStore,
        on_batch: Callable[[], None],
    ) -> None:
        self._name, self._version, self._costs = name, version, costs
        self._permits, self._bought, self._store = permits, bought, store
        self._on_batch, self._began = on_batch, time.perf_counter()
        self._refused = False

    @property
    def refused(self) -> bool:
        """Whether it has allowed no more inputs at some time."""
        return self._refused

    def before(self, n_inputs: int) -> int:
        """Return how many of the inputs may be scored now; 0 where the run stops.

        Raises
        ------
        BudgetError
            A budget is spent and the run cannot answer early.
        """
        taken = self._costs.spent, self._costs.n_inputs
        if not taken[1]:  # nothing in this run: what there was before
            pace = self._store.score_pace(self._version) or Pace(0, 0.0, 0.0)
            n_tokens = pace.n_tokens_in + pace.n_tokens_out
            taken = Spent(0, n_tokens, pace.seconds, pace.cost_usd), pace.n_labels
        allowed = self._permits.scores(self._bought, n_inputs, taken)
        self._began, self._refused = time.perf_counter(), not allowed
        return allowed

    def after(self, n_inputs: int, usage: Usage) -> None:
        """Count what scores took that are there now.

        Raises
        ------
        OracleError
            They have not counted their tokens, which are limited.
        """
        if not n_inputs and not usage.requests:
            return
        seconds = time.perf_counter() - self._began
        self._store.put_scores(self._version, self._name, n_inputs, usage, seconds)
        self._costs.add(n_inputs, usage, seconds)
        self._permits.pay(Spent(0, sum(usage.tokens or (0,)), 0.0, usage.cost_usd))
        if usage.tokens is None and self._permits.limits_tokens:
            raise OracleError(
                f"proxy {self._name} did not say how many tokens it read and wrote, so that a "
                "budget of TOKENS cannot be kept. Write CALLS, SECONDS or USD in their place."
            )
        self._on_batch()


if TYPE_CHECKING:
    _: type[Meter] = ScoreMeter
