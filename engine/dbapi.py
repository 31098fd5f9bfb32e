"""PEP 249 connections, over one DuckDB connection each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from thresher import errors, plan
from thresher.cursor import Cursor
from thresher.labels import LabelStore
from thresher.progress import ProgressEvent, ProgressSink
from thresher.session import Outcome, Parameters, Session
from thresher.settings import Settings
from thresher.sql import split

if TYPE_CHECKING:
    from thresher.labels_transfer import Imported
    from thresher.verdicts import Finding
    from thresher.verify import Verification

__all__ = ["Connection", "Cursor"]


def _callable(name: str, function: object) -> None:
    if not callable(function):
        raise errors.InterfaceError(f"the function of {name} must be callable, got {function!r}")


class Connection:
    """A connection; made by `connect`.

    Attributes
    ----------
    connection : duckdb.DuckDBPyConnection
        The DuckDB connection beneath, for everything that is DuckDB's.
    """

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: LabelStore,
        settings: Settings,
        sink: ProgressSink | None = None,
    ) -> None:
        self._beneath, self._store, self._closed = connection, store, False
        self._settings = settings
        self._session = Session(connection, store, settings, sink)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection beneath."""
        self._check()
        return self._beneath

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._closed:
            self.close()

    def close(self) -> None:
        """Close the connection and the label store.

        Raises
        ------
        InterfaceError
            They are closed, as PEP 249 has it. A ``with`` block may end with a closed connection.
        """
        self._check()
        self._closed = True
        self._beneath.close()
        self._store.close()

    def cursor(self) -> Cursor:
        """Return a cursor; all cursors share this connection, its temporary tables included."""
        self._check()
        return Cursor(self)

    def execute(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        on_progress: Callable[[ProgressEvent], object] | None = None,
    ) -> Cursor:
        """Run a statement, or a script of several, and return a cursor over the last result."""
        return self.cursor().execute(sql, parameters, on_progress=on_progress)

    def interrupt(self) -> None:
        """Do what Ctrl-C does to the statement that runs, from another thread.

        It is stopped, unless it can answer early (``BUDGET``, ``thresher_on_interrupt``) and is
        asked for the first time: then it answers with what is proved by then. Where nothing runs
        nothing happens.
        """
        self._check()
        self._session.interrupts.interrupt()

    def commit(self) -> None:
        """Commit the transaction, if one was begun."""
        self._check()
        self._session.end_transaction("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if one was begun. Labels stay: they are paid for."""
        self._check()
        self._session.end_transaction("ROLLBACK")

    def create_oracle(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[str] | Mapping[str, str],
        returns: str = "BOOLEAN",
        **options: plan.OptionValue,
    ) -> None:
        """Declare a Python function as an oracle for the life of this connection.

        Parameters
        ----------
        name : str
            Name in SQL; an oracle of this name is replaced.
        function : callable
            ``function(list, ...) -> list``: one list per argument, a batch long. An answer may be
            ``(answer, confidence)`` with a confidence in [0, 1].
        args : sequence of str, or mapping of str to str
            DuckDB types of the arguments, or their names and types.
        returns : str
            DuckDB type of the answers.
        **options
            Options of the provider ``python``, such as ``batch_size`` and ``version``.

        Examples
        --------
        >>> import thresher
        >>> con = thresher.connect()
        >>> con.create_oracle("is_even", lambda n: [i % 2 == 0 for i in n], args=["BIGINT"])
        >>> con.execute("SELECT i FROM range(5) r(i) WHERE is_even(i)").fetchall()
        [(0,), (2,), (4,)]
        """
        self._check()
        _callable(name, function)
        if isinstance(args, str):
            raise errors.InterfaceError(
                f"args of oracle {name} must be a list of types, got {args!r}. Write [{args!r}]."
            )
        if not isinstance(args, Mapping):
            args = {f"a{i}": kind for i, kind in enumerate(args)}
        made = plan.CreateOracle(
            "", name, tuple(args.items()), returns, "python", options, replace=True, temporary=True
        )
        self._session.create(made, function)

    def create_proxy(
        self,
        name: str,
        function: Callable[..., Any],
        oracle: str,
        **options: plan.OptionValue,
    ) -> None:
        """Declare a Python function as a proxy for an oracle, for the life of this connection.

        Parameters
        ----------
        name : str
            Name in SQL; a proxy of this name is replaced.
        function : callable
            ``function(list, ...) -> list`` of floats, best in [0, 1]: one list per argument of the
            oracle, a batch long.
        oracle : str
            The declared oracle that it stands for.
        **options
            Options of the provider ``python``.
        """
        self._check()
        _callable(name, function)
        made = plan.CreateProxy("", name, oracle, "python", options, replace=True, temporary=True)
        self._session.create(made, function)

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

        self._check()
        with named(self._beneath, answer, key) as relation:
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

    def _run(
        self,
        sql: str,
        parameters: Parameters,
        on_progress: Callable[[ProgressEvent], object] | None = None,
    ) -> Outcome:
        self._check()
        outcome = Outcome(None)
        fragments = split(sql)
        if not fragments:
            raise errors.ProgrammingError("there is no statement to run")
        for fragment in fragments:
            try:
                with self._session.executor.told(on_progress):
                    outcome = self._session.execute(fragment.text, parameters)
            except errors.Error as error:
                raise error.within(sql, fragment.text, fragment.offset) from error.__cause__
        return outcome

    def _check(self) -> None:
        if self._closed:
            raise errors.InterfaceError("the connection is closed; open another with connect()")
