"""What EXPLAIN prints: how a statement is read, planned and forecast; with ANALYZE what it took."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from thresher.outlook import Outlook
from thresher.pages.plans import Plan, PlanPart
from thresher.plan import Composed, Explain, InnerBlock, SelectionQuery
from thresher.plan_tree import Node, named, wrapped
from thresher.run import Answered
from thresher.sampling.levels import Level

__all__ = ["Explanation", "ProxyQuality", "ScoreBin", "drawn", "written"]

_BINS = 5
_WIDTH = 78  # columns of the text, so that a terminal of 80 does not break it
_NAMES, _FACTS = 11, 13  # columns of the names before it, and of those of a certificate
# What names a block: WITH a AS (, CREATE TABLE a AS before it, or ) AS a behind.
_BEFORE = re.compile(
    r"""(\w+|"[^"]+")\s*(\([^()]*\)\s*)?AS\s*(NOT\s+)?(MATERIALIZED\s*)?\(?\s*$""", re.IGNORECASE
)
_BEHIND = re.compile(r"""\s*\)\s*AS\s+(\w+|"[^"]+")""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say of one query block.

    Parameters
    ----------
    query : SelectionQuery
        The block.
    plan : Node
        How it will be answered.
    outlook : Outlook or None
        What is known before it runs; None where it hangs on blocks before it.
    levels : tuple of Level
        How it splits its failure probability.
    answered : Answered or None
        What it gave; None without ANALYZE.
    """

    query: SelectionQuery
    plan: Node
    outlook: Outlook | None
    levels: tuple[Level, ...] = ()
    answered: Answered | None = None

    def lines(self) -> list[str]:
        """Return it as text."""
        lines = _laid("query", named(self.query.canonical), _NAMES)
        for note in self.query.understood:
            lines += _laid("understood", note, _NAMES)
        drawn = self.plan.lines(_WIDTH - _NAMES)
        lines += [f"{'' if i else 'plan':<{_NAMES}}{line}" for i, line in enumerate(drawn)]
        for name, text in self._foreseen():
            lines += _laid(name, text, _NAMES)
        if self.answered is not None:
            facts = (line for line in str(self.answered.certificate).splitlines())
            for line in facts:
                lines += _laid(line[:_FACTS].rstrip(), line[_FACTS:], _FACTS)
            for name, text in self._measured():
                lines += _laid(name, text, _FACTS)
        return lines

    def part(self, name: str) -> PlanPart:
        """Return it as a page shows it, under a name."""
        return PlanPart(
            name,
            named(self.query.canonical),
            tuple(self.query.understood),
            self.plan.to_dict(),
            tuple(self._foreseen()),
            tuple(self._measured()),
            None if self.answered is None else self.answered.certificate,
        )

    def _foreseen(self) -> list[tuple[str, str]]:
        """Say what is known before it runs."""
        if self.outlook is None and self.answered is None:
            return [("rows", "known once the blocks before are answered")]
        return [] if self.outlook is None else self.outlook.lines()

    def _measured(self) -> list[tuple[str, str]]:
        """Say how long each stage took, and how well the scores told the labels."""
        if self.answered is None:
            return []
        certificate = self.answered.certificate
        labels = None if self.outlook is None else self.outlook.labels
        found = []
        if labels is not None:
            found.append(
                (
                    "forecast was",
                    f"{labels.expected:,} labels ({labels.low:,} to {labels.high:,}), "
                    f"{certificate.n_labels:,} were bought and {certificate.n_reused:,} reused",
                )
            )
        times = ", ".join(f"{name} {s:.3g} s" for name, s in self.answered.seconds.items())
        found.append(("time", times))
        if (quality := quality_of(self.answered)) is not None:
            found.append(
                ("proxy AUC", f"{quality.auc:.3f} over {quality.n_labels:,} labelled rows")
            )
            bins = ", ".join(
                f"{b.low:.2g} to {b.high:.2g}: {b.n_positive:,} of {b.n_rows:,}"
                for b in quality.bins
            )
            found.append(("calibration", f"positive by score, {bins}"))
        return found

    def to_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        found: dict[str, object] = {
            "query": named(self.query.canonical),
            "understood": list(self.query.understood),
            "plan": self.plan.to_dict(),
            "delta": [_plain(level) for level in self.levels],
            "outlook": None if self.outlook is None else self.outlook.to_dict(),
        }
        if self.answered is not None:
            quality = quality_of(self.answered)
            found["certificate"] = self.answered.certificate.to_dict()
            found["seconds"] = dict(self.answered.seconds)
            found["proxy"] = None if quality is None else asdict(quality)
        return found


def _laid(name: str, text: str, before: int) -> list[str]:
    """Lay a named text out in lines; those after the first begin below the text."""
    lines = wrapped(text, _WIDTH - before)
    return [f"{'' if i else name:<{before}}{line}" for i, line in enumerate(lines)]


def _plain(level: Level) -> dict[str, object]:
    """Return a level as plain values, without what would only repeat."""
    found: dict[str, object] = {"part": level.part, "delta": level.delta}
    found |= {"at_most": level.most} if level.most > level.delta else {}
    found |= {"times": level.count} if level.count > 1 else {}
    found |= {"parts": [_plain(one) for one in level.parts]} if level.parts else {}
    return found


def written(statement: Explain, explained: Sequence[Explanation]) -> list[str]:
    """Return the lines of EXPLAIN for a statement whose parts are explained."""
    asked = statement.query
    blocks = asked.blocks if isinstance(asked, Composed) else ()
    names = [_name(asked.sql, block) for block in blocks]
    then = _then(asked)
    if statement.as_json:
        each = [one.to_dict() for one in explained]
        each[: len(names)] = [{"name": n} | one for n, one in zip(names, each, strict=False)]
        found: dict[str, object] = {"blocks": each}
        found |= {"then": then} if then is not None else {}
        return [json.dumps(found, indent=2, allow_nan=False)]
    lines: list[str] = []
    for i, one in enumerate(explained):
        if blocks:
            lines.append(_title(asked, i))
        lines += one.lines()
    return lines if then is None else [*lines, *_laid("then", then, _NAMES)]


def drawn(statement: Explain, explained: Sequence[Explanation]) -> Plan:
    """Return what EXPLAIN says of a statement, for a page."""
    asked = statement.query
    parts = tuple(one.part(_title(asked, i)) for i, one in enumerate(explained))
    return Plan(parts, _then(asked))


def _then(asked: SelectionQuery | Composed) -> str | None:
    """Return what DuckDB does with the rows of the blocks, as people may read it."""
    if isinstance(asked, Composed) and isinstance(asked.outer, str):
        return named(asked.outer)
    return None


def _title(asked: SelectionQuery | Composed, number: int) -> str:
    """Name a block of a statement; empty where it is the whole."""
    if not isinstance(asked, Composed):
        return ""
    inner = number < len(asked.blocks)
    name = _name(asked.sql, asked.blocks[number]) if inner else "the statement round it"
    return f"block {number + 1}{f', {name}' if name else ''}"


def _name(sql: str, block: InnerBlock) -> str | None:
    """Return what a statement calls the rows of a block, if it gives them a name."""
    end = block.place.offset + block.place.length
    found = _BEFORE.search(sql[: block.place.offset]) or _BEHIND.match(sql, end)
    return found and found[1]


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Labelled rows with scores in [low, high]."""

    low: float
    high: float
    n_rows: int
    n_positive: int


@dataclass(frozen=True, slots=True)
class ProxyQuality:
    """How well scores told the labels of a run: area under the ROC curve, and calibration.

    The labelled rows are not a uniform sample: the run chose most of them by their scores.
    """

    auc: float
    n_labels: int
    bins: tuple[ScoreBin, ...]


def quality_of(answered: Answered) -> ProxyQuality | None:
    """Hold the scores of a run against its labels; None where there is nothing to tell."""
    log = answered.certificate.log
    if log is None or answered.scores is None or log.column("truth").null_count:
        return None
    truth = np.asarray(log.column("truth"), dtype=np.bool_)
    scores = np.asarray(answered.scores, dtype=np.float64)
    if truth.all() or not truth.any() or np.isnan(scores).any():
        return None
    from scipy.stats import rankdata  # scipy.stats takes a second to load

    ranks = rankdata(scores)
    n_positive = int(truth.sum())
    over = float(ranks[truth].sum()) - n_positive * (n_positive + 1) / 2
    order = np.argsort(scores, kind="stable")
    bins = tuple(
        ScoreBin(float(scores[part[0]]), float(scores[part[-1]]), len(part), int(truth[part].sum()))
        for part in np.array_split(order, min(_BINS, len(order)))
    )
    return ProxyQuality(over / (n_positive * (len(truth) - n_positive)), len(truth), bins)
