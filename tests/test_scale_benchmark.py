"""The benchmark of queries over millions of rows, on few."""

from __future__ import annotations

from pathlib import Path

from benchmarks import scale


def test_every_query_is_timed_beside_the_copy(tmp_path: Path) -> None:
    found = scale.figures_of(tmp_path / "t.duckdb", 20_000, 20, repeats=1)
    assert set(found["ratio"]) == set(scale.QUERIES)
    assert len(found["times_s"]["copy"]) == len(scale.QUERIES)
    assert min(found["median_s"].values()) > 0
    assert found["peak_memory_mb"] > 10


def test_the_oracle_reads_the_truth_off_the_text(tmp_path: Path) -> None:
    with scale.connect(_built(tmp_path)) as con:
        cursor = con.execute(
            scale.QUERIES["precision_with_labels"].replace("LIMIT 1000", "LIMIT 90")
        )
        assert cursor.certificate is not None
        assert cursor.certificate.n_labels == 90
        wrong = con.execute("SELECT count(*) FROM answer WHERE id % 10 <> 0").fetchone()
        n_rows = con.execute("SELECT count(*) FROM answer").fetchone()
        assert 0 <= wrong[0] <= 0.2 * n_rows[0]


def _built(folder: Path) -> Path:
    import duckdb

    path = folder / "few.duckdb"
    with duckdb.connect(str(path)) as con:
        scale.build(con, 3000, 20)
    return path
