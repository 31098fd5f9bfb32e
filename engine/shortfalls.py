"""What is said of the labels that were bought where a query does not come to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thresher.reports import counted

if TYPE_CHECKING:
    from thresher.running import Running

__all__ = ["again", "bought", "kept", "left_of", "stopped"]


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


def left_of(n_labels: int, *, lasting: bool = True, reused: bool = True) -> str:
    """Say that the labels of a statement that broke off are kept; empty where it bought none.

    Parameters
    ----------
    n_labels : int
        Labels that it bought, at least 0.
    lasting : bool
        Whether they outlive the connection.
    reused : bool
        Whether the statement would take them from the store.

    Examples
    --------
    >>> left_of(30)
    '30 labels were bought and are kept: run it again to go on from them.'
    >>> left_of(1, lasting=False)
    '1 label was bought and is kept while this connection is open: run it again to go on from it.'
    """
    if not n_labels:
        return ""
    was, them = ("was bought and is", "it") if n_labels == 1 else ("were bought and are", "them")
    long = "" if lasting else " while this connection is open"
    way = "" if reused else "SET thresher_reuse_labels = true and "
    return f"{counted(n_labels, 'label')} {was} kept{long}: {way}run it again to go on from {them}."


def stopped(n_labels: int, *, lasting: bool = True, reused: bool = True) -> str:
    """Say that a statement was stopped, and what became of its labels; as `left_of`.

    Examples
    --------
    >>> stopped(0)
    'the statement was stopped. No label had been bought.'
    """
    left = left_of(n_labels, lasting=lasting, reused=reused)
    return f"the statement was stopped. {left or 'No label had been bought.'}"
