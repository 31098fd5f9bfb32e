"""Every statement of docs/dialect.md runs, in order; what it says is refused is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import thresher
from thresher.errors import NotSupportedError, ProgrammingError
from thresher.plan import SelectionQuery
from thresher.sql import parse, split

DIALECT = (Path(__file__).parents[1] / "docs" / "dialect.md").read_text()
WORLD = """
    CREATE TABLE reviews AS SELECT i AS id, i % 150 AS film, ['en', 'de'][1 + i % 2] AS lang,
        CASE WHEN i * 7919 % 101 < 30 THEN 'good, number ' ELSE 'bad, number ' END || i AS text,
        (CASE WHEN i * 7919 % 101 < 30 THEN 3 ELSE 1 END + i % 3)::INTEGER AS stars,
        DATE '2024-01-01' + (i % 366)::INTEGER AS day
        FROM range(1500) AS r(i);
    CREATE TABLE films AS SELECT i AS film, 'film ' || i AS title, 1990 + i % 30 AS year,
        ['art', 'law', 'war'][1 + i % 3] AS genre, 5 + i % 20 AS price,
        CASE WHEN i % 5 < 2 THEN 'good, number ' ELSE 'bad, number ' END || i AS review
        FROM range(1200) AS r(i);
    CREATE TABLE frames AS SELECT i AS frame, i / 30 AS second,
        i // 300 % 2 * 3 + i % 2 AS n_boxes FROM range(6000) AS r(i);
    CREATE TABLE mails AS SELECT i AS id, ['bad', 'good'][1 + i % 2] || i AS text,
        (i % 2 * 6 + i % 5) / 10 AS score FROM range(1000) AS r(i);
    CREATE TABLE news AS SELECT i AS id, ['goal ', 'chip '][1 + i % 2] || i AS text,
        DATE '2024-01-01' + (i % 10)::INTEGER AS day, ['sport', 'tech'][1 + i % 2] AS guess,
        (1 + i % 9) / 10 AS confidence FROM range(500) AS r(i);
    CREATE TABLE seats AS SELECT i AS id, '{"k": "v"}'::JSON AS j FROM range(5) AS r(i)
"""
MODELS = """
def rating(texts, langs):
    return [4.5 if "good" in text else 2.0 for text in texts]
"""


def positive(texts: list[str]) -> list[bool]:
    return ["good" in text for text in texts]


def topic(texts: list[str]) -> list[str]:
    return ["sport" if "goal" in text else "tech" for text in texts]


Function = Callable[..., list[object]]
# Stands for each oracle of the document that would need a model: its function and arguments.
STAND_INS: dict[str, tuple[Function, dict[str, str], str]] = {
    "is_positive": (positive, {"text": "VARCHAR"}, "BOOLEAN"),
    "judge": (positive, {"prompt": "VARCHAR"}, "BOOLEAN"),
    "classify": (topic, {"prompt": "VARCHAR"}, "VARCHAR"),
}
OTHERS: dict[str, tuple[Function, dict[str, str], str]] = {
    "is_spam": (positive, {"text": "VARCHAR"}, "BOOLEAN"),
    "topic": (topic, {"text": "VARCHAR"}, "VARCHAR"),
    "gist": (lambda texts: [text[:4] for text in texts], {"text": "VARCHAR"}, "VARCHAR"),
    "n_cars": (lambda frames: [i // 300 % 2 * 3 for i in frames], {"frame": "BIGINT"}, "BIGINT"),
    "same_view": (
        lambda a, b: [("good" in p) == ("good" in q) for p, q in zip(a, b, strict=True)],
        {"a": "VARCHAR", "b": "VARCHAR"},
        "BOOLEAN",
    ),
    "rate": (lambda texts: [len(text) / 1 for text in texts], {"prompt": "VARCHAR"}, "DOUBLE"),
}


def fenced() -> list[tuple[str, str]]:
    """Return each statement of the document, and the refusal that a comment before it names."""
    found = []
    for block in re.findall(r"^```sql\n(.*?)^```$", DIALECT, re.MULTILINE | re.DOTALL):
        end = 0
        for fragment in split(block):
            refused = re.findall(r"^-- refused: (.*)$", block[end : fragment.offset], re.MULTILINE)
            found.append((fragment.text, refused[-1] if refused else ""))
            end = fragment.offset + len(fragment.text)
    return found


def rows(heading: str, n_columns: int) -> list[list[str]]:
    """Return the rows of the first table of a section that has so many columns."""
    section = DIALECT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]
    return [[c.strip().replace("\\|", "|") for c in row] for row in cells if len(row) == n_columns]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[thresher.Connection]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "my_models.py").write_text(MODELS)
    with pytest.MonkeyPatch.context() as patch, thresher.connect(config={"seed": 1}) as connection:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        connection.execute(WORLD)
        for name, (function, arguments, returns) in {**OTHERS, **STAND_INS}.items():
            connection.create_oracle(name, function, arguments, returns)
        connection.execute(
            "CREATE TEMP ORACLE rating(text VARCHAR, lang VARCHAR) RETURNS DOUBLE USING python "
            "WITH (function = 'my_models:rating', minimum = 0, maximum = 5)"
        )
        yield connection
    sys.modules.pop("my_models", None)


def test_the_statements_run_in_order(world: thresher.Connection) -> None:
    for name in STAND_INS:
        world.execute(f"DROP ORACLE {name}")
    empty: list[str] = []
    for sql, refused in fenced():
        if refused:
            with pytest.raises(thresher.Error, match=re.escape(refused)):
                world.execute(sql)
            continue
        cursor = world.execute(sql)
        if sql.startswith("SELECT") and not cursor.fetchall():
            empty.append(sql)
        declared = re.match(r"CREATE .*?ORACLE (\w+)", sql)
        if declared and declared[1] in STAND_INS:
            world.execute(f"DROP ORACLE {declared[1]}")
            world.create_oracle(declared[1], *STAND_INS[declared[1]])
    assert empty == []
    world.execute("RESET thresher_default_oracle")
    world.execute("DROP TABLE kept")


BASES = {
    "ERROR WITHIN x": "SELECT count(*) FROM reviews WHERE is_positive(text) {}",
    "ACCURACY TARGET x": "SELECT id, is_spam(text) FROM mails USING score {}",
    "ASSUMING": "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 90% {}",
    "BUDGET": "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 80% {}",
    "GAP g": "SELECT * FROM frames WHERE n_cars(frame) >= 3 {}",
    "ON SHORTFALL": "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 80% {}",
}
OTHERWISE = "SELECT id FROM reviews WHERE is_positive(text) {}"


def test_the_example_of_each_clause_runs(world: thresher.Connection) -> None:
    table = rows("Clauses", 3)[1:]
    assert len(table) == 13
    world.execute("CREATE PROXY fast FOR is_positive USING tfidf")
    for clause, _, example in table:
        base = BASES.get(code(clause)[0], OTHERWISE)
        cursor = world.execute(base.format(code(example)[0]))
        assert cursor.certificate is not None
        assert cursor.certificate.met
    world.execute("DROP PROXY fast")


# How each row of the table of refusals is tried: what it refuses, and its way on.
REFUSALS = {
    "a call in `GROUP BY`, `HAVING`, `QUALIFY` beside a target": (
        "SELECT lang FROM reviews WHERE is_positive(text) GROUP BY lang, is_spam(text) "
        "RECALL TARGET 90%",
        "SELECT answer, count(*) FROM (SELECT is_spam(text) AS answer FROM mails) GROUP BY answer",
    ),
    "a call in the `ON` of an outer, semi or anti join": (
        "SELECT * FROM films LEFT JOIN mails ON same_view(review, text)",
        "WITH pairs AS (SELECT a.film, b.id FROM films AS a JOIN mails AS b ON a.film = b.id AND "
        "same_view(a.review, b.text)) SELECT count(*) FROM films LEFT JOIN pairs USING (film)",
    ),
    "an aggregate beside a call in `ORDER BY`": (
        "SELECT count(*) FROM mails ORDER BY is_spam(text)",
        "SELECT answer, count(*) FROM (SELECT is_spam(text) AS answer FROM mails) GROUP BY answer "
        "ORDER BY answer",
    ),
    "`GAP` beside what needs all positive rows": (
        "SELECT DISTINCT frame FROM frames WHERE n_cars(frame) >= 3 LIMIT 3 GAP 9",
        "SELECT DISTINCT frame FROM frames WHERE n_cars(frame) >= 3 LIMIT 3",
    ),
    "a call in a subquery that uses columns of the query round it": (
        "SELECT id FROM mails AS t WHERE EXISTS (SELECT 1 FROM news AS u WHERE u.id = t.id AND "
        "topic(u.text) = 'tech')",
        "SELECT id FROM mails WHERE id IN (SELECT id FROM news WHERE topic(text) = 'tech')",
    ),
    "a call in a recursive CTE that reads itself": (
        "WITH RECURSIVE r AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM r WHERE n_cars(i) < 3) "
        "SELECT * FROM r",
        "WITH RECURSIVE r AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 400) "
        "SELECT i FROM r WHERE n_cars(i) >= 3",
    ),
    "`CREATE VIEW` and `CREATE MACRO` with a call": (
        "CREATE VIEW v AS SELECT * FROM mails WHERE is_spam(text)",
        "CREATE OR REPLACE TABLE spam AS SELECT * FROM mails WHERE is_spam(text)",
    ),
    "`UPDATE ... SET x = call(...)`": (
        "DELETE FROM mails WHERE is_spam(text)",
        "DELETE FROM spam WHERE id IN (SELECT id FROM mails WHERE is_spam(text) USING score "
        "PRECISION TARGET 99%)",
    ),
    "a call as an argument of a call": (
        "SELECT id FROM mails WHERE is_positive(classify(text))",
        "SELECT id FROM mails WHERE is_positive(text) AND classify(text) = 'tech'",
    ),
    "`call IN (SELECT ...)`": (
        "SELECT id FROM news WHERE topic(text) IN (SELECT 'tech')",
        "SELECT id FROM news WHERE topic(text) IN ('tech', 'war')",
    ),
    "`rate(text)` alone": (
        "SELECT id FROM mails WHERE rate(text)",
        "SELECT id FROM mails WHERE rate(text) >= 0.5",
    ),
    "aggregates or `GROUP BY` with a recall or precision target": (
        "SELECT count(*) FROM mails WHERE is_spam(text) USING score RECALL TARGET 90%",
        "SELECT count(*) FROM mails WHERE is_spam(text) USING score ERROR WITHIN 10%",
    ),
    "`count(DISTINCT x)`, grouping sets, other aggregates": (
        "SELECT sum(id) + count(*) FROM mails WHERE is_spam(text) ORACLE LIMIT 100",
        "SELECT s + n FROM (SELECT sum(id) AS s, count(*) AS n FROM mails WHERE is_spam(text) "
        "ORACLE LIMIT 100)",
    ),
    "`ON SHORTFALL EXACT` with": (
        "SELECT count(*) FROM mails WHERE is_spam(text) ERROR WITHIN 10% ON SHORTFALL EXACT",
        "SELECT count(*) FROM mails WHERE is_spam(text) ERROR WITHIN 10% ON SHORTFALL RETURN",
    ),
    "`BUDGET n TOKENS`, `SECONDS` or `USD` with `ASSUMING`": (
        "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 80% ASSUMING NORMALITY "
        "BUDGET 5 SECONDS",
        "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 80% ASSUMING NORMALITY "
        "ORACLE LIMIT 1000",
    ),
    "`j->>'k' = 'v'` after `AND`": (
        "SELECT id FROM seats WHERE n_cars(id) < 3 AND j->>'k' = 'v'",
        "SELECT id FROM seats WHERE n_cars(id) < 3 AND (j->>'k') = 'v'",
    ),
    "`ASOF JOIN`, `POSITIONAL JOIN`": (
        "SELECT * FROM mails POSITIONAL JOIN news WHERE is_spam(mails.text)",
        "SELECT id FROM (SELECT mails.* FROM mails POSITIONAL JOIN news) AS j WHERE is_spam(text)",
    ),
    "`random()`": (
        "SELECT id FROM mails WHERE is_spam(text) AND random() < .1",
        "SELECT id FROM (SELECT * FROM mails WHERE random() < .9) AS t WHERE is_spam(text)",
    ),
    "`rowid`": (
        "SELECT rowid FROM mails WHERE is_spam(text)",
        "SELECT row FROM (SELECT rowid AS row, * FROM mails) AS t WHERE is_spam(text)",
    ),
    "`BUDGET n TOKENS` over an oracle": (
        "SELECT id FROM mails WHERE is_spam(text) RECALL TARGET 90% BUDGET 5 TOKENS",
        "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 90% BUDGET 500 CALLS",
    ),
    "`ON ORACLE ERROR WORST CASE`": (
        "SELECT id FROM mails WHERE is_spam(text) ACCURACY TARGET 90% ON ORACLE ERROR WORST CASE",
        "SELECT id FROM mails WHERE is_spam(text) USING score RECALL TARGET 80% "
        "ON ORACLE ERROR FAIL",
    ),
}


def test_what_is_refused_is_refused_and_what_to_write_runs(world: thresher.Connection) -> None:
    table = rows("What is refused, and what to write", 2)[1:]
    assert len(table) == len(REFUSALS)
    for (written, _), (start, (refused, way_on)) in zip(table, REFUSALS.items(), strict=True):
        assert written.startswith(start)
        with pytest.raises((NotSupportedError, ProgrammingError)) as caught:
            world.execute(refused)
        assert caught.value.spent == 0
        assert len(caught.value.message) > 20
        cursor = world.execute(way_on)
        if cursor.description is not None:
            cursor.fetchall()


def test_expressions_of_other_systems_are_read_as_the_table_says(
    world: thresher.Connection,
) -> None:
    world.execute("SET thresher_default_oracle = 'judge, classify, rate'")
    compared = 0
    for _, written, read in rows("Coming from other systems", 3)[1:]:
        pair = list(zip(code(written), code(read), strict=False))
        for theirs, ours in pair if len(code(written)) == len(code(read)) else pair[:1]:
            if not re.match(r"(judge|classify|rate)\(['xp]", ours) or "..." in theirs + ours:
                continue
            found, wanted = (
                parse(f"SELECT id FROM t WHERE ({sql}) IS NULL", world._session.catalog)
                for sql in (theirs, ours)
            )
            assert isinstance(found, SelectionQuery)
            assert isinstance(wanted, SelectionQuery)
            assert found.calls[0].arguments == wanted.calls[0].arguments, theirs
            compared += 1
    assert compared >= 12
    world.execute("RESET thresher_default_oracle")
