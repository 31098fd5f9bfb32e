"""Which proxies trained by earlier queries serve a query, and what its own have learnt for later.

A trained proxy is chosen, and its scores are computed, from what was there before the run first
began. So nothing that a guarantee rests on sees it as anything but a fixed score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.candidates import Candidate, Trainable
from thresher.drift import Histogram, Ranked, histogram_of, ranked
from thresher.environment import Environment
from thresher.errors import InterfaceError
from thresher.oracles.versions import digest
from thresher.plan import OracleCall, SelectionQuery
from thresher.population import Population
from thresher.scoring import Learnt
from thresher.stored_proxies import TrainedRecord, find_trained
from thresher.trained import Kept, Trained, inputs_of, numbers_of, sha256_of

__all__ = ["conditions_of", "kept_candidates", "record_of", "trained_of"]

_DESCRIBED = 4_000  # rows, drawn by chance, whose scores are described


def conditions_of(query: SelectionQuery) -> tuple[OracleCall, ...]:
    """Return the calls of the condition: what proxies are trained on is its truth."""
    estimation = query.estimation
    return query.calls if estimation is None else query.calls[: estimation.n_conditions]


def kept_candidates(
    env: Environment,
    query: SelectionQuery,
    candidates: Sequence[Candidate],
    population: Population,
    until: int,
) -> list[Kept]:
    """Return the proxies, trained before, that go with those of a query.

    Parameters
    ----------
    env, query, population
        Where it runs, what is asked, of which rows.
    candidates : sequence of Candidate
        Its proxies.
    until : int
        Last sequence number of a trained proxy that counts.
    """
    found: list[Kept] = []
    conditions = conditions_of(query)
    if not conditions or not population.n_rows:
        return found
    for one in candidates:
        if not isinstance(one, Trainable):
            continue
        question, arguments = _question(env, query, one), _arguments(query)
        stored = find_trained(env.store.file, question, arguments, until)
        if stored is None:
            continue
        trained = Trained.unpack(stored[1])
        name = f"{one.declared or one.name} of an earlier query"
        kept = Kept(name, one.proxy, one.inputs, conditions, trained, stored[0])
        if _applies(kept, population):
            found.append(kept)
    return found


def _applies(kept: Kept, population: Population) -> bool:
    """Whether the inputs have the shape of those it was trained on, by the first of them."""
    first = population.inputs(np.arange(1))
    try:
        kept.proxy.apply(kept.trained.learnt, inputs_of(first, kept.inputs))
    except InterfaceError:
        return False
    return True


def _question(env: Environment, query: SelectionQuery, candidate: Trainable) -> str:
    """Hash of what a proxy answers: two queries of one question may share what was learnt."""
    versions = [env.oracles[call.oracle].version for call in conditions_of(query)]
    asked = " ".join(query.formula.lower().split())
    return digest(versions, asked, query.parts, candidate.inputs, candidate.proxy.version)


def _arguments(query: SelectionQuery) -> str:
    text = repr([call.arguments for call in conditions_of(query)])
    return " ".join(text.lower().split())


def trained_of(
    learnt: Learnt, query: SelectionQuery, population: Population, random: Ranked | None
) -> Trained | None:
    """Return what is kept of a proxy that was fitted; None where it has learnt nothing.

    Parameters
    ----------
    learnt : Learnt
    query, population
        What it was fitted for.
    random : Ranked, optional
        Its AUC on labels drawn by chance since.
    """
    frozen = learnt.candidate.proxy.freeze(learnt.features, learnt.fitted)
    if frozen is None:
        return None
    held_out = np.asarray(learnt.fitted.scores, dtype=np.float64)[learnt.rows]
    crossed = ranked(held_out, learnt.truth)
    numbers = numbers_of(population.inputs(learnt.rows), conditions_of(query))
    rows, first = np.unique(numbers, return_index=True)
    return Trained(
        learnt=frozen,
        n_labels=len(learnt.rows),
        n_positive=int(learnt.truth.sum()),
        auc=float(learnt.fitted.auc),
        log_loss=float(learnt.fitted.log_loss),
        error=0.5 if crossed is None else crossed.error,
        random=random,
        scores=_spread(learnt, frozen, query, population, rows),
        rows=rows,
        held_out=_narrowed(held_out[first]),
    )


def _spread(
    learnt: Learnt,
    frozen: Mapping[str, npt.NDArray[Any]],
    query: SelectionQuery,
    population: Population,
    trained_on: npt.NDArray[np.uint64],
) -> Histogram:
    """Describe the scores of inputs that it was not trained on, as later queries compute them."""
    chance = np.random.default_rng(0)  # the same rows each time: what is kept has a hash
    n_drawn = min(_DESCRIBED, population.n_rows)
    drawn = np.sort(chance.choice(population.n_rows, n_drawn, replace=False))
    table = population.inputs(drawn)
    others = ~np.isin(numbers_of(table, conditions_of(query)), trained_on)
    if not others.any():
        return histogram_of(np.zeros(0))
    inputs = inputs_of(table.filter(pa.array(others)), learnt.candidate.inputs)
    return histogram_of(learnt.candidate.proxy.apply(frozen, inputs))


def _narrowed(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return scores.astype(np.float32)


def record_of(
    env: Environment, query: SelectionQuery, candidate: Trainable, trained: Trained
) -> TrainedRecord:
    """Return a trained proxy as the label store keeps it."""
    conditions, packed = conditions_of(query), trained.pack()
    oracles = {call.oracle: env.oracles[call.oracle].version for call in conditions}
    kind = candidate.name.partition("(")[0]
    return TrainedRecord(
        question=_question(env, query, candidate),
        arguments=_arguments(query),
        name=candidate.declared or "_".join([*oracles, kind]),
        oracles=oracles,
        n_labels=trained.n_labels,
        auc=trained.quality.auc,
        sha256=sha256_of(packed),
        packed=packed,
    )
