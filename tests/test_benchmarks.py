from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def _package() -> None:
    """Load the folder as the package `benchmarks`, from its path and nowhere else."""
    spec = importlib.util.spec_from_loader("benchmarks", loader=None, is_package=True)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    package.__path__ = [str(FOLDER)]
    sys.modules["benchmarks"] = package


def module(name: str) -> ModuleType:
    if "benchmarks" not in sys.modules:
        _package()
    return importlib.import_module(f"benchmarks.{name}")


baselines = module("baselines")
coverage = module("coverage")
datasets = module("datasets")
picture = module("picture")
provenance = module("provenance")
report = module("report")
run = module("run")
speed = module("speed")
trials = module("trials")

SCORES = np.linspace(1, 0, 400)
LABELS = np.arange(400) < 40
TOY = datasets.Dataset("toy", SCORES, LABELS, "forty positives on top")


def query(kind: str, budget: int | None = 100) -> Any:
    return baselines.Query(kind, budget)


def trial(**values: Any) -> Any:
    fields = {"recall": 1.0, "precision": 1.0, "n_calls": 10, "seconds": 0.1, "error": ""}
    return trials.Trial(**(fields | values))


def record(**values: Any) -> dict[str, Any]:
    cell = trials.Cell("toy", "thresher", query("recall"))
    return trials.summarise(cell, [trial(precision=0.5)] * 20, TOY) | values


@pytest.mark.parametrize(
    ("kind", "recall", "precision", "missed"),
    [
        ("recall", 0.9, 0.1, False),
        ("recall", 0.89, 1.0, True),
        ("precision", 0.1, 0.9, False),
        ("precision", 1.0, 0.89, True),
        ("both", 0.9, 0.9, False),
        ("both", 0.89, 1.0, True),
        ("both", 1.0, 0.89, True),
        # 9 / 10 is kept although 0.3 * 3 falls short of 0.9 in floating point.
        ("recall", 0.3 * 3, 1.0, False),
    ],
)
def test_a_trial_fails_on_the_targets_that_were_asked_for(
    kind: str, recall: float, precision: float, missed: bool
) -> None:
    assert trials.failed(trial(recall=recall, precision=precision), query(kind)) is missed


def test_quality_counts_the_rows_returned() -> None:
    assert trials.quality(np.arange(50), LABELS) == (1.0, 0.8)
    assert trials.quality(np.arange(20), LABELS) == (0.5, 1.0)
    assert trials.quality(np.empty(0, dtype=np.int64), LABELS) == (0.0, 1.0)


@pytest.mark.parametrize(("failures", "n"), [(0, 20), (3, 20), (20, 20), (7, 100)])
def test_the_interval_inverts_the_exact_test(failures: int, n: int) -> None:
    low, high = trials.exact_interval(failures, n)
    assert low <= failures / n <= high
    assert failures == 0 or binom.sf(failures - 1, n, low) == pytest.approx(0.025)
    assert failures == n or binom.cdf(failures, n, high) == pytest.approx(0.025)


def test_unfinished_trials_are_neither_failures_nor_successes() -> None:
    cell = trials.Cell("toy", "bargain", query("recall"))
    runs = [trial(recall=0.5), trial(), trial(error="cut after 1 s", recall=0.0)]
    figures = trials.summarise(cell, runs, TOY)
    assert (figures["trials"], figures["failures"], figures["unfinished"]) == (2, 1, 1)
    assert figures["errors"] == ["cut after 1 s"]
    assert trials.summarise(cell, runs[2:], TOY)["trials"] == 0


def test_a_row_asked_twice_is_one_call() -> None:
    oracle = baselines.CountingOracle(LABELS)
    assert oracle(np.array([0, 0, 399])).tolist() == [True, True, False]
    assert oracle(np.array([0])).tolist() == [True]
    assert oracle.n_calls == 2
    assert oracle.positives_asked().tolist() == [0]


def test_top_n_returns_the_positives_it_labelled() -> None:
    oracle = baselines.CountingOracle(LABELS)
    returned = baselines.top_n(SCORES, oracle, query("precision", 30), 0)
    assert returned.tolist() == list(range(30))
    assert oracle.n_calls == 30


@pytest.mark.parametrize("kind", ["recall", "precision", "both"])
def test_supg_finds_a_separable_head(kind: str) -> None:
    labels = np.arange(2000) < 400
    scores = np.where(labels, 0.99, 0.01) - np.arange(2000) * 1e-6
    oracle = baselines.CountingOracle(labels)
    returned = baselines.supg(scores, oracle, query(kind, 500), 3)
    recall, precision = trials.quality(returned, labels)
    assert precision >= 0.9
    assert recall >= (0.9 if kind != "precision" else 0.3)
    assert oracle.n_calls <= 500 or kind == "both"


def test_supg_without_a_positive_in_its_sample_does_not_fall_over() -> None:
    labels = np.zeros(500, dtype=np.bool_)
    cell = trials.Cell("toy", "supg", query("recall"))
    outcome = trials.run_trial(cell, replace(TOY, scores=SCORES, labels=labels[:400]), 0, 1, 5.0)
    assert outcome.error == ""


@pytest.mark.parametrize("kind", ["recall", "precision", "both"])
def test_bargain_runs_on_look_ups(kind: str) -> None:
    pytest.importorskip("BARGAIN", reason="bargain is not installed")
    cell = trials.Cell("toy", "bargain", query(kind, None if kind == "both" else 100))
    outcome = trials.run_trial(cell, TOY, 0, 1, 30.0)
    assert outcome.error == ""
    assert 0 < outcome.n_calls <= (400 if kind == "both" else 100)


def test_a_trial_depends_on_its_cell_and_index_alone() -> None:
    cell = trials.Cell("toy", "supg", query("recall"))
    one, again = (trials.run_trial(cell, TOY, 5, 1, 5.0) for _ in range(2))
    assert replace(one, seconds=0.0) == replace(again, seconds=0.0)
    assert trials.run_trial(cell, TOY, 6, 1, 5.0).n_calls != one.n_calls


def test_a_method_that_raises_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise IndexError("no such row")

    monkeypatch.setitem(baselines.METHODS, "supg", broken)
    outcome = trials.run_trial(trials.Cell("toy", "supg", query("recall")), TOY, 0, 1, 5.0)
    assert outcome.error == "IndexError: no such row"


@pytest.mark.skipif(not hasattr(trials.signal, "setitimer"), reason="no alarms here")
def test_a_trial_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: Any) -> Any:
        while True:
            pass

    monkeypatch.setitem(baselines.METHODS, "supg", endless)
    outcome = trials.run_trial(trials.Cell("toy", "supg", query("recall")), TOY, 0, 1, 0.05)
    assert outcome.error.startswith("cut after")


def test_a_better_median_is_marked_and_listed() -> None:
    ours = record()
    theirs = record(method="supg", precision={"median": 0.6}, failure_share=0.1, failure_low=0.02)
    text = report.cell_text(theirs, [ours, theirs], 0.05, 20)
    assert text.startswith("0.600 ▲, 10.0 %")
    assert text.endswith("✗")
    assert "▲" not in report.cell_text(ours, [ours, theirs], 0.05, 20)
    assert report.ahead_lines({"cells": [ours, theirs]}) == [
        "- toy, recall, n = 100: supg precision 0.6 against 0.5; "
        "10.0 % of its trials missed the target"
    ]


def test_with_both_targets_fewer_calls_are_better() -> None:
    ours = record(kind="both", budget=None, calls={"median": 50.0})
    theirs = record(kind="both", method="supg", calls={"median": 40.0})
    assert report.is_ahead(theirs, report.reference_of(theirs, [ours, theirs]))
    assert not report.is_ahead(ours, theirs)


@pytest.mark.parametrize(
    ("low", "share", "mark"), [(0.0, 0.05, ""), (0.02, 0.06, "✗"), (0.06, 0.1, "✗✗")]
)
def test_failures_above_delta_are_marked(low: float, share: float, mark: str) -> None:
    assert report.failure_mark(record(failure_low=low, failure_share=share), 0.05) == mark


def test_a_cell_without_figures_says_so() -> None:
    empty = trials.summarise(
        trials.Cell("toy", "bargain", query("recall")), [trial(error="x")], TOY
    )
    assert report.cell_text(empty, [empty], 0.05, 20) == "none of 1 finished"
    assert report.cell_text(None, [], 0.05, 20) == "-"


def test_table_has_one_column_for_each_heading() -> None:
    assert report.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_bars_show_calls_as_a_share_of_the_rows() -> None:
    assert picture.bar_value(record()) == 0.5
    assert picture.bar_value(record(kind="both", calls={"median": 100.0})) == 0.25
    assert picture.failure_text(record(failure_share=0.12), 0.05) == "fails 12%"
    assert picture.failure_text(record(failure_share=0.04), 0.05) == ""
    assert picture.surely_failed(record(failure_low=0.06), 0.05)
    assert not picture.surely_failed(record(failure_low=0.02), 0.05)
    assert picture.surely_failed(record(deterministic=True, failures=1), 0.05)


def test_auc_of_a_perfect_a_reversed_and_a_constant_score() -> None:
    assert TOY.auc == 1.0
    assert replace(TOY, scores=-SCORES).auc == 0.0
    assert replace(TOY, scores=np.zeros(400)).auc == 0.5


def test_an_absent_set_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THRESHER_DATA", str(tmp_path))
    with pytest.raises(datasets.DatasetUnavailableError, match=r"no supg_onto\.parquet in"):
        datasets.load("onto")


def test_coverage_judges_an_answer_by_the_whole_truth() -> None:
    assert coverage.judge(np.arange(36), "recall", LABELS) == (0.9, 1.0, False)
    assert coverage.judge(np.arange(35), "recall", LABELS)[2]
    assert coverage.judge(np.arange(50), "precision", LABELS)[2]
    assert not coverage.judge(np.empty(0, dtype=np.int64), "precision", LABELS)[2]
    assert coverage.verdict(10, 200)["kept"]
    assert not coverage.verdict(40, 200)["kept"]


def test_the_coverage_oracle_remembers_what_it_was_asked() -> None:
    recorder = coverage.Recorder(LABELS)
    assert recorder([1, 1, 50]) == [True, True, False]
    assert (recorder.asked, recorder.n_asked) == ({1, 50}, 3)
    recorder.reset()
    assert (recorder.asked, recorder.n_asked) == (set(), 0)


def test_the_hash_of_sources_changes_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("a = 1")
    before = provenance.sources_hash(tmp_path)
    (tmp_path / "one.py").write_text("a = 2")
    assert provenance.sources_hash(tmp_path) != before
    assert provenance.machine()["versions"]["numpy"] == np.__version__


def test_speed_table_and_oracle_agree() -> None:
    scores, truth = speed.table(1000)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert speed.oracle(truth)([3, 4]) == truth[[3, 4]].tolist()


def test_other_methods_cells_are_kept_only_under_the_same_settings(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--trials", "5", "--methods", "thresher"]
    arguments = run.parse(words)
    settings = run.settings_of(arguments)
    with pytest.raises(SystemExit, match="there is no"):
        run.kept_cells(arguments, settings)
    ours, theirs = record(), record(method="supg", date="then")
    earlier = {"settings": settings, "cells": [ours, theirs]}
    (tmp_path / "selection.json").write_text(json.dumps(earlier))
    kept = run.kept_cells(arguments, settings)
    assert [one["method"] for one in kept] == ["supg"]
    assert run.notes_on(kept) == ["The cells of supg are from then, same seeds."]
    with pytest.raises(SystemExit, match="other settings"):
        run.kept_cells(arguments, settings | {"trials": 6})


def test_with_both_targets_only_supg_takes_a_budget() -> None:
    cells = run.plan([TOY], list(baselines.METHODS))
    both = [(c.method, c.query.budget) for c in cells if c.query.kind == "both"]
    assert both == [("thresher", None), ("bargain", None), ("supg", 20), ("supg", 80)]
    assert sum(c.query.kind == "recall" for c in cells) == 8
