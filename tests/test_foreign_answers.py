"""Answers to SQL of other systems, against the truth in a column."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import thresher
from thresher.errors import ProgrammingError


@pytest.fixture
def video() -> Iterator[thresher.Connection]:
    with thresher.connect(config={"seed": 1}) as con:
        con.execute(
            "CREATE TABLE video AS SELECT i AS timestamp, i // 2 AS frame, i % 3 AS day, "
            "(i * 37 % 100) / 100 AS score, 'frame {0} ' || i % 10 AS text FROM range(600) AS r(i)"
        )
        con.execute(
            "CREATE TABLE truth AS SELECT DISTINCT frame, CASE WHEN frame % 5 = 0 THEN 'car' "
            "WHEN frame % 7 = 0 THEN 'bus' ELSE 'none' END AS class FROM video"
        )
        con.execute(
            "CREATE ORACLE class(frame BIGINT) RETURNS VARCHAR USING column "
            "WITH (table = 'truth', key = 'frame', value = 'class', as_column = true)"
        )
        yield con


def test_a_call_without_from_is_about_one_row(video: thresher.Connection) -> None:
    video.create_oracle("judge", lambda asked: ["7" in text for text in asked], ["VARCHAR"])
    video.execute("SET thresher_default_oracle = 'judge'")
    assert video.execute("SELECT AI_FILTER('Is it 7?') AS seven, 1 AS one").fetchall() == [
        (True, 1)
    ]
    assert video.execute("SELECT judge('8') WHERE 1 = 1 LIMIT 3").fetchall() == [(False,)]
    assert video.execute("SELECT (SELECT judge('7'))").fetchall() == [(True,)]
    assert video.execute("SELECT judge('7') WHERE 1 = 2").fetchall() == []


@pytest.mark.parametrize(
    ("theirs", "plain"),
    [
        (
            "SELECT timestamp FROM video WHERE class = 'car' AND day = 1",
            "SELECT timestamp FROM v WHERE class = 'car' AND day = 1",
        ),
        (
            "SELECT v.timestamp FROM video AS v, truth AS u WHERE v.frame = u.frame AND v.class = "
            "'car' AND u.class = 'car'",
            "SELECT timestamp FROM v WHERE class = 'car'",
        ),
        (
            "SELECT frame FROM video WHERE day < 2 GROUP BY frame HAVING SUM(class = 'bus') >= 1 "
            "ORDER BY frame LIMIT 7",
            "SELECT frame FROM v WHERE day < 2 GROUP BY frame HAVING SUM((class = 'bus')::INT) >= "
            "1 ORDER BY frame LIMIT 7",
        ),
        (
            "SELECT FCOUNT(*) FROM video WHERE class = 'car' OR day = 0",
            "SELECT count(*) FILTER (WHERE class = 'car' OR day = 0) / count(*) FROM v",
        ),
        (
            "SELECT day, PERCENTAGE(class = 'car') FROM video WHERE class <> 'bus' GROUP BY day "
            "ORDER BY day",
            "SELECT day, 100 * avg((class = 'car')::INT) FROM v WHERE class <> 'bus' GROUP BY day "
            "ORDER BY day",
        ),
        (
            "SELECT timestamp FROM video WHERE class LIKE 'c%' FNR WITHIN 0 FPR WITHIN 0 "
            "BUDGET 600",
            "SELECT timestamp FROM v WHERE class LIKE 'c%'",
        ),
    ],
)
def test_answers_are_those_of_the_truth(
    video: thresher.Connection, theirs: str, plain: str
) -> None:
    video.execute("CREATE VIEW v AS SELECT * FROM video JOIN truth USING (frame)")
    wanted = video.connection.execute(plain).fetchall()
    rows = video.execute(theirs).fetchall()
    assert [tuple(pytest.approx(value) for value in row) for row in wanted] == rows
    assert wanted


def test_rows_with_a_gap_between_them(video: thresher.Connection) -> None:
    rows = video.execute(
        "SELECT timestamp FROM video GROUP BY timestamp HAVING SUM(class='bus')>=1 LIMIT 4 GAP 50"
    ).fetchall()
    found = sorted(row[0] for row in rows)
    assert all(timestamp // 2 % 7 == 0 and timestamp // 2 % 5 for timestamp in found)
    assert len(found) == 4
    assert all(after - before >= 50 for before, after in itertools.pairwise(found))


def test_prompts_reach_the_oracle_as_text(video: thresher.Connection) -> None:
    asked: list[str] = []

    def judge(prompts: list[str]) -> list[bool]:
        asked.extend(prompts)
        return [prompt.endswith("7!") for prompt in prompts]

    video.create_oracle("judge", judge, ["VARCHAR"], "BOOLEAN")
    sql = (
        "SELECT DISTINCT text FROM video WHERE AI_FILTER(PROMPT('Is {0} right, {{}}? {0}!', text))"
    )
    with pytest.raises(ProgrammingError, match="SET thresher_default_oracle"):
        video.execute(sql)
    video.execute("SET thresher_default_oracle = 'judge'")
    assert video.execute(sql).fetchall() == [("frame {0} 7",)]
    assert "Is frame {0} 3 right, {{}}? frame {0} 3!" in asked


def test_a_prepared_statement_of_another_system(video: thresher.Connection) -> None:
    video.create_oracle("judge", lambda asked: ["7" in text for text in asked], ["VARCHAR"])
    video.execute("SET thresher_default_oracle = 'judge'")
    video.execute(
        "PREPARE q AS SELECT DISTINCT text FROM video "
        "WHERE ai.if(prompt => 'Is it right? ' || text, score)"
    )
    assert video.execute("EXECUTE q").fetchall() == [("frame {0} 7",)]


def test_an_oracle_of_two_arguments_gets_the_prompt_first(video: thresher.Connection) -> None:
    asked: list[tuple[str, int]] = []

    def look(prompts: list[str], pictures: list[int]) -> list[bool]:
        asked.extend(zip(prompts, pictures, strict=True))
        return [picture % 2 == 0 for picture in pictures]

    video.create_oracle("look", look, ["VARCHAR", "BIGINT"], "BOOLEAN")
    video.execute("SET thresher_default_oracle = look")
    rows = video.execute("SELECT timestamp FROM video WHERE nlfilter(timestamp, 'Is it red?')")
    assert len(rows.fetchall()) == 300
    assert ("Is it red?", 4) in asked


def test_a_column_stands_for_the_oracle_only_where_it_is_declared_so(
    video: thresher.Connection,
) -> None:
    declared = (
        "CREATE OR REPLACE ORACLE class(frame BIGINT) RETURNS VARCHAR USING column "
        "WITH (table = 'truth', key = 'frame', value = 'class'{})"
    )
    video.execute(declared.format(""))
    with pytest.raises(ProgrammingError, match="class"):
        video.execute("SELECT * FROM video WHERE class = 'car'")
    with pytest.raises(ProgrammingError, match="option 'as_column' must be true or false"):
        video.execute(declared.format(", as_column = 3"))
    video.execute(declared.format(", as_column = true"))
    assert len(video.execute("SELECT * FROM truth WHERE class = 'car'").fetchall()) == 60


def test_explain_shows_what_was_understood_and_settings_give_targets(
    video: thresher.Connection,
) -> None:
    video.execute("SET thresher_recall_target = 95%")
    sql = "SELECT timestamp FROM video WHERE class = 'car' USING score"
    lines = [line for (line,) in video.execute(f"EXPLAIN {sql}").fetchall()]
    assert lines[:5] == [
        "query      SELECT timestamp FROM video WHERE class(frame) = 'car' USING score",
        "           RECALL TARGET 0.95",
        "understood the column class is read as class(frame)",
        "understood RECALL TARGET 0.95 is taken from thresher_recall_target",
        "plan       answer: SELECT timestamp",
    ]
    cursor = video.execute(f"{sql} ORACLE LIMIT 500 ON SHORTFALL RETURN")
    assert cursor.certificate is not None
    assert "RECALL TARGET 0.95" in cursor.certificate.canonical
    assert cursor.certificate.verify().ok
    exact = video.execute("SELECT count(*) FROM video WHERE class = 'car'")
    assert exact.fetchone() == (120,)
    inner = video.execute(f"EXPLAIN SELECT count(*) FROM ({sql}) AS found").fetchall()
    assert (lines[2],) in inner


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("WITH c AS (SELECT * FROM video) SELECT count(*) FROM c WHERE class = 'car'", 120),
        ("WITH video AS (SELECT 'car' AS class, 1 AS frame) FROM video SELECT count(*) "
         "WHERE class = 'car'", 1),
        ("WITH RECURSIVE c AS (FROM video), d AS (SELECT frame FROM c WHERE class = 'car') "
         "SELECT count(*) FROM d", 120),
        ("WITH c AS (FROM video) SELECT (SELECT count(*) FROM c WHERE class = 'car')", 120),
        ("SELECT count(*) FROM (SELECT * FROM video WHERE day = 0) AS s WHERE class = 'car'", 40),
        ("SELECT count(*) FROM video AS v(a, b) WHERE v.class = 'car'", None),
        ("SELECT count(*) FROM main.video WHERE \"class\" = 'car' AND CLASS <> 'bus'", 120),
        ("SELECT count(*) FROM 'video.parquet' WHERE class = 'car'", 120),
        ("SELECT count(*) FILTER (WHERE class = 'car') FROM video", 120),
        ("SELECT count(*) FROM truth WHERE class = 'car'", 60),
    ],
)  # fmt: skip
def test_which_relations_have_the_column(
    video: thresher.Connection, sql: str, count: int | None, tmp_path: Path
) -> None:
    video.execute(f"COPY video TO '{tmp_path}/video.parquet'")
    sql = sql.replace("'video.parquet'", f"'{tmp_path}/video.parquet'")
    if count is None:
        with pytest.raises(ProgrammingError, match="class"):
            video.execute(sql)
    else:
        assert video.execute(sql).fetchall() == [(count,)]


def test_a_block_that_is_kept_in_a_table(video: thresher.Connection) -> None:
    video.execute(
        "CREATE TABLE cars AS SELECT frame FROM video GROUP BY frame HAVING SUM(class = 'car') >= 1"
    )
    rows = video.execute("SELECT frame FROM cars ORDER BY frame").fetchall()
    assert rows == [(frame,) for frame in range(0, 300, 5)]


def test_an_audit_does_not_take_targets_from_settings(video: thresher.Connection) -> None:
    sql = "SELECT {} FROM video WHERE class(frame) = 'car'"
    exact = video.execute(sql.format("count(*)")).certificate
    assert exact is not None
    rows = video.execute(sql.format("timestamp")).fetchall()
    before = video.execute(f"AUDIT CERTIFICATE '{exact.id}'").fetchall()
    video.execute("SET thresher_recall_target = .9")
    video.execute("SET thresher_error_target = .1")
    assert video.execute(f"AUDIT CERTIFICATE '{exact.id}'").fetchall() == before
    keys = pa.table({"timestamp": [row[0] for row in rows]})
    asked = sql.format("timestamp")
    findings = video.audit(asked, keys, key="timestamp", recall=0.9, limit=600)
    [recall] = [finding for finding in findings if finding.claim == "recall"]
    assert (len(rows), recall.verdict) == (120, "supported")
