"""What a connection keeps: labels, certificates and their logs; answers tested against them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from thresher import errors
from thresher.labels import LabelStore
from thresher.session import Session

if TYPE_CHECKING:
    from thresher.labels_transfer import Imported
    from thresher.verdicts import Finding
    from thresher.verify import Verification

__all__ = ["Kept"]


class Kept:
    """The part of a connection that is about its label store."""

    _session: Session
    _store: LabelStore

    _alone: Callable[[], AbstractContextManager[None]]
    _check: Callable[[], None]

    def audit(
        self,
        query: str,
        answer: object,
        *,
        key: str,
        recall: float | None = None,
        precision: float | None = None,
        limit: int | None = None,
        probability: float | None = None,
        seed: int | None = None,
    ) -> list[Finding]:
        """Test how good an answer of any system is, on rows drawn afresh.

        Parameters
        ----------
        query : str
            What the answer should be: a SELECT whose WHERE calls an oracle, without targets. Scores
            in USING make the audit sharper.
        answer : str, pyarrow.Table, DataFrame or sequence
            The answer: a relation in SQL, or a table, with the column `key`; or the keys.
        key : str
            Column of the query's FROM, and of the answer, that tells the rows.
        recall, precision : float, optional
            What is claimed of the answer, in (0, 1].
        limit : int, optional
            Most labels to buy, at least 1; None: the setting ``default_budget``.
        probability : float, optional
            With which all findings hold together, in (0, 1); None: the setting ``probability``,
            or a part of the session's (``session_probability``), as for any statement.
        seed : int, optional
            Of the draws. It must not have been chosen after seeing labels.

        Returns
        -------
        list of Finding
            Limits and a verdict for recall and for precision.

        Raises
        ------
        ProgrammingError
            The query calls no oracle, or has targets of its own; the key is no column; a number is
            out of its range; or more probability is asked for than is left of the session's.
        DataError
            A key of the answer is no row that the query is about.
        BudgetError
            `limit` is above the setting ``oracle_limit``.

        Notes
        -----
        The same audit of the same answer draws the same rows again and finds their labels in the
        store: to test an answer twice, give another `seed`. Theorems U1 to U3 in the guarantees of
        audits.

        Examples
        --------
        >>> import thresher
        >>> con = thresher.connect(config={"seed": 1})
        >>> con.create_oracle("is_even", lambda n: [i % 2 == 0 for i in n], args=["BIGINT"])
        >>> found = con.audit(
        ...     "SELECT i FROM range(1000) r(i) WHERE is_even(i)",
        ...     list(range(0, 400, 2)),
        ...     key="i",
        ...     recall=0.9,
        ...     limit=300,
        ... )
        >>> [(f.claim, f.verdict) for f in found]
        [('recall', 'refuted'), ('precision', 'no claim')]
        """
        from thresher.given_answers import GivenAnswer, named

        with self._alone(), named(self._session.settled(), answer, key) as relation:
            given = GivenAnswer(key, relation, recall, precision, limit, probability, seed)
            return self._session.executor.audit_answer(query, given)

    def export_labels(self, path: str | Path) -> int:
        """Write every label of the store into a Parquet file and return how many they are."""
        from thresher.labels_transfer import export_labels

        self._check()
        return export_labels(self._store, path)

    def import_labels(self, path: str | Path) -> Imported:
        """Take the labels of a Parquet file into the store; an answer that it has stays.

        Raises
        ------
        OperationalError
            The file cannot be read.
        DataError
            It is no file of labels.
        """
        from thresher.labels_transfer import import_labels

        self._check()
        return import_labels(self._store, path)

    def label_log(self, certificate: str) -> pa.Table:
        """Return the label log that the store keeps for a certificate, by its identity.

        Raises
        ------
        ProgrammingError
            There is no such certificate.
        """
        self._facts(certificate)
        return self._store.certificate_labels(certificate)

    def verify(self, certificate: str) -> Verification:
        """Derive every bound of a stored certificate again, from its label log alone.

        Raises
        ------
        ProgrammingError
            There is no such certificate.
        """
        from thresher.verify import verify  # scipy.stats takes a second to load

        return verify(self._facts(certificate), self._store.certificate_labels(certificate))

    def _facts(self, certificate: str) -> dict[str, Any]:
        self._check()
        facts = self._store.certificate(certificate)
        if facts is None:
            raise errors.ProgrammingError(
                f"there is no certificate {certificate} in the label store. SHOW CERTIFICATES "
                "lists them."
            )
        return facts
