"""What is known of a query before it runs: rows, labels forecast, prices; as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from thresher.labels import Pace
from thresher.paces import taking
from thresher.sampling import LabelForecast
from thresher.targets import QueryKind

__all__ = ["GOALS", "HARD_SPACE", "RANKING", "Outlook", "ScoreForecast", "TokenForecast"]

HARD_SPACE = "\N{NO-BREAK SPACE}"  # where lines of the text form may not break
GOALS: dict[QueryKind, str] = {
    "recall": "to leave out half of the rows",
    "precision": "to return half of the positive rows",
    "joint": "to meet both targets",
    "accuracy": "to certify the labels",
    "estimate": "to keep the error",
}
"""What labels are forecast for."""
RANKING = "a method that cuts a ranking and assumes nothing"
"""The methods that the least number of labels binds: docs/guarantees-limits.md."""


@dataclass(frozen=True, slots=True)
class TokenForecast:
    """Tokens of a label: the mean of `n_measured` labels, or reckoned from inputs where that is 0.

    What is reckoned counts what is read, and not what a server puts round it or a model writes.
    """

    each: float
    n_measured: int = 0


@dataclass(frozen=True, slots=True)
class ScoreForecast:
    """What the scores of a proxy that asks a model will take before the first row is chosen.

    Parameters
    ----------
    name : str
        Of the proxy.
    n_inputs : int
        Inputs without a score; those that are remembered cost nothing.
    counted : bool
        Whether that was counted; else there are as many at most.
    tokens, usd : float or None
        Of each; None where nothing is known of it.
    n_measured : int
        Scores that say so; 0 where it is reckoned.
    """

    name: str
    n_inputs: int
    counted: bool
    tokens: float | None = None
    usd: float | None = None
    n_measured: int = 0

    def __str__(self) -> str:
        most = "" if self.counted else "at most "
        text = f"{self.name} scores {most}{self.n_inputs:,} inputs that have no score yet"
        if not self.n_inputs:
            return f"{self.name} costs nothing: every input has a score"
        if self.tokens is not None:
            text += f", about {self.tokens * self.n_inputs:,.0f} tokens"
        if self.usd:
            text += f", ${self.usd * self.n_inputs:,.4g}"
        return f"{text}, {_source(self.n_measured, 'score')}, before the first sample"


def _source(n_measured: int, noun: str) -> str:
    """Say where a figure comes from."""
    if not n_measured:
        return "reckoned from inputs"
    return f"as measured on {n_measured:,} {noun}{'' if n_measured == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a query before it runs.

    Parameters
    ----------
    n_rows : int
        Rows of the population.
    n_unknown, n_stored, n_free : int
        Rows that would need a label, those that labels in the store decide, and those that are
        decided without any.
    goal : str
        What the labels are forecast for; empty where nothing is forecast.
    labels : LabelForecast or None
        How many; None where nothing can be forecast.
    fitting : int
        Labels among them that proxies are fitted on first.
    given : str
        What the forecast supposes; empty where nothing.
    absolute : bool
        Whether targets are distances in units of the aggregate, and no shares.
    spends : int
        Labels that it will buy where it has no reason to stop before its limit; 0 where it stops as
        soon as it can.
    shows : int
        Most labels besides for calls in the SELECT list and ORDER BY, for rows that come back.
    curve : tuple of (float, int)
        Labels expected for other targets.
    exact : bool
        Whether the limit allows to label every row that is not known, so that the answer is exact.
    suffices : bool
        Whether the limit allows all labels that an accuracy target could need.
    n_groups : int
        Groups of an aggregate that have rows which are not known.
    refused : str
        Why it would be refused; empty where it would not.
    excluded : int or None
        Most rows that a recall query can leave out with the labels it may buy, if there are as many
        positive rows as the scores suggest.
    paces : mapping of str to Pace
        What labels have taken so far, by oracle.
    tokens : mapping of str to TokenForecast
        How many tokens a label takes, by oracle; of those that can tell.
    scores : tuple of ScoreForecast
        What proxies that ask a model will take.
    """

    n_rows: int
    n_unknown: int
    n_stored: int
    n_free: int
    goal: str
    labels: LabelForecast | None
    fitting: int
    given: str
    absolute: bool
    spends: int
    shows: int
    curve: tuple[tuple[float, int], ...]
    exact: bool
    suffices: bool
    n_groups: int
    refused: str
    excluded: int | None
    paces: Mapping[str, Pace]
    tokens: Mapping[str, TokenForecast]
    scores: tuple[ScoreForecast, ...] = ()

    def lines(self) -> list[tuple[str, str]]:
        """Return what it says as names and texts."""
        rows = f"{self.n_rows:,}, of which {self.n_unknown:,} would need a label"
        if self.n_stored:
            rows += f"; {self.n_stored:,} are in the label store"
        if self.n_free:
            rows += f"; {self.n_free:,} are decided without one"
        found = [("rows", rows)]
        if self.spends:
            found.append(
                ("spends", f"up to {self.spends:,} labels{taking(self.paces, self.spends)}")
            )
        if self.refused:
            found.append(("refused", self.refused))
        if self.shows:
            text = f"up to {self.shows:,} labels for calls outside WHERE, over rows that come back"
            found.append(("shows", text))
        if (labels := self.labels) is not None:
            ends = f" ({labels.low:,} to {labels.high:,})" if labels.low < labels.high else ""
            takes = "" if self.spends else taking(self.paces, labels.low, labels.high)
            read = f", {self.given}" if self.given else ""
            text = f"about {labels.expected:,} labels{ends} {self.goal}{takes}{read}"
            if self.fitting:
                text += f"; {self.fitting:,} or more of them first, to fit proxies"
            if 0 < self.spends < labels.low:
                text += f"; that is more than the {self.spends:,} it may buy"
            found.append(("forecast", text))
            if labels.least and self.goal != GOALS["accuracy"]:
                found.append(("limit", self._limit(labels)))
        for name, each in self.tokens.items():
            source = _source(each.n_measured, "label")
            text = f"about {each.each:,.0f} for each label of {name}, {source}"
            found.append(("tokens", f"{text}{self._all(each.each)}"))
        found += [("proxy cost", str(one)) for one in self.scores]
        if self.curve:
            write = "{:.4g}" if self.absolute else "{:.4g}%"
            scale = 1 if self.absolute else 100
            points = ", ".join(
                f"{write.format(scale * target)}:{HARD_SPACE}{n:,}" for target, n in self.curve
            )
            found.append(("curve", f"labels {self.goal}, by target: {points}"))
        return found

    def _limit(self, labels: LabelForecast) -> str:
        """Say what no method can do."""
        text = (
            f"with as many positive rows as the scores suggest, {RANKING} needs at least "
            f"{labels.least:,} labels"
        )
        if self.excluded is None:
            return text
        return (
            f"{text}; with {self.spends:,} it can always leave out at most {self.excluded:,} of "
            "the rows that are not labelled yet"
        )

    def _all(self, each: float) -> str:
        """Say what all labels will take, at so many tokens each."""
        n_labels = self.spends or (self.labels.expected if self.labels is not None else 0)
        return f": {each * n_labels:,.0f} for {n_labels:,} labels" if n_labels else ""

    def to_dict(self) -> dict[str, object]:
        """Return every figure as plain values."""
        labels = self.labels
        return {
            "rows": {
                "total": self.n_rows,
                "unknown": self.n_unknown,
                "in_store": self.n_stored,
                "decided_without": self.n_free,
            },
            "forecast": None
            if labels is None
            else {
                "goal": self.goal,
                "given": self.given or None,
                "fitting": self.fitting,
                "labels": {"expected": labels.expected, "low": labels.low, "high": labels.high},
                "least_labels": labels.least,
                "most_rows_left_out": self.excluded,
            },
            "spends": self.spends,
            "exact": self.exact,
            "refused": self.refused or None,
            "shows": self.shows,
            "curve": [{"target": target, "labels": n} for target, n in self.curve],
            "paces": {
                name: {
                    "n_labels": pace.n_labels,
                    "seconds_per_label": pace.seconds / pace.n_labels,
                    "usd_per_label": pace.cost_usd / pace.n_labels,
                }
                for name, pace in self.paces.items()
            },
            "about_tokens_per_label": {name: one.each for name, one in self.tokens.items()},
            "tokens_measured_on": {name: one.n_measured for name, one in self.tokens.items()},
            "proxy_scores": [asdict(one) for one in self.scores],
        }
