"""How the procedures split one failure probability among their tests, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thresher.sampling.accuracy import LIMIT_SHARE, LOOKS_SHARE, PROBE_SHARE
from thresher.sampling.core_set import COUNT_LEVEL
from thresher.sampling.joint import EARLY, HEAD_SHARES, LOOKS, RECALL_SHARES, SECOND_SAMPLE
from thresher.sampling.precision import FIRST_LOOK, SECOND_LOOK
from thresher.sampling.recall import LAST_LOOK

__all__ = ["Level", "core_set_levels", "estimate_levels", "labelling_levels", "selection_levels"]

_ORDINALS = ("first", "second", "third", "fourth")
_Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Level:
    """The failure probability of one part of a procedure.

    Parameters
    ----------
    part : str
        What spends it.
    delta : float
        How much, at least.
    most : float
        How much at most: a plan that is made on the first labels chooses in between.
    count : int
        How many such parts there are; `delta` is of one.
    parts : tuple of Level
        What it is split among in turn.
    """

    part: str
    delta: float
    most: float
    count: int = 1
    parts: tuple[Level, ...] = ()

    def __str__(self) -> str:
        times = f"{self.count:,} x " if self.count > 1 else ""
        ends = dict.fromkeys(f"{end:.4g}" for end in (self.delta, self.most))
        return f"{times}{' to '.join(ends)} {self.part}"


def _level(part: str, delta: float, *, count: int = 1) -> Level:
    return Level(part, delta, delta, count)


def _between(part: str, ends: _Pair, shares: Sequence[tuple[str, float]]) -> Level:
    """Return a level between two ends, split among parts by fixed shares."""
    low, high = ends
    parts = tuple(Level(name, share * low, share * high) for name, share in shares)
    return Level(part, low, high, parts=parts)


def selection_levels(
    kind: Literal["recall", "precision", "joint"], delta: float, *, interruptible: bool = False
) -> tuple[Level, ...]:
    """Return how a selection with targets splits its failure probability.

    Parameters
    ----------
    kind : {"recall", "precision", "joint"}
    delta : float
        Of the whole, in (0, 1).
    interruptible : bool
        Whether the labels may stop at any time, so that looks come before the planned ones.

    Returns
    -------
    tuple of Level
        They add up to `delta`.

    Examples
    --------
    >>> [str(level) for level in selection_levels("precision", 0.05)]
    ['0.035 first look', '0.015 second look']
    >>> [str(level) for level in selection_levels("joint", 0.05)]
    ['0.0375 to 0.046 recall', '0.004 to 0.0125 precision']
    """
    if kind == "recall":
        if not interruptible:
            return (_level("one test of recall", delta),)
        last = LAST_LOOK * delta
        return _level("planned sample", last), _level("looks before it", delta - last)
    if kind == "precision":
        looks = ("first look", FIRST_LOOK * delta), ("second look", SECOND_LOOK * delta)
        shares = (("planned sample", LAST_LOOK), ("looks before it", 1 - LAST_LOOK))
        return tuple(
            _between(name, (part, part), shares if interruptible else ()) for name, part in looks
        )
    least, most = RECALL_SHARES
    early = EARLY if interruptible else 0.0
    recall = [
        (f"{name} look", (1 - early) * share)
        for name, (_, share) in zip(_ORDINALS, LOOKS, strict=False)
    ]
    recall.append(("sample drawn anew", (1 - early) * SECOND_SAMPLE))
    recall += [("looks before the first", early)] if early else []
    head = [(f"{name} sample", s) for name, s in zip(_ORDINALS, HEAD_SHARES, strict=False)]
    return (
        _between("recall", (least * delta, most * delta), recall),
        _between("precision", ((1 - most) * delta, (1 - least) * delta), head),
    )


def labelling_levels(
    delta: float, *, suffices: bool, interruptible: bool = False
) -> tuple[Level, ...]:
    """Return how a labelling with an accuracy target splits its failure probability.

    Parameters
    ----------
    delta : float
        Of the whole, in (0, 1).
    suffices : bool
        Whether the labels allowed are as many as could be needed.
    interruptible : bool
        Whether the labels may stop at any time.

    Examples
    --------
    >>> [str(level) for level in labelling_levels(0.05, suffices=True)]
    ['0.045 to 0.05 cut', '0 to 0.005 probe']
    """
    probe = PROBE_SHARE * delta  # spent only where a sample without a mistake would be small
    ends = delta - probe, delta
    spare = LOOKS_SHARE if interruptible else 0.0 if suffices else LIMIT_SHARE
    found = [Level("cut", (1 - spare) * ends[0], (1 - spare) * ends[1])]
    if spare:
        name = "looks before it" if interruptible else "limit, should the labels not do"
        found.append(Level(name, spare * ends[0], spare * ends[1]))
    return (*found, Level("probe", 0.0, probe))


def estimate_levels(names: Sequence[str], n_groups: int, delta: float) -> tuple[Level, ...]:
    """Return the failure probability of each interval: equal parts.

    Parameters
    ----------
    names : sequence of str
        One for each aggregate that is estimated.
    n_groups : int
        Groups with rows that are not known.
    delta : float
        Of all intervals together, in (0, 1).

    Examples
    --------
    >>> [str(level) for level in estimate_levels(["count", "mean"], 5, 0.05)]
    ['5 x 0.005 count', '5 x 0.005 mean']
    """
    each = delta / max(1, len(names) * n_groups)
    return tuple(_level(name, each, count=max(1, n_groups)) for name in names)


def core_set_levels(delta: float, *, counted: bool) -> tuple[Level, ...]:
    """Return how recall with a core set splits its failure probability; `counted`: by itself."""
    if not counted:
        return (_level("one test of recall", delta),)
    return _level("count of positives", COUNT_LEVEL * delta), _level(
        "recall", (1 - COUNT_LEVEL) * delta
    )
