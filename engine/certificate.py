"""The record of what an answer promises and what was done to keep the promise."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from thresher import certificate_texts
from thresher.errors import InterfaceError
from thresher.reports import (
    COSTS,
    Bounds,
    Interval,
    OutputReport,
    ProxyCost,
    ProxyReport,
    StageReport,
    TrainedReport,
)
from thresher.targets import ErrorTarget, RowsTarget, Targets
from thresher.traces import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thresher.verify import Verification

__all__ = [
    "Bounds",
    "Certificate",
    "Interval",
    "OutputReport",
    "ProxyReport",
    "StageReport",
    "no_report",
]

# Left out where they say nothing.
_SPARED = (
    "answer",
    "understood",
    "n_tokens",
    "n_requests",
    "n_unused",
    "proxy_cost",
    "budget",
    "trained",
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one answer promises.

    Parameters
    ----------
    sql, canonical : str
        The statement as written, and in canonical form.
    targets : Targets
        What was asked for.
    grade : str
        ``exact``, or ``distribution-free``: finite-sample, nothing assumed of the proxy; the others
        rest on what `assumption` says.
    met : bool
        Whether every target is certified.
    note : str or None
        What the reader must know besides: a shortfall, a vacuous answer.
    n_rows, n_returned : int
        Rows of the population (those that satisfy the plain conditions), and rows selected of
        them, on which the SELECT list, GROUP BY and LIMIT then work: see `answer`.
    n_labels, n_reused : int
        Distinct inputs the oracle was asked in this query, and labels taken from the store.
    cost_usd, elapsed_s : float
        Price of the labels bought, and wall time in seconds.
    cut : float or None
        Lowest proxy score of a row that was returned unlabelled.
    bounds : Bounds
        Certified bounds and estimates.
    algorithm : str
        Which procedure made the decision.
    tests : tuple of mapping
        The exact tests on which the guarantee rests, with their integers.
    stages, proxies
        What was labelled when; which proxies were considered.
    seed : int
        Seed of the generator.
    oracles : mapping of str to str
        Version hash of each oracle.
    versions : mapping of str to str
        Versions of thresher, DuckDB and numpy.
    labels_sha256 : str
        Hash of the label log (`thresher.label_log.log_sha256`).
    assumption : str or None
        What the promise assumes, in words; None where it assumes nothing.
    intervals : tuple of Interval
        The estimates of an aggregate query; they hold together.
    session : str or None
        How the delta of this statement was taken from that of the session.
    outputs : tuple of OutputReport
        Answers that the rows returned show or are ordered by. Their labels are among `n_labels`;
        no promise rests on them, and the label log is without them.
    answer : str or None
        What comes back of the rows that were selected, where that is not all of them as they are:
        LIMIT cuts them, or GROUP BY makes other rows of them.
    understood : tuple of str
        How the statement was read: a sentence for each form of another system that it is written
        in, and for each setting that gives it a clause.
    n_tokens : int or None
        Tokens read and written for the labels bought; None where an oracle does not count them.
    n_requests : int or None
        Requests that were answered for these labels, where they are not as many: several rows may
        share one, and some had to be sent again.
    n_unused : int
        Labels among them that nothing rests on, and the log is without: people gave them for a
        batch that was not complete when the query stopped.
    proxy_cost : ProxyCost or None
        What proxy scores took, which is no part of `cost_usd` and `n_tokens`; None where no model
        was asked for one.
    budget : str or None
        What is left of the session's budget, where it has one.
    trained : tuple of TrainedReport
        Proxies that were trained before, and how they did on these rows.
    log : pyarrow.Table or None
        The label log, where it is at hand; it is no part of the certificate's text or identity.
    trace : Trace or None
        What its pictures need, where it is at hand; like the log, no part of it.

    Examples
    --------
    >>> import thresher
    >>> con = thresher.connect()
    >>> _ = con.create_oracle("is_even", lambda xs: [x % 2 == 0 for x in xs], args=["BIGINT"])
    >>> certificate = con.execute("SELECT i FROM range(10) r(i) WHERE is_even(i)").certificate
    >>> certificate  # doctest: +ELLIPSIS
    <thresher.Certificate: exact | 5 of 10 rows | 10 labels bought, 0 reused | ...>
    >>> certificate.verify()  # doctest: +ELLIPSIS
    <thresher.Verification: certificate ... holds: all 14 checks pass>
    """

    sql: str
    canonical: str
    targets: Targets
    grade: str
    met: bool
    note: str | None
    n_rows: int
    n_returned: int
    n_labels: int
    n_reused: int
    cost_usd: float
    elapsed_s: float
    cut: float | None
    bounds: Bounds
    algorithm: str
    tests: tuple[Mapping[str, Any], ...]
    stages: tuple[StageReport, ...]
    proxies: tuple[ProxyReport, ...]
    seed: int
    oracles: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    labels_sha256: str = ""
    assumption: str | None = None
    intervals: tuple[Interval, ...] = ()
    session: str | None = None
    outputs: tuple[OutputReport, ...] = ()
    answer: str | None = None
    understood: tuple[str, ...] = ()
    n_tokens: int | None = None
    n_requests: int | None = None
    n_unused: int = 0
    proxy_cost: ProxyCost | None = None
    budget: str | None = None
    trained: tuple[TrainedReport, ...] = ()
    log: pa.Table | None = field(default=None, compare=False)
    trace: Trace | None = field(default=None, compare=False)

    @classmethod
    def from_dict(
        cls,
        facts: Mapping[str, Any],
        log: pa.Table | None = None,
        trace: Mapping[str, Any] | None = None,
    ) -> Certificate:
        """Return the certificate that `to_dict` wrote, as from a label store or from JSON.

        Parameters
        ----------
        facts : mapping
            What `to_dict` returned, also of an earlier version.
        log : pyarrow.Table, optional
            Its label log.
        trace : mapping, optional
            What ``Trace.to_dict`` returned.

        Raises
        ------
        ValueError
            The facts are of no certificate.
        """
        try:
            found = {name: value for name, value in facts.items() if name not in _DERIVED}
            return cls(
                **{**found, **{name: read(found[name]) for name, read in _READ if name in found}},
                log=log,
                trace=None if trace is None else Trace.from_dict(trace),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"these are no facts of a certificate: {error}") from error

    @property
    def delta(self) -> float:
        """Failure probability of the statement, in (0, 1)."""
        return self.targets.delta

    @property
    def id(self) -> str:
        """Short hash of everything but cost and time: equal for equal runs."""
        return _identity(self._fields())

    @property
    def statement(self) -> str:
        """The promise in words."""
        return certificate_texts.statement(self)

    @property
    def summary(self) -> str:
        """One line for a terminal."""
        return certificate_texts.summary(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every field and the derived ones as plain values."""
        fields = self._fields()
        derived = {"id": _identity(fields), "statement": self.statement, "delta": self.delta}
        return {**derived, **fields}

    def _fields(self) -> dict[str, Any]:
        """Every field but the log, as plain values; what few statements need only where it is."""
        fields = asdict(replace(self, log=None, trace=None))
        spared = {"log", "trace", *(name for name in _SPARED if not fields[name])}
        return {name: value for name, value in fields.items() if name not in spared}

    def verify(self, log: pa.Table | None = None) -> Verification:
        """Derive every bound again from the label log alone.

        Parameters
        ----------
        log : pyarrow.Table, optional
            The label log (`thresher.label_log.LOG_SCHEMA`); None: the one that the certificate
            carries.

        Raises
        ------
        ValueError
            If there is no log.
        """
        from thresher.verify import verify  # scipy.stats takes a second to load

        log = self.log if log is None else log
        if log is None:
            raise ValueError(
                f"certificate {self.id} carries no label log. Give one: verify(log), with the "
                "log that the label store keeps for it."
            )
        return verify(self.to_dict(), log)

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON; NaN never occurs in it."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def plot(self) -> Figure:
        """Return pictures of what was done, as a matplotlib figure.

        The scores of all rows with those that have a label, what the scores were worth, the labels
        that other targets are forecast to take, and labels and money over time; for aggregates also
        the estimates with their limits. What does not apply, or was not kept by the version that
        made the certificate, is left out, with a line that says why.

        Returns
        -------
        matplotlib.figure.Figure
            Notebooks show it; ``savefig`` writes it.

        Raises
        ------
        ImportError
            matplotlib is not installed; it comes with ``thresher[jupyter]``.
        """
        from thresher.pages import figures

        return figures.figure(self)

    def save(self, path: str | Path) -> None:
        """Write a report as one HTML file that needs nothing else.

        Parameters
        ----------
        path : path
            File to write, such as ``report.html``; one that is there is replaced.

        Raises
        ------
        InterfaceError
            If its name does not end in ``.html`` or ``.htm``.
        OSError
            If the path is a folder, or one in no folder; nothing is drawn before.

        Notes
        -----
        Pictures are in it where matplotlib is installed, and the result of `verify` where the
        certificate carries its label log.
        """
        from thresher.pages import report

        path = Path(path)
        if (wrong := no_report(path)) is not None:
            raise InterfaceError(wrong)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "that is a folder: name a file", str(path))
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
        path.write_text(report.html(self, self.log), encoding="utf-8")

    def __str__(self) -> str:
        return "\n".join(f"{name:<12} {text}" for name, text in certificate_texts.facts(self))

    def __repr__(self) -> str:
        return f"<thresher.Certificate: {self.summary}>"

    def _repr_html_(self) -> str:
        from thresher.pages import cards  # what shows things is loaded when they are shown

        return cards.html(self)


def no_report(path: Path) -> str | None:
    """Say why a file cannot be a report by its name, or return None.

    Examples
    --------
    >>> no_report(Path("report.pdf"))
    'a report is HTML: report.pdf must end in .html'
    """
    if path.suffix.lower() in (".html", ".htm"):
        return None
    return f"a report is HTML: {path} must end in .html"


def _targets(found: Mapping[str, Any]) -> Targets:
    """Return the targets that were written as plain values."""
    error, rows = found.get("error"), found.get("rows")
    return Targets(
        **{
            **found,
            "error": None if error is None else ErrorTarget(**error),
            "rows": None if rows is None else RowsTarget(**rows),
        }
    )


def _several(kind: Callable[..., Any]) -> Callable[[Sequence[Mapping[str, Any]]], tuple[Any, ...]]:
    """Return what reads a list of one kind of report."""
    return lambda found: tuple(kind(**one) for one in found)


def _interval(**found: Any) -> Interval:
    return Interval(**{**found, "group": tuple(found["group"])})


_DERIVED = ("id", "statement", "delta")
_READ: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("targets", _targets),
    ("bounds", lambda found: Bounds(**found)),
    ("tests", tuple),
    ("stages", _several(StageReport)),
    ("proxies", _several(ProxyReport)),
    ("intervals", _several(_interval)),
    ("outputs", _several(OutputReport)),
    ("understood", tuple),
    ("proxy_cost", lambda found: None if found is None else ProxyCost(**found)),
    ("trained", _several(TrainedReport)),
)


def _identity(fields: Mapping[str, Any]) -> str:
    facts = {name: value for name, value in fields.items() if name not in COSTS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
