"""One failure probability spread over all statements of a session."""

from __future__ import annotations

from dataclasses import dataclass

from thresher.errors import ProgrammingError
from thresher.targets import complement

__all__ = ["Share", "Shares", "Spending"]


@dataclass(frozen=True, slots=True)
class Share:
    """What one statement may spend.

    Parameters
    ----------
    delta : float
        Failure probability of the statement.
    text : str or None
        How it was taken from the session's, for the certificate; None without a session's.
    """

    delta: float
    text: str | None = None


class Spending:
    """Deals a session's failure probability out to its statements.

    Parameters
    ----------
    total : float
        Failure probability of all statements together, in (0, 1).

    Notes
    -----
    By the union bound all promises of the session hold together with probability at least
    1 - total, as long as what the statements spend adds up to at most that. The k-th statement that
    names no probability gets 1 / (k + 1) of what is left, total / 2, total / 6, total / 12, ...,
    which never runs out; one that names a probability spends just that. Exact answers, and
    statements that fail, promise nothing that can be false and spend nothing.
    """

    def __init__(self, total: float) -> None:
        self.total, self._spent, self._statements = total, 0.0, 0

    @property
    def left(self) -> float:
        """What no statement has spent yet."""
        return max(0.0, self.total - self._spent)

    def share(self, asked: float | None) -> Share:
        """Return what the next statement may spend; `asked` is the delta that it names.

        Raises
        ------
        ProgrammingError
            It asks for more than is left.
        """
        number = self._statements + 1
        delta = self.left / (number + 1) if asked is None else asked
        if delta > self.left * (1 + 1e-12):
            raise ProgrammingError(
                f"this statement may fail with probability {delta:.4g}, but of the session's "
                f"{self.total:.4g} (thresher_session_probability {complement(self.total):.6g}) "
                f"only {self.left:.4g} is left. Leave WITH PROBABILITY out, or write at least "
                f"{complement(self.left):.6g}."
            )
        return Share(
            delta,
            f"statement {number} of the session spends {delta:.4g} of its {self.total:.4g}; "
            f"{max(0.0, self.left - delta):.4g} is left",
        )

    def spend(self, share: Share) -> None:
        """Count a statement that was answered."""
        self._spent += share.delta
        self._statements += 1


class Shares:
    """What the statements of a connection may spend, whether or not a session's is set."""

    def __init__(self) -> None:
        self._session: Spending | None = None

    def share(
        self, named: float | None, *, session: float | None, default: float, n_sharing: int = 1
    ) -> Share:
        """Return what a statement, or one query of it, may spend.

        Parameters
        ----------
        named : float or None
            Probability that it names itself.
        session, default : float or None, float
            Probability of the session, None where it has none, and of a statement otherwise.
        n_sharing : int
            Queries of the statement that name none: without a session's they share one default.

        Raises
        ------
        ProgrammingError
            It names more than is left of the session's.
        """
        asked = None if named is None else complement(named)
        if session is not None:
            total = complement(session)
            if self._session is None or self._session.total != total:
                self._session = Spending(total)
            return self._session.share(asked)
        self._session = None
        if asked is not None:
            return Share(asked)
        delta = complement(default)
        if n_sharing < 2:
            return Share(delta)
        text = f"one of {n_sharing} parts of the statement, which share {delta:.4g}"
        return Share(delta / n_sharing, text)

    def spend(self, share: Share) -> None:
        """Count a statement that was answered, and may be wrong."""
        if self._session is not None:
            self._session.spend(share)
