"""Which questions are asked of which data sets."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import datasets, hostile
from benchmarks.baselines import Query
from benchmarks.datasets import Dataset
from benchmarks.journal import Cell
from benchmarks.methods import METHODS

TARGET, DELTA = 0.9, 0.05
TARGETS = (0.5, 0.8, 0.95, 0.99)
DELTAS = (0.01, 0.2)
SHARES = (0.02, 0.05, 0.2)
LEAST_LABELS, MOST_LABELS = 100, 10_000
SETS = (*datasets.EVERY, *hostile.NAMES)
# One of each sort: what the short grid asks the slow questions of.
CORE = frozenset(
    {"onto", "tacred", "imagenet", "sms", "spam-150", "movie-minilm", "dress", "coat", "abt-buy"}
    | {"routing", "routing-gsm8k", "constant", "inverted", "ties", "nan", "strays"}
    | {"one-positive", "just-above-10"}
)
# Of those, the ones for the slowest questions.
FEW = frozenset(
    {"onto", "tacred", "sms", "dress", "movie-minilm", "routing-gsm8k", "ties", "just-above-10"}
)
# Every delta with every target and every number of labels.
CROSSED = frozenset({"onto", "spam-150", "ties"})
SIZES = ("short", "full")


def load(name: str) -> Dataset:
    """Return a real or a hostile set by its name in `SETS`."""
    return datasets.load(name) if name in datasets.EVERY else hostile.make(name)


def budgets_of(data: Dataset) -> list[int]:
    """Labels allowed: 2 %, 5 % and 20 % of the rows, at least 100 and at most 10,000."""
    if data.budgets:
        return list(data.budgets)
    wanted = {min(max(int(share * data.n_rows), LEAST_LABELS), MOST_LABELS) for share in SHARES}
    return sorted(budget for budget in wanted if budget < data.n_rows)


def cells_of(data: Dataset, size: str) -> list[Cell]:
    """All cells of one data set, none twice; the peers' stand at one target and one delta."""
    found: dict[str, Cell] = {}
    for query, everyone in _questions(data, size):
        for kind, method in METHODS:
            usual = (query.target, query.delta) == (TARGET, DELTA)
            if kind != query.kind or not (method == "thresher" or (everyone and usual)):
                continue
            if not METHODS[kind, method].takes(data):
                continue
            if is_graded(method) and query.budget != budgets_of(data)[-1]:
                continue
            for asked in _as_taken(method, query, data):
                cell = Cell(data.name, method, asked)
                found.setdefault(cell.key, cell)
    return list(found.values())


def is_graded(method: str) -> bool:
    """Whether it is one of thresher's methods that carry a grade: asked at the most labels only."""
    return method.startswith("thresher-")


def _as_taken(method: str, query: Query, data: Dataset) -> list[Query]:
    """With both targets and no limit SUPG still wants a number of draws."""
    if method == "supg" and query.kind == "both":
        return [Query("both", n, query.target, query.delta) for n in budgets_of(data)[-2:]]
    return [query]


def _questions(data: Dataset, size: str) -> Iterator[tuple[Query, bool]]:
    """Questions, and whether the other methods are asked too."""
    budgets = budgets_of(data)
    middle = budgets[(len(budgets) - 1) // 2]
    if size == "short":
        yield from _short(data, budgets, middle)
        return
    for kind in ("recall", "precision"):
        yield from ((Query(kind, n, TARGET, DELTA), True) for n in budgets)
        yield from ((Query(kind, middle, TARGET, delta), False) for delta in DELTAS)
        yield from ((Query(kind, middle, target, DELTA), False) for target in TARGETS)
        if data.name in CROSSED:
            yield from (
                (Query(kind, n, target, delta), False)
                for n in budgets
                for target in (TARGET, *TARGETS)
                for delta in (DELTA, *DELTAS)
            )
    yield Query("both", None, TARGET, DELTA), True
    yield Query("both-limited", budgets[-1], TARGET, DELTA), True
    yield from ((Query("both", None, TARGET, delta), False) for delta in DELTAS)
    yield from ((Query("both", None, target, DELTA), False) for target in (0.8, 0.95))
    yield Query("accuracy", None, TARGET, DELTA), True
    yield Query("accuracy", None, 0.95, DELTA), False
    yield Query("accuracy", None, TARGET, 0.2), False
    yield from ((Query("count", n, TARGET, DELTA), True) for n in budgets)
    yield from ((Query("count", middle, TARGET, delta), False) for delta in DELTAS)
    for kind in ("sum", "mean", "audit"):
        yield Query(kind, budgets[-1], TARGET, DELTA), True
        yield Query(kind, middle, TARGET, DELTA), True
        yield Query(kind, middle, TARGET, 0.2), False


def _short(data: Dataset, budgets: list[int], middle: int) -> Iterator[tuple[Query, bool]]:
    """Half an hour's worth: every set, few settings; slow kinds and peers on a few sets."""
    core = data.name in CORE
    for kind in ("recall", "precision"):
        yield Query(kind, budgets[-1], TARGET, DELTA), core
        yield Query(kind, middle, TARGET, DELTA), False
        yield Query(kind, budgets[-1], TARGET, 0.2), False
        if core:
            yield Query(kind, middle, TARGET, 0.01), False
            yield from ((Query(kind, budgets[-1], target, DELTA), False) for target in (0.5, 0.99))
    if data.name in FEW:
        yield Query("both", None, TARGET, DELTA), True
        yield Query("both-limited", budgets[-1], TARGET, DELTA), True
        yield Query("accuracy", None, TARGET, DELTA), True
        yield Query("count", middle, TARGET, DELTA), True
        yield from ((Query(kind, middle, TARGET, DELTA), True) for kind in ("sum", "mean", "audit"))
