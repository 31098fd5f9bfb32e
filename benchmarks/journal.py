"""The record of finished trials: one line of JSON for each few of them, appended as they end.

A line counts for a cell only if method, code, data and seed are those of now; others are left where
they are. So a run that was cut off goes on where it was, and one after a change of the code begins
again with what the change touched.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.baselines import Query
from benchmarks.datasets import Dataset
from benchmarks.judging import Outcome
from benchmarks.methods import METHODS, REVISION


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one question over one data set."""

    dataset: str
    method: str
    query: Query

    @property
    def key(self) -> str:
        q = self.query
        return f"{self.dataset}/{q.kind}/{q.budget}/{q.target:g}/{q.delta:g}/{self.method}"

    def seed(self, base: int, index: int) -> int:
        """Seed of one trial: it depends on the cell and the index alone."""
        sequence = np.random.SeedSequence([base, zlib.crc32(self.key.encode()), index])
        return int(sequence.generate_state(1)[0])

    def stamp(self, data: Dataset, base: int) -> str:
        """What has to be unchanged for a trial to count."""
        version = METHODS[self.query.kind, self.method].version
        return f"{version}.{data.fingerprint}.{base}.{REVISION}"


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a method: its outcome and CPU seconds, or what went wrong."""

    outcome: Outcome | None
    seconds: float
    error: str = ""

    def packed(self) -> list[object]:
        """As a line of the journal holds it."""
        if self.outcome is None:
            return [self.error, round(self.seconds, 5)]
        one = self.outcome
        figures = [int(one.failed), int(one.met), float(f"{one.utility:.6g}"), one.n_labels]
        return [*figures, round(self.seconds, 5)]

    @classmethod
    def unpacked(cls, values: Sequence[object]) -> Trial:
        """Read what `packed` wrote."""
        if len(values) == 2:
            return cls(None, float(str(values[1])), str(values[0]))
        failed, met, utility, n_labels, seconds = (float(str(value)) for value in values)
        return cls(Outcome(bool(failed), bool(met), utility, int(n_labels)), seconds)


class Journal:
    """Trials by cell, read from a file and appended to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[tuple[str, str], dict[int, Trial]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_text().splitlines():
                self._adopt(line)
            if not path.read_bytes().endswith(b"\n"):
                self._write("\n")  # closes a line that was cut off

    def _adopt(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return  # the process ended while it wrote
        held = self._lines.setdefault((entry["cell"], entry["stamp"]), {})
        for index, values in enumerate(entry["trials"], entry["first"]):
            held[index] = Trial.unpacked(values)

    def trials(self, cell: Cell, stamp: str) -> list[Trial]:
        """The cell's trials from the first on, without a gap."""
        held = self._lines.get((cell.key, stamp), {})
        done: list[Trial] = []
        while len(done) in held:
            done.append(held[len(done)])
        return done

    def append(self, cell: Cell, stamp: str, first: int, trials: Iterable[Trial]) -> None:
        """Add trials, numbered from `first`, and write them to the file at once."""
        packed = [trial.packed() for trial in trials]
        entry = {"cell": cell.key, "stamp": stamp, "first": first, "trials": packed}
        line = json.dumps(entry, separators=(",", ":"))
        self._adopt(line)
        self._write(line + "\n")

    def _write(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text)
