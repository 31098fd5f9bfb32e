"""What is said of the labels that were bought where a query does not come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thresher.reports import counted

if TYPE_CHECKING:
    from thresher.running import Running

__all__ = ["again", "bought", "kept"]


def bought(run: Running) -> str:
    """Count the labels of a run, those that an earlier beginning of it bought among them."""
    return counted(run.labeller.charged, "label")


def kept(run: Running) -> str:
    """Say whether another statement pays again for the labels that were bought so far."""
    n_labels = run.labeller.charged
    if not n_labels:
        return "no label was bought"
    labels = f"the {bought(run)} bought so far"
    if run.env.settings.get("reuse_labels"):
        return f"{labels} {'is' if n_labels == 1 else 'are'} reused"
    return f"{labels} will be bought anew unless thresher_reuse_labels is true"


def again(run: Running) -> str:
    """Say how to go on with a query that was stopped."""
    if run.env.settings.get("reuse_labels"):
        return f"Run it again to go on ({kept(run)})"
    return f"SET thresher_reuse_labels = true and run it again to go on from the {bought(run)}"
