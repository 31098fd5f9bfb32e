"""What labels have taken so far, and what so many more will take."""

from __future__ import annotations

from collections.abc import Mapping

from thresher.bound_oracles import BoundOracle
from thresher.labels import LabelStore, Pace

__all__ = ["paces_of", "taking"]


def paces_of(store: LabelStore, oracles: Mapping[str, BoundOracle]) -> dict[str, Pace]:
    """Return what labels of each oracle have taken, of those that labels were bought of."""
    found = {name: store.pace(bound.version) for name, bound in oracles.items()}
    return {name: pace for name, pace in found.items() if pace is not None and pace.n_labels}


def taking(paces: Mapping[str, Pace], *labels: int) -> str:
    """Say what some labels will take; nothing where no label was bought yet.

    Examples
    --------
    >>> taking({"judge": Pace(100, 20.0, 0.5)}, 1_000, 2_000)
    ', 3.3 min to 6.7 min, $5.00 to $10.00'
    """
    if not paces:
        return ""
    seconds = sum(pace.seconds / pace.n_labels for pace in paces.values())
    usd = sum(pace.cost_usd / pace.n_labels for pace in paces.values())
    texts = [dict.fromkeys(_duration(seconds * n) for n in labels)]
    texts += [dict.fromkeys(f"${usd * n:,.2f}" for n in labels)] if usd else []
    return "".join(f", {' to '.join(ends)}" for ends in texts)


def _duration(seconds: float) -> str:
    """Write seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    if seconds < 3600:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:,.2g} h"
