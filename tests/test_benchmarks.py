from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from tests_support_shell import extension

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
clairvoyant = module("clairvoyant")
coverage = module("coverage")
datasets = module("datasets")
fashion = module("fashion")
grid = module("grid")
guarantee = module("guarantee")
guarantee_figures = module("guarantee_figures")
guarantee_picture = module("guarantee_picture")
guarantee_report = module("guarantee_report")
hostile = module("hostile")
http_client = module("http_client")
images = module("images")
journal = module("journal")
judging = module("judging")
methods = module("methods")
picture = module("picture")
provenance = module("provenance")
report = module("report")
run = module("run")
seeded = module("seeded")
shell = module("shell")
speed = module("speed")
store = module("store")
trials = module("trials")
versions = module("versions")

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


def test_requests_are_counted_by_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    found = http_client.at_once(128, concurrency=8)
    assert found["n_served"] == 128
    assert found["limit_per_s"] == 160.0
    assert 0.0 < found["share"] <= 1.01, "no faster than the server lets anyone be"
    monkeypatch.setattr(http_client, "WINDOW_S", 0.6)
    for told in (True, False):
        found = http_client.by_the_window(20, told=told, n_windows=3)
        assert found["n_served"] == 60
        assert found["share"] <= 1.1
        assert told or found["n_refused"] > 0


def test_the_store_is_measured_on_labels_that_are_right(tmp_path: Path) -> None:
    figures = store.run(tmp_path, n_labels=2000)
    assert json.loads((tmp_path / "store.json").read_text()) == figures
    asked = figures["queries"]
    bought = [asked[f"{name}_n_labels"] for name in ("buying", "again", "from_facts")]
    assert bought == [2000, 0, 0]
    assert set(figures["lookups"]) == {"boolean", "text"}


def drawn(n_rows: int, seed: int) -> Any:
    """Images of ten classes: a bright square whose place is the class, on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % 10
    pixels = rng.integers(0, 60, (n_rows, 28, 28), dtype=np.uint8)
    for row, label in zip(pixels, labels, strict=True):
        row[label % 5 * 5 :, label // 5 * 14 :][:6, :6] += 180
    return fashion.Images(pixels.reshape(n_rows, -1), labels.astype(np.int64))


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Networks of one layer in the place of those that packages carry; an empty cache."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import save_file

    efficientnet = module("efficientnet")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(efficientnet, "SIDES", {"lite0": 8, "lite2": 8})

    def small() -> Any:
        layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1000))
        return efficientnet.Grouped(layer)

    for name, seed in (("lite0", 1), ("lite2", 2)):
        torch.manual_seed(seed)
        save_file(small().state_dict(), tmp_path / f"{name}.safetensors")
        monkeypatch.setattr(efficientnet, name, small)
    monkeypatch.setattr(efficientnet, "weights", lambda name: tmp_path / f"{name}.safetensors")
    return tmp_path


def test_images_are_asked_of_networks_and_a_run_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, small_networks: Path
) -> None:
    monkeypatch.setattr(images, "ASKED", ("Bag",))
    monkeypatch.setattr(images, "EPOCHS", {"cnn": 3, "linear": 3})
    monkeypatch.setattr(images, "fashion_mnist", lambda: (drawn(400, 1), drawn(200, 2)))
    monkeypatch.setattr(module("image_models"), "ROWS", 20)
    monkeypatch.setattr(seeded, "sources_hash", lambda folder: folder.name)
    monkeypatch.setattr(module("pretrained"), "ROWS_OF_A_PART", 60)
    sizes = {"n_files": 100, "n_live": 50, "journal": small_networks / "runs.jsonl"}
    images.run(small_networks, n_seeds=1, **sizes)
    figures = json.loads((small_networks / "images.json").read_text())
    asked = [(cell["kind"], cell["proxy"]) for cell in figures["fashion"]["cells"]]
    assert asked == [(kind, proxy) for proxy in ("linear", "fitted") for kind in seeded.KINDS]
    assert figures["fashion"]["facts"]["agreement"]["Bag"]["oracle_says_yes"] == 20
    assert len(figures["garments"]["cells"]) == 9
    one = figures["garments"]["live"]
    same = [{k: v for k, v in one[of].items() if k != "seconds"} for of in ("live", "from_cache")]
    assert same[0] == same[1]
    before = sizes["journal"].read_text()
    images.run(small_networks, n_seeds=1, **sizes)
    assert sizes["journal"].read_text() == before


def test_runs_of_other_code_or_data_do_not_count(tmp_path: Path) -> None:
    cell = seeded.Cell("Bag", "both", "linear", "is_bag(image)", "linear", 10)
    runs = seeded.Runs(tmp_path / "runs.jsonl", "a")
    for seed in (1, 0):
        runs.add(cell, seed, {"seed": seed})
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"cell": "cut')
    assert [one["seed"] for one in seeded.Runs(tmp_path / "runs.jsonl", "a").of(cell)] == [0, 1]
    assert seeded.Runs(tmp_path / "runs.jsonl", "b").of(cell) == []


def test_misses_are_tested_against_delta() -> None:
    cell = seeded.Cell("Bag", "recall", "linear", "is_bag(image)", "linear", 10)
    assert cell.sql(3).endswith("RECALL TARGET 0.9 WITH PROBABILITY 0.95 ORACLE LIMIT 10 SEED 3")
    fields = {"recall": 0.5, "precision": 1.0, "n_labels": 10, "n_fitting": 0, "seconds": 1.0}
    runs = [fields | {"met": True, "missed": True}] * 2
    found = seeded.summary(cell, [*runs, fields | {"met": False, "missed": False}])
    assert (found["missed"], found["said_short"], found["n_seeds"]) == (2, 1, 3)
    assert found["p_value"] == pytest.approx(3 * 0.05**2 * 0.95 + 0.05**3)


def test_fashion_mnist_that_cannot_be_had_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(command: list[str], folder: str) -> None:
        raise FileNotFoundError(f"no {command[0]} here")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fashion, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr(fashion, "_run", absent)
    images.run(tmp_path)
    told = capsys.readouterr().out
    assert "sudo apt-get install dataset-fashion-mnist" in told
    assert not (tmp_path / "images.json").exists()


def test_a_kind_of_model_is_timed_in_three_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    timing, media = module("oracles"), module("media_kinds")
    monkeypatch.setattr(timing, "REPEATS", 1)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    monkeypatch.setattr(media, "SHAPE", small)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    told = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **told).save_pretrained(tmp_path / "words")
    kind = media.matching(4, tmp_path, tmp_path / "words")
    figures = timing.timed(kind)
    assert set(figures["against"]) == {"loop", "pipeline"}
    [answers] = kind.ours()
    best = np.concatenate(kind.loop()).argmax(axis=1)
    assert answers.values.to_pylist() == [media.LABELS[i] for i in best]


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


def test_a_version_is_that_of_the_code_reached_by_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("one", "from benchmarks import two\n"), ("two", "a = 1\n"), ("far", "")):
        (tmp_path / f"{name}.py").write_text(text)
    package = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("benchmarks", loader=None, is_package=True)  # type: ignore[arg-type]
    )
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "benchmarks", package)
    assert set(versions.reached(["benchmarks.one"])) == {"benchmarks.one", "benchmarks.two"}
    before = versions.version_of(["benchmarks.one"])
    (tmp_path / "two.py").write_text('"""What it is."""\n# why\na = 1\n')
    (tmp_path / "far.py").write_text("b = 1\n")
    assert versions.version_of(["benchmarks.one"]) == before
    (tmp_path / "two.py").write_text("a = 2\n")
    assert versions.version_of(["benchmarks.one"]) != before
    assert versions.version_of(["benchmarks.one"], ["numpy", "pytest"]) != before


def test_a_method_made_of_a_function_changes_with_it() -> None:
    def one(*_: Any) -> Any:
        return 1

    def other(*_: Any) -> Any:
        return 2

    made = [judging.Entry("a", "recall", "none", "v", run) for run in (one, one, other)]
    assert made[0].version == made[1].version != made[2].version


def test_versions_reach_the_exact_bounds_and_no_other_kind() -> None:
    files = versions.reached(["thresher.sampling.recall"])
    assert "thresher.sampling.bounds" in files
    assert "thresher.sampling.counts" not in files


def test_every_set_is_in_one_half_and_the_hostile_ones_have_their_shape() -> None:
    assert set(grid.SETS) >= datasets.TUNING
    assert len(set(grid.SETS)) == len(grid.SETS)
    assert set(grid.SETS) >= grid.CORE | grid.CROSSED
    assert replace(TOY, name="onto").half == "tuning"
    assert replace(TOY, name="tacred").half == "held-out"
    for name in hostile.RECIPES:
        one, again = hostile.make(name, 300), hostile.make(name, 300)
        assert one.fingerprint == again.fingerprint
        assert one.n_rows == 300
    assert len(np.unique(hostile.make("ties").scores)) == 5
    assert hostile.make("one-positive").n_positive == 1
    assert hostile.make("all-positive").n_positive == hostile.make("all-positive").n_rows
    assert hostile.make("none-positive").n_positive == 0
    missing = np.isnan(hostile.make("nan").scores)
    assert missing[hostile.make("nan").labels].mean() > 0.2
    for name, beyond in (("just-above-1", 1), ("just-above-10", 10)):
        data = hostile.make(name)
        assert grid.budgets_of(data) == [data.n_rows - beyond]


def test_the_published_populations_are_those_of_the_recipes() -> None:
    beta, rare, clump = (hostile.make(name) for name in hostile.PUBLISHED)
    assert (beta.n_rows, rare.n_rows, clump.n_rows) == (200_000, 100_000, 100_000)
    assert (rare.n_positive, clump.n_positive) == (100, 1000)
    assert beta.auc == pytest.approx(0.994, abs=0.001)
    assert rare.auc == pytest.approx(0.90, abs=0.02)
    assert clump.auc == pytest.approx(0.85, abs=0.01)


def test_the_real_sets_leave_out_the_rows_that_trained_their_proxies() -> None:
    if not (datasets.data_folder() / "spamassassin_emails.parquet").is_file():
        pytest.skip("no shared data here")
    expected = {"movie-minilm": 2300, "spam-150": 5896, "abt-buy": 9575, "dblp-acm": 12363}
    expected |= {"routing-gsm8k": 1071, "mmlu-law": 1240, "footwear": 10_000, "sms-ham": 5375}
    for name, n_rows in expected.items():
        data = datasets.load(name)
        assert (data.name, data.n_rows) == (name, n_rows)
        assert 0 < data.n_positive < n_rows
        assert np.isfinite(data.scores).all()
    assert datasets.load("sms-ham").auc == pytest.approx(datasets.load("sms").auc)


@pytest.mark.parametrize("size", grid.SIZES)
def test_no_cell_stands_twice_and_peers_stand_at_the_usual_question(size: str) -> None:
    data = replace(TOY, name="onto", scores=np.tile(SCORES, 10), labels=np.tile(LABELS, 10))
    cells = grid.cells_of(data, size)
    keys = [cell.key for cell in cells]
    assert len(set(keys)) == len(keys)
    ours = {(c.query.kind, c.query.target, c.query.delta) for c in cells if c.method == "thresher"}
    assert {("recall", 0.9, 0.05), ("both", 0.9, 0.05), ("count", 0.9, 0.05)} <= ours
    assert all(
        (c.query.target, c.query.delta) == (0.9, 0.05) for c in cells if c.method != "thresher"
    )
    if size == "full":
        crossed = {(c.query.budget, c.query.target, c.query.delta) for c in cells}
        assert {(100, 0.5, 0.01), (800, 0.99, 0.2)} <= crossed
    assert {c.query.budget for c in cells if c.query.kind == "recall"} <= {100, 200, 800}


def test_peers_are_not_asked_about_missing_scores() -> None:
    asked = {cell.method for cell in grid.cells_of(hostile.make("nan"), "full")}
    assert asked & {"bargain", "supg", "top-n", "ppi++"} == set()
    assert "thresher" in asked


def toy_cell(method: str = "top-n", kind: str = "recall", n: int | None = 30) -> Any:
    return journal.Cell("toy", method, query(kind, n))


def ended(failed: bool = False, utility: float = 0.5, seconds: float = 0.01) -> Any:
    return journal.Trial(judging.Outcome(failed, True, utility, 30), seconds)


def test_a_journal_gives_back_what_was_written_and_survives_a_cut(tmp_path: Path) -> None:
    path, cell = tmp_path / "trials.jsonl", toy_cell()
    book = journal.Journal(path)
    raised = journal.Trial(None, 0.2, "ValueError: no")
    book.append(cell, "v1", 0, [ended(), ended(True, 1 / 3)])
    book.append(cell, "v1", 2, [raised])
    book.append(cell, "v1", 9, [ended()])  # a gap: 3 to 8 never came
    path.write_text(path.read_text() + '{"cell": "toy/rec')
    again = journal.Journal(path)
    assert len(again.trials(cell, "v1")) == 3
    assert again.trials(cell, "v1")[1].outcome.utility == pytest.approx(1 / 3, rel=1e-5)
    assert again.trials(cell, "v1")[2] == raised
    assert again.trials(cell, "v2") == []
    again.append(cell, "v1", 3, [ended()])
    assert len(journal.Journal(path).trials(cell, "v1")) == 4


def test_a_stamp_changes_with_the_data_the_seed_and_the_method() -> None:
    cell = toy_cell()
    stamps = {
        cell.stamp(TOY, 1),
        cell.stamp(TOY, 2),
        cell.stamp(replace(TOY, labels=~LABELS), 1),
        toy_cell("thresher").stamp(TOY, 1),
    }
    assert len(stamps) == 4
    assert cell.seed(1, 0) != cell.seed(1, 1) != toy_cell("supg").seed(1, 1)


def test_a_cell_is_done_at_its_trials_or_its_time() -> None:
    limits = guarantee.Limits(n_trials=10, cap_s=1.0)
    drawn, fixed = toy_cell("supg"), toy_cell("top-n")
    assert limits.lacks(drawn, [ended()] * 9, 300)
    assert not limits.lacks(drawn, [ended()] * 10, 300)
    assert not limits.lacks(drawn, [ended()] * 5, 5)
    assert not limits.lacks(drawn, [ended(seconds=0.5)] * 2, 300)
    assert limits.lacks(fixed, [], 300)
    assert not limits.lacks(fixed, [ended()], 300)


@dataclass(frozen=True)
class Liar:
    """Returns nothing and says that it is everything."""

    name: str = "liar"
    kind: str = "recall"
    promise: str = "finite"
    deterministic: bool = False
    version: str = "1"

    def takes(self, data: Any) -> bool:
        return True

    def assumes_rightly(self, data: Any) -> bool:
        return bool(data.n_positive < 100)

    def __call__(self, data: Any, oracle: Any, query: Any, seed: int) -> Any:
        return judging.judge_rows(np.empty(0, dtype=np.int64), data, query, oracle.n_calls)


def test_a_new_method_is_measured_and_a_false_promise_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(methods.METHODS, ("recall", "liar"), Liar())
    cell = toy_cell("liar")
    runs = [guarantee.run_trial(cell, TOY, i, 1, 5.0) for i in range(20)]
    figures = guarantee_figures.summarise(cell, runs, TOY)
    assert (figures["failures"], figures["trials"]) == (20, 20)
    assert figures["p"] == pytest.approx(0.05**20)
    line = guarantee_figures.summary([figures])[0]
    assert line["holm_rejects"] == 1
    many = replace(TOY, labels=np.ones(400, dtype=np.bool_))
    unjudged = guarantee_figures.summarise(cell, runs, many)
    assert (unjudged["p"], unjudged["assumption_true"]) == (None, False)
    ours = [line | {"method": "thresher"}]
    assert "**1 cells fail more often" in guarantee_figures.verdict(ours)


def test_a_trial_that_raises_is_counted_as_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no such thing")

    monkeypatch.setitem(baselines.METHODS, "supg", broken)
    outcome = guarantee.run_trial(toy_cell("supg"), TOY, 0, 1, 5.0)
    figures = guarantee_figures.summarise(toy_cell("supg"), [outcome, ended()], TOY)
    assert (figures["trials"], figures["unfinished"]) == (1, 1)
    assert guarantee_report.errors_of([figures]) == [
        "- supg: RuntimeError: no such thing (1 cells, such as toy, recall, n = 30, target 0.9, "
        "delta 0.05)"
    ]


@pytest.mark.parametrize(
    "kind", ["recall", "precision", "both", "both-limited", "count", "accuracy"]
)
def test_thresher_is_judged_for_each_kind(kind: str) -> None:
    cell = toy_cell("thresher", kind, None if kind in ("both", "accuracy") else 100)
    outcome = guarantee.run_trial(cell, TOY, 0, 1, 30.0)
    assert outcome.error == ""
    assert not outcome.outcome.failed
    assert 0 < outcome.outcome.n_labels <= (cell.query.budget or 400)


def selection(**values: Any) -> Any:
    from thresher.sampling import Selection

    fields: dict[str, Any] = {"steps": (), "cut": 0.0, "met": True, "vacuous": False, "tests": ()}
    fields |= {"recall_bound": 0.9, "precision_bound": 0.9, "algorithm": ""}
    fields |= {"recall_estimate": 1.0, "precision_estimate": 1.0}
    return Selection(**(fields | values))


@pytest.mark.parametrize(
    ("returned", "changes", "failed"),
    [
        (40, {}, False),
        (35, {}, True),  # recall 0.875
        (35, {"met": False, "recall_bound": 0.8}, False),
        (35, {"met": False, "recall_bound": 0.88}, True),
        (44, {}, False),
        (45, {}, True),  # precision 0.889
        (80, {"met": False, "precision_bound": 0.5}, False),
        (81, {"met": False, "precision_bound": 0.5}, True),
        (35, {"recall_bound": None}, True),  # a target that is said to be met counts
    ],
)
def test_an_answer_is_held_to_what_it_says(
    returned: int, changes: dict[str, Any], failed: bool
) -> None:
    answer = selection(returned=np.arange(400) < returned, **changes)
    assert judging.judge_selection(answer, TOY, query("both"), 50).failed is failed


def test_an_interval_is_judged_by_its_ends() -> None:
    assert not judging.judge_interval(40, 40, TOY, 1).failed
    assert judging.judge_interval(41, 60, TOY, 1).failed
    assert judging.judge_interval(20, 39, TOY, 1).failed
    assert judging.judge_interval(20, 60, TOY, 1).utility == 1.0
    empty = replace(TOY, labels=np.zeros(400, dtype=np.bool_))
    assert judging.judge_interval(0, 7, empty, 1).utility == 7.0


@pytest.mark.skipif(
    importlib.util.find_spec("ppi_py") is None, reason="ppi-python is not installed"
)
def test_ppi_runs_where_it_is_installed() -> None:
    outcome = guarantee.run_trial(toy_cell("ppi++", "count", 100), TOY, 0, 1, 30.0)
    assert outcome.error == ""
    assert outcome.outcome.utility < 2


def test_an_audit_is_judged_by_the_answer_it_was_given() -> None:
    data = hostile.make("strays", 1000)
    outcome = guarantee.run_trial(toy_cell("thresher", "audit", 300), data, 0, 1, 30.0)
    assert outcome.error == ""
    assert not outcome.outcome.failed
    assert 0 < outcome.outcome.utility < 0.5


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_sums_and_means_are_judged_by_the_values_of_the_positives(kind: str) -> None:
    outcome = guarantee.run_trial(toy_cell("thresher", kind, 200), TOY, 0, 1, 30.0)
    assert outcome.error == ""
    assert not outcome.outcome.failed
    assert 0 < outcome.outcome.utility < 20
    values = hostile.values("toy", 400)
    assert (values.min() > 0, values.max() <= hostile.MOST_VALUE) == (True, True)


def test_whether_the_tail_is_calibrated_is_read_from_the_truth() -> None:
    assert judging.has_calibrated_tail(hostile.make("too-large"))
    assert judging.has_calibrated_tail(replace(TOY, scores=LABELS.astype(float)))
    assert not judging.has_calibrated_tail(hostile.make("advB_clump"))
    low = replace(TOY, scores=np.where(np.arange(400) < 39, 0.9, 1e-6))
    assert not judging.has_calibrated_tail(low)  # a positive whose score is next to nothing
    assert not judging.has_probabilities(replace(TOY, scores=-SCORES))
    assert judging.has_probabilities(hostile.make("nan"))


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("thresher-calibrated", "recall"),
        ("thresher-core-set", "recall"),
        ("thresher-core-set", "precision"),
        ("thresher-core-set-declared", "recall"),
        ("thresher-proxy-quality", "recall"),
        ("thresher-proxy-quality", "precision"),
        ("thresher-normal", "recall"),
        ("thresher-normal", "precision"),
    ],
)
def test_graded_selections_are_judged(method: str, kind: str) -> None:
    outcome = guarantee.run_trial(toy_cell(method, kind, 100), TOY, 0, 1, 30.0)
    assert outcome.error == ""
    assert outcome.outcome.n_labels <= 100


def test_the_p_value_is_the_exact_upper_tail() -> None:
    assert guarantee_figures.p_value(0, 50, 0.05) == 1.0
    assert guarantee_figures.p_value(2, 2, 0.1) == pytest.approx(0.01)
    assert guarantee_figures.p_value(1, 3, 0.2) == pytest.approx(1 - 0.8**3)


def test_holm_steps_down() -> None:
    assert guarantee_figures.holm([0.01, 0.04, 0.03]) == 1
    assert guarantee_figures.holm([0.01, 0.02, 0.03]) == 3
    assert guarantee_figures.holm([0.02, 0.5, 0.6]) == 0
    assert guarantee_figures.holm([]) == 0


def test_the_clairvoyant_is_no_worse_with_more_labels() -> None:
    data = hostile.make("strays", 1000)
    for kind in ("recall", "precision"):
        plans = [clairvoyant.plan(data, query(kind, n)) for n in (100, 400, 1000)]
        assert plans == sorted(plans)
        assert plans[-1] == 1.0


def test_the_clairvoyant_on_scores_that_say_everything() -> None:
    assert clairvoyant.plan(TOY, query("precision", 40)) == 1.0
    strict = clairvoyant.plan(TOY, query("both", None))
    assert clairvoyant.plan(TOY, baselines.Query("both", None, 0.5, 0.05)) <= strict < 300
    none = replace(TOY, labels=np.zeros(400, dtype=np.bool_))
    assert clairvoyant.plan(none, query("precision", 40)) == 1.0


def toy_result(figure: float = 0.6, method: str = "supg") -> dict[str, Any]:
    pairs = [("thresher", 0.5), (method, figure), ("clairvoyant", 0.9)]
    cells = [
        guarantee_figures.summarise(toy_cell(name), [ended(utility=value)] * 20, TOY)
        for name, value in pairs
    ]
    return {
        "machine": {"date": "now", "commit": "0"},
        "settings": {"grid": "short", "trials": 20, "cap_s": 1.0, "cells_left": 0}
        | {"target": 0.9, "delta": 0.05},
        "datasets": [guarantee.describe(TOY)],
        "summary": guarantee_figures.summary(cells),
        "cells": cells,
    }


def test_the_report_lists_every_cell_in_which_another_is_ahead() -> None:
    text = guarantee_report.markdown(toy_result())
    assert "| toy | 30 | 0.500, 0.0 % | 0.600 ▲, 0.0 % | 0.900 |" in text
    assert "- toy, recall, n = 30, target 0.9, delta 0.05: supg 0.600 against 0.500" in text
    assert "Nowhere in this run." in guarantee_report.markdown(toy_result(0.4))


def test_a_single_outcome_that_misses_the_target_is_never_ahead() -> None:
    result = toy_result(0.6, "top-n")
    assert guarantee_report.behind(result, "held-out") != []
    result["cells"][1]["failures"] = 1
    assert guarantee_report.behind(result, "held-out") == []


def test_fewer_labels_are_better_with_both_targets() -> None:
    assert methods.is_better("both", 90.0, 100.0)
    assert not methods.is_better("both", 100.2, 100.4)
    assert methods.is_better("recall", 0.51, 0.5)
    assert not methods.is_better("recall", 0.5004, 0.5)
    assert not methods.is_better("recall", float("nan"), 0.5)


def test_the_picture_is_drawn_with_and_without_figures(tmp_path: Path) -> None:
    for k, result in enumerate((toy_result(), toy_result() | {"cells": []})):
        guarantee_picture.draw(result, tmp_path / f"{k}.png")
        assert (tmp_path / f"{k}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
def test_the_command_goes_on_where_it_was(tmp_path: Path) -> None:
    words = [sys.executable, "-P", str(FOLDER / "guarantee.py"), "--grid", "short"]
    words += ["--data", "just-above-1", "--kinds", "precision", "--workers", "1"]
    words += ["--methods", "thresher", "--out", str(tmp_path)]
    words += ["--journal", str(tmp_path / "trials.jsonl")]
    written = []
    for n_trials in (2, 3):
        done = subprocess.run(
            [*words, "--trials", str(n_trials)], capture_output=True, text=True, check=True
        )
        assert "wrote guarantee.json" in done.stdout
        written.append((tmp_path / "trials.jsonl").read_text())
    assert written[1].startswith(written[0])
    assert [json.loads(line)["first"] for line in written[1].splitlines()] == [0, 0, 2, 2]
    result = json.loads((tmp_path / "guarantee.json").read_text())
    ours = [cell for cell in result["cells"] if cell["method"] == "thresher"]
    assert {cell["trials"] for cell in ours} == {3}
    assert (tmp_path / "guarantee.png").is_file()


def test_queries_through_the_shell_are_timed() -> None:
    extension()
    with shell.place() as folder:
        figures = shell.measure(folder, n_rows=3000, width=20)
    assert set(figures["ratio"]) == set(shell.QUERIES)
    assert all(len(times) == shell.REPEATS for times in figures["times_s"].values())
    assert figures["n_returned"]["exact_labels_known"] == 100
    assert 270 <= figures["n_returned"]["recall"] <= 3000
    json.dumps(figures)
