"""What a run needs from its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import duckdb

from thresher.bound_oracles import BoundOracle
from thresher.budgets import SessionBudget
from thresher.candidates import Candidate
from thresher.labels import LabelStore
from thresher.plan import SelectionQuery
from thresher.population import Population
from thresher.progress import ProgressSink
from thresher.settings import Settings

__all__ = ["Environment"]


@dataclass(frozen=True, slots=True)
class Environment:
    """What a run needs from its session.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        The user's connection, inside a transaction.
    oracles : mapping of str to BoundOracle
        The oracles that the query calls.
    population : callable
        Reads the rows of a query.
    candidates : callable
        Makes the proxies that the query may use, once the expressions of USING are computed.
    predictors : callable
        Makes the proxies that predict values which an oracle gives to an aggregate.
    proxies : tuple of str
        Names of the declared ones among them. Where their models lie is left out, so that a run is
        the same on every machine.
    settings, store, progress
        Of the session.
    interrupted : callable
        Whether the user has asked a query that can answer early to stop.
    delta : float
        Failure probability that this statement may spend.
    share : str or None
        How `delta` was taken from that of the session; None where there is none.
    into : str
        Table that is to hold the rows of the answer; empty where the caller fetches them.
    oracle_limit : int
        Most labels that may be bought.
    budget : SessionBudget or None
        What all statements of the session may spend.
    check : callable
        Raises where the statement was cancelled.
    shielded : callable
        Gives a context that no interruption breaks off.
    """

    connection: duckdb.DuckDBPyConnection
    oracles: Mapping[str, BoundOracle]
    population: Callable[[SelectionQuery], Population]
    candidates: Callable[[Population], Sequence[Candidate]]
    predictors: Callable[[Population], Sequence[Candidate]]
    proxies: tuple[str, ...]
    settings: Settings
    store: LabelStore
    progress: ProgressSink
    interrupted: Callable[[], bool]
    delta: float
    oracle_limit: int
    share: str | None = None
    into: str = ""
    budget: SessionBudget | None = None
    check: Callable[[], None] = lambda: None
    shielded: Callable[[], AbstractContextManager[object]] = nullcontext
