"""What labels and proxy scores will take in tokens and dollars: as measured, else as reckoned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from thresher.candidates import Candidate, Scorer
from thresher.environment import Environment
from thresher.labels import Pace
from thresher.outlook import ScoreForecast, TokenForecast
from thresher.plan import SelectionQuery
from thresher.population import Population

__all__ = ["label_tokens", "score_forecasts"]

_READ = 50  # rows that tell how long a request is
_MOST_ROWS = 20_000  # rows whose inputs EXPLAIN may read to count those without a score
_CHUNK = 5_000  # of them in memory at once


def label_tokens(
    env: Environment, query: SelectionQuery, population: Population, paces: Mapping[str, Pace]
) -> dict[str, TokenForecast]:
    """Return how many tokens a label takes, by oracle; nothing is asked.

    Parameters
    ----------
    env, query, population
        As the query will have them.
    paces : mapping of str to Pace
        What labels have taken so far, by oracle: their mean, where tokens were counted, goes
        before what an oracle reckons from the inputs of a few rows.
    """
    found: dict[str, TokenForecast] = {}
    unknown = np.flatnonzero(population.known < 0)
    rows = unknown[:: max(1, len(unknown) // _READ)][:_READ]
    for call in query.calls if len(rows) else ():
        pace = paces.get(call.oracle)
        if pace is not None and pace.n_counted:
            mean = (pace.n_tokens_in + pace.n_tokens_out) / pace.n_counted
            found[call.oracle] = TokenForecast(mean, pace.n_counted)
            continue
        about = getattr(env.oracles[call.oracle].oracle, "about_tokens", None)
        batch = population.inputs(rows).select(list(call.inputs)).drop_null()
        names = [a.name for a in env.oracles[call.oracle].signature.arguments]
        if about is None or not batch.num_rows:
            continue
        each = about(batch.rename_columns(names))
        if each is not None:
            found[call.oracle] = TokenForecast(float(each))
    return found


def score_forecasts(
    env: Environment, candidates: Sequence[Candidate], population: Population
) -> tuple[ScoreForecast, ...]:
    """Return what the scores of proxies that ask a model will take; none is computed.

    Parameters
    ----------
    env : Environment
        Whose store knows what such scores have taken.
    candidates : sequence of Candidate
        Proxies of the query.
    population : Population
        Its rows: every one is scored once, equal inputs together.
    """
    metered = [one for one in candidates if isinstance(one, Scorer) and one.metered]
    return tuple(_forecast(env, one, population) for one in metered)


def _forecast(env: Environment, scorer: Scorer, population: Population) -> ScoreForecast:
    proxy: Any = scorer.proxy
    n_rows = population.n_rows
    counted = n_rows <= _MOST_ROWS
    n_inputs = _new_inputs(scorer, population) if counted else n_rows
    pace = env.store.score_pace(proxy.version)
    if pace is not None and pace.n_labels:
        n_tokens = pace.n_tokens_in + pace.n_tokens_out
        each = n_tokens / pace.n_counted if pace.n_counted else None
        usd = pace.cost_usd / pace.n_labels
        return ScoreForecast(scorer.name, n_inputs, counted, each, usd, pace.n_labels)
    rows = np.arange(n_rows)[:: max(1, n_rows // _READ)][:_READ]
    batch = _inputs(scorer, population, rows)
    about = proxy.about(batch) if n_inputs and batch.num_rows else None
    if about is None:
        return ScoreForecast(scorer.name, n_inputs, counted)
    each = None if about.tokens is None else float(sum(about.tokens))
    return ScoreForecast(scorer.name, n_inputs, counted, each, about.cost_usd)


def _new_inputs(scorer: Scorer, population: Population) -> int:
    """Count distinct inputs without a score; ones alike in two chunks count twice."""
    proxy: Any = scorer.proxy
    starts = range(0, population.n_rows, _CHUNK)
    chunks = (np.arange(start, min(start + _CHUNK, population.n_rows)) for start in starts)
    return sum(int(proxy.new_inputs(_inputs(scorer, population, rows))) for rows in chunks)


def _inputs(scorer: Scorer, population: Population, rows: Any) -> pa.Table:
    """Return the inputs of rows as the proxy takes them, without those that it does not score."""
    table = population.inputs(rows).select(list(scorer.inputs)).drop_null()
    return table.rename_columns(list(scorer.arguments))
