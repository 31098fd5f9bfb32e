"""One block bound: conjuncts, formula, calls, and what is refused with its place."""

from __future__ import annotations

from contextlib import suppress

import duckdb
import pytest

from tests_support import Names, declared
from thresher.errors import NotSupportedError, ProgrammingError
from thresher.plan import SelectionQuery
from thresher.sql import parse
from thresher.sql.relations import NO_RELATION
from thresher.sql.selections import AGGREGATES
from thresher.sql.tokens import RESERVED, identifier

NAMES = Names(
    known_settings=["oracle_limit"],
    is_pos=declared("BOOLEAN", "VARCHAR"),
    rate=declared("DOUBLE", "VARCHAR"),
    mood=declared("VARCHAR", "VARCHAR"),
    match=declared("BOOL", "VARCHAR", "DECIMAL(10, 2)"),
    fair=declared("BOOLEAN"),
)


def bind(sql: str) -> SelectionQuery:
    query = parse(sql, NAMES)
    assert isinstance(query, SelectionQuery)
    return query


def where(condition: str) -> SelectionQuery:
    return bind(f"SELECT * FROM t WHERE {condition}")


@pytest.mark.parametrize(
    ("condition", "plain", "formula", "parts"),
    [
        ("is_pos(a)", None, "__thresher_o0", {}),
        ("x > 1 AND is_pos(a) AND y", "x > 1 AND y", "__thresher_o0", {}),
        ("(x > 1 AND is_pos(a))", "x > 1", "__thresher_o0", {}),
        ("(x OR y) AND is_pos(a)", "(x OR y)", "__thresher_o0", {}),
        ("x BETWEEN 1 AND 2 AND is_pos(a)", "x BETWEEN 1 AND 2", "__thresher_o0", {}),
        (
            "CASE WHEN x AND y THEN z END AND is_pos(a)",
            "CASE WHEN x AND y THEN z END",
            "__thresher_o0",
            {},
        ),
        ("is_pos(a) OR x = 1", None, "__thresher_o0 OR __thresher_p0", {"__thresher_p0": "x = 1"}),
        ("is_pos(a)OR(x)", None, "__thresher_o0 OR __thresher_p0", {"__thresher_p0": "(x)"}),
        ("NOT(is_pos(a))", None, "NOT(__thresher_o0)", {}),
        ("rate(a) > x + 1", None, "__thresher_o0 > __thresher_p0", {"__thresher_p0": "x + 1"}),
        (
            "rate(a) > 0.5 * (1 + 2)",
            None,
            "__thresher_o0 > __thresher_p0",
            {"__thresher_p0": "0.5 * (1 + 2)"},
        ),
        ("rate(a) > -0.5", None, "__thresher_o0 > -0.5", {}),
        (
            "mood(a) IN ('x', y, upper(y))",
            None,
            "__thresher_o0 IN ('x', __thresher_p0, __thresher_p1)",
            {"__thresher_p0": "y", "__thresher_p1": "upper(y)"},
        ),
        (
            "rate(a) > rate(b) AND is_pos(a)",
            None,
            "__thresher_o0 > __thresher_o1 AND __thresher_o2",
            {},
        ),
        (
            "is_pos(a) OR is_pos( A ) AND x OR x",
            None,
            "__thresher_o0 OR __thresher_o0 AND __thresher_p0 OR __thresher_p0",
            {"__thresher_p0": "x"},
        ),
        (
            "(is_pos(a) OR x) AND (y OR is_pos(b))",
            None,
            "(__thresher_o0 OR __thresher_p0) AND (__thresher_p1 OR __thresher_o1)",
            {"__thresher_p0": "x", "__thresher_p1": "y"},
        ),
        (
            "is_pos(a) OR x IN (SELECT b FROM u)",
            None,
            "__thresher_o0 OR __thresher_p0",
            {"__thresher_p0": "x IN (SELECT b FROM u)"},
        ),
        ("fair() AND x", "x", "__thresher_o0", {}),
    ],
)
def test_conjuncts_formula_and_parts(
    condition: str, plain: str | None, formula: str, parts: dict[str, str]
) -> None:
    query = where(condition)
    assert query.plain == plain
    assert query.formula == formula
    assert dict(query.parts) == parts


@pytest.mark.parametrize(
    ("condition", "monotone", "negated"),
    [
        ("is_pos(a)", True, [False]),
        ("NOT is_pos(a)", True, [True]),
        ("NOT (x OR NOT is_pos(a))", True, [False]),
        ("is_pos(a) = FALSE", True, [True]),
        ("FALSE = is_pos(a)", True, [True]),
        ("is_pos(a) <> TRUE", True, [True]),
        ("is_pos(a) != FALSE", True, [False]),
        ("is_pos(a) = TRUE", True, [False]),
        ("is_pos(a) IS FALSE", False, [True]),
        ("is_pos(a) IS NOT TRUE", False, [True]),
        ("is_pos(a) IS TRUE", False, [False]),
        ("NOT is_pos(a) IS FALSE", False, [False]),
        ("is_pos(a) IS NOT NULL", False, [False]),
        ("rate(a) >= 0.5", True, [False]),
        ("rate(a) < 0.5", True, [True]),
        ("0.5 > rate(a)", True, [True]),
        ("NOT 0.5 <= rate(a)", True, [True]),
        ("1 - rate(a) > 0.5", True, [True]),
        ("-rate(a) > 0.5", True, [True]),
        ("rate(a) > rate(b)", True, [False, True]),
        ("CAST(rate(a) AS INT) + 2 * 3 > 1", True, [False]),
        ("rate(a)::INT BETWEEN 1 AND x", True, [False]),
        ("mood(a) IN ('x', y)", True, [False]),
        ("mood(a) LIKE 'x%'", False, [False]),
        ("TRY_CAST(mood(a) AS INT) = 3", False, [False]),
        ("coalesce(is_pos(a), x)", False, [False]),
        ("CASE WHEN is_pos(a) THEN x ELSE y END", False, [False]),
        ("is_pos(a) IS DISTINCT FROM x", False, [False]),
        ("mood(a) || 'x' = 'yx'", False, [False]),
        ("is_pos(a) AND coalesce(x, y) IS NULL", True, [False]),
        ("is_pos(a) OR coalesce(x, y) IS NULL", True, [False]),
    ],
)
def test_monotone_and_negated(condition: str, monotone: bool, negated: list[bool]) -> None:
    query = where(condition)
    assert query.monotone is monotone
    assert [call.negated for call in query.calls] == negated


def test_calls_carry_arguments_columns_and_place() -> None:
    query = where("x AND match(lower(a), b + 1)")
    (call,) = query.calls
    assert call.oracle == "match"
    assert call.arguments == ("CAST((lower(a)) AS VARCHAR)", "CAST((b + 1) AS DECIMAL(10, 2))")
    assert call.inputs == ("__thresher_o0_a0", "__thresher_o0_a1")
    assert (call.value, call.key) == ("__thresher_o0", "__thresher_o0_k")
    assert call.returns == "BOOL"
    place = call.place
    assert query.sql[place.offset : place.offset + place.length] == "match(lower(a), b + 1)"


@pytest.mark.parametrize(
    ("relations", "leaves"),
    [
        ("t", [("t", "t", ("t",))]),
        ("main.t", [("t", "main.t", ("main", "t"))]),
        ('db."My S".t AS "R"', [("R", 'db."My S".t', ("db", "My S", "t"))]),
        ("t x, u AS y", [("x", "t", ("t",)), ("y", "u", ("u",))]),
        ("(SELECT 1 AS a) AS s", [("s", "(SELECT 1 AS a)", None)]),
        (
            "(SELECT 1 AS a), (SELECT 2 AS b)",
            [
                ("unnamed_subquery", "(SELECT 1 AS a)", None),
                ("unnamed_subquery2", "(SELECT 2 AS b)", None),
            ],
        ),
        ("'dir/some file.v1.parquet'", [("some file", "'dir/some file.v1.parquet'", None)]),
        (
            "read_csv('x.csv', header = true)",
            [("read_csv", "read_csv('x.csv', header = true)", None)],
        ),
        ("t TABLESAMPLE 10%", [("t", "(SELECT * FROM t TABLESAMPLE 10%)", None)]),
        (
            "t PIVOT (sum(v) FOR y IN (1, 2)) AS p",
            [("p", "(SELECT * FROM t PIVOT (sum(v) FOR y IN (1, 2)))", None)],
        ),
    ],
)
def test_leaves(relations: str, leaves: list[tuple[str, str, tuple[str, ...] | None]]) -> None:
    query = bind(f"SELECT * FROM {relations} WHERE is_pos(a)")
    assert [(leaf.alias, leaf.relation, leaf.table) for leaf in query.leaves] == leaves
    assert [leaf.row for leaf in query.leaves] == [f"__thresher_r{i}" for i in range(len(leaves))]
    assert len(query.from_sql) == len(leaves) + 1


def test_a_cte_is_no_table() -> None:
    query = bind(
        "WITH t AS (SELECT 1 AS a), v(b) AS (SELECT 2) SELECT * FROM t, v, u WHERE is_pos(a)"
    )
    assert [leaf.table for leaf in query.leaves] == [None, None, ("u",)]
    assert query.ctes == "WITH t AS (SELECT 1 AS a), v(b) AS (SELECT 2) "


@pytest.mark.parametrize(
    ("relation", "lateral"),
    [
        ("unnest(t.tags) AS u", True),
        ("unnest(tags) AS u", True),
        ("unnest([1, 2]) AS u", False),
        ("range(3) AS u", False),
        ("LATERAL (SELECT 1) AS u", True),
        ("(SELECT t.a) AS u", True),
        ("(SELECT v.a FROM v) AS u", False),
        ("read_csv('x', header = true, sep := ',') AS u", False),
    ],
)
def test_lateral_relations(relation: str, lateral: bool) -> None:
    query = bind(f"SELECT * FROM t, {relation} WHERE is_pos(a)")
    assert query.leaves[1].lateral is lateral


WRONG = [
    (
        "SELECT * FROM t WHERE rate(a)",
        "rate returns DOUBLE: compare it, as in rate(a) >= 0.5",
        "rate(a)",
    ),
    ("SELECT * FROM t WHERE x AND NOT mood(a)", "mood returns VARCHAR: compare it", "mood(a)"),
    ("SELECT * FROM t WHERE (x OR rate(a))", "rate returns DOUBLE", "rate(a)"),
    ("SELECT * FROM t WHERE is_pos(a, b)", "is_pos takes 1 argument, got 2", "is_pos(a, b)"),
    ("SELECT * FROM t WHERE is_pos()", "It is declared as is_pos(x0 VARCHAR)", "is_pos()"),
    (
        "SELECT * FROM t WHERE is_pos(x := a)",
        "is_pos has no argument x; its arguments are x0. Did you mean 'x0'?",
        "x :=",
    ),
    ("SELECT * FROM t WHERE is_pos(a, recal := 0.9)", "Did you mean 'recall'?", "recal :="),
    ("SELECT * FROM t WHERE is_pos(a, x0 := b)", "each of its arguments once", "x0 := b"),
    ("SELECT * FROM t WHERE match(x0 := a, x0 := b)", "x0 is given twice", "x0 := b"),
    ("SELECT * FROM t WHERE is_pos(*)", "expressions over one row", "*"),
    ("SELECT * FROM t WHERE is_pos(DISTINCT a)", "expressions over one row", "DISTINCT"),
    (
        "SELECT * FROM t WHERE is_poss(a) RECALL TARGET .9",
        "is_poss is not a declared oracle. Did you mean 'is_pos'?",
        "is_poss",
    ),
    (
        "SELECT * FROM t WHERE zzz(a) RECALL TARGET .9",
        "RECALL TARGET needs a call of a declared oracle in WHERE. Declared: fair",
        "RECALL",
    ),
    ("SELECT * FROM t SEED 4", "SEED needs a call of a declared oracle", "SEED"),
    ("SELECT * FROM t WHERE is_pos(a) AND x IN (1, 2", "the bracket ( is not closed", "(1"),
    ("SELECT * FROM t WHERE is_pos(a", "the bracket ( is not closed", "(a"),
    ("SELECT * FROM t WHERE count(is_pos(a)) > 2", "WHERE is about single rows", "count(is_pos"),
    ("SELECT * FROM t WHERE is_pos(a) AND sum(x) > 2", "over sum(x) into HAVING", "sum(x)"),
    ("SELECT * FROM t WHERE is_pos(a) USING avg(x)", "or avg(x) OVER (...)", "avg(x)"),
    ("SELECT count(*) FROM t ORDER BY is_pos(a)", "makes one row of all", "is_pos(a)"),
    ("SELECT * FROM t WHERE is_pos(a) AND", "another condition must follow AND", "AND"),
    ("SELECT * FROM t WHERE is_pos(a) OR OR x", "unexpected OR", "OR x"),
    ("SELECT * FROM t WHERE is_pos(a) AND x y", "unexpected y", "y"),
    ("SELECT * FROM t WHERE is_pos(a) AND j->'k' = 1", "binds more loosely than AND", "->"),
    ("SELECT * FROM t WHERE is_pos(a) AND j->>'k' = 'v'", "write it in parentheses", "->>"),
    ("SELECT * FROM WHERE is_pos(a)", "FROM names no relation", "FROM"),
    ("SELECT * FROM t u v WHERE is_pos(a)", "cannot read FROM at v", "v"),
    (
        "SELECT * FROM at WHERE is_pos(a)",
        'at is a keyword and cannot be a name: write "at", in double quotes',
        "at WHERE",
    ),
    ("SELECT * FROM t, Order x WHERE is_pos(a)", 'write "Order", in double quotes', "Order"),
    ("SELECT * FROM t at WHERE is_pos(a)", 'write "at", in double quotes', "at WHERE"),
    ("SELECT * FROM t AS left WHERE is_pos(a)", 'write "left", in double quotes', "left"),
    ("SELECT * FROM t WHERE is_pos(a) WHERE x", "WHERE stands here a second time", "WHERE x"),
]


@pytest.mark.parametrize(("sql", "message", "at"), WRONG)
def test_mistakes_show_the_place(sql: str, message: str, at: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        parse(sql, NAMES)
    assert message in caught.value.message
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)


def test_without_any_oracle_the_error_says_how_to_declare_one() -> None:
    with pytest.raises(ProgrammingError, match="No oracle is declared: write CREATE ORACLE"):
        parse("SELECT * FROM t WHERE is_pos(a) RECALL TARGET 0.9", Names())
    with pytest.raises(ProgrammingError, match="Write CREATE ORACLE name"):
        parse("SELECT * FROM t WHERE x RECALL TARGET 0.9", Names())


REFUSED = [
    ("SELECT count(*) AS n FROM t ORDER BY rate(a) ERROR WITHIN 5%", "in ORDER BY", "rate"),
    ("SELECT * FROM t, unnest(is_pos(t.a)) WHERE x", "in FROM", "is_pos"),
    ("SELECT * FROM t WHERE is_pos(mood(a))", "as an argument of is_pos", "mood"),
    ("SELECT * FROM t WHERE mood(a) IN (SELECT y FROM u)", "list of values", "(SELECT"),
    ("SELECT * FROM t WHERE mood(a) IN ['x']", "list of values", "["),
    ("SELECT * FROM t WHERE rate(a) > ANY (SELECT y FROM u)", "ANY", "ANY"),
    ("SELECT * FROM t WHERE [is_pos(a)] = [TRUE]", "a list or a struct", "is_pos"),
    ("SELECT * FROM t WHERE (is_pos(a), x) = (TRUE, 1)", "in a row of values", "(is_pos"),
    ("SELECT * FROM t WHERE list_filter(l, x -> is_pos(x)) = []", "is of no row", "is_pos(x)"),
    ("SELECT * FROM t WHERE is_pos(a) OVER ()", "takes no OVER", "is_pos"),
    ("SELECT count(*) FROM t WHERE is_pos(a) RECALL TARGET 0.9", "aggregate", "count"),
    ("SELECT sum(x) FROM t WHERE is_pos(a) PRECISION TARGET 0.9", "PRECISION TARGET", "sum"),
    (
        "SELECT a FROM t WHERE is_pos(a) GROUP BY a RECALL TARGET 0.9",
        "FROM (SELECT ... RECALL",
        "GROUP",
    ),
    ("FROM t WHERE is_pos(a) GROUP BY ALL RECALL TARGET 0.9", "aggregate", "GROUP"),
    ("SELECT 1 FROM t WHERE is_pos(a) HAVING count(*) > 1 RECALL TARGET .9", "aggregate", "HAVING"),
    ("SELECT * FROM t ASOF JOIN u USING (x) WHERE is_pos(a)", "ASOF JOIN", "ASOF"),
    ("SELECT * FROM t POSITIONAL JOIN u WHERE is_pos(a)", "subquery", "POSITIONAL"),
    ("SELECT * FROM t, s.t WHERE is_pos(a)", "called t: give each its own alias", "s.t"),
    ("SELECT * FROM (t JOIN u USING (x)) AS j WHERE is_pos(a)", "FROM (SELECT * FROM ...)", "(t"),
    ("SELECT * FROM t WHERE is_pos(a) USING SAMPLE 10%", "USING SAMPLE", "USING"),
    ("SELECT * FROM t WHERE is_pos(a) AND COLUMNS(*) > 0", "COLUMNS(...)", "COLUMNS"),
    ("SELECT * FROM t WHERE is_pos(to_json(t))", "t.t", "t)"),
    ("SELECT * FROM t, u WHERE is_pos(a) USING f(u)", "whole row", "u)"),
    ("SELECT * FROM t JOIN u ON t = u WHERE is_pos(a)", "whole row", "t = u"),
    ("SELECT COLUMNS('x(.)') AS '\\1' FROM t, u WHERE is_pos(a)", "COLUMNS", "COLUMNS"),
]


@pytest.mark.parametrize(("sql", "message", "at"), REFUSED)
def test_what_is_not_supported_shows_the_place(sql: str, message: str, at: str) -> None:
    with pytest.raises((NotSupportedError, ProgrammingError)) as caught:
        parse(sql, NAMES)
    assert message in caught.value.message
    assert caught.value.offset is not None
    assert sql[caught.value.offset :].startswith(at)


@pytest.mark.parametrize(
    ("block", "by_row", "ordered"),
    [
        ("SELECT * FROM t WHERE is_pos(a)", True, False),
        ("SELECT a FROM t WHERE is_pos(a) ORDER BY a LIMIT 3", True, True),
        ("SELECT a FROM t WHERE is_pos(a) ORDER BY ALL", False, True),
        ("SELECT DISTINCT a FROM t WHERE is_pos(a)", False, False),
        ("SELECT count(*) FROM t WHERE is_pos(a)", False, False),
        ("SELECT count(*) OVER () FROM t WHERE is_pos(a)", True, False),
        ("SELECT sum(a) FILTER (WHERE x) OVER (ORDER BY b) FROM t WHERE is_pos(a)", True, False),
        ("SELECT (SELECT max(b) FROM u) FROM t WHERE is_pos(a)", True, False),
        ("SELECT list_sum(b), b.count FROM t WHERE is_pos(a)", True, False),
        ("SELECT 1 FROM t WHERE is_pos(a) ORDER BY max(b)", False, True),
    ],
)
def test_rows_are_ordered_by_row_where_they_can_be(block: str, by_row: bool, ordered: bool) -> None:
    query = bind(block)
    assert query.answer.by_row is by_row
    assert bool(query.answer.order) is ordered


def test_every_aggregate_of_duckdb_is_known() -> None:
    rows = duckdb.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    windows = {
        "cume_dist", "dense_rank", "fill", "first_value", "lag", "last_value", "lead", "nth_value",
        "ntile", "percent_rank", "rank", "rank_dense", "row_number",
    }  # fmt: skip
    assert {name for (name,) in rows if name.isidentifier()} - windows <= AGGREGATES


def test_every_keyword_of_duckdb_that_is_no_alias_is_quoted() -> None:
    rows = duckdb.execute(
        "SELECT keyword_name FROM duckdb_keywords() "
        "WHERE keyword_category IN ('reserved', 'type_function')"
    ).fetchall()
    assert {name for (name,) in rows} <= RESERVED
    taken = []
    for word in RESERVED:
        with suppress(duckdb.ParserException):
            duckdb.execute(f"PREPARE p AS FROM (SELECT 1) AS {word}")
            taken.append(word)
    assert sorted(taken) == sorted(RESERVED - NO_RELATION)
    assert (identifier("order"), identifier("A b"), identifier("seed")) == (
        '"order"',
        '"A b"',
        "seed",
    )


def test_long_conditions_are_no_deep_trees() -> None:
    query = where(" OR ".join(["is_pos(a)", *(f"x = {i}" for i in range(3000))]))
    assert len(query.parts) == 3000
    query = where(" AND ".join(["is_pos(a)", *(f"x = {i}" for i in range(3000))]))
    assert query.formula == "__thresher_o0"


def test_calls_outside_where_are_apart_from_the_formula() -> None:
    query = bind(
        "SELECT a, rate(a) AS r, is_pos(a), IS_POS( a ) FROM t WHERE is_pos(a) ORDER BY r LIMIT 3"
    )
    assert [call.oracle for call in query.calls] == ["is_pos"]
    outputs = query.outputs
    assert outputs is not None
    assert [
        (call.oracle, late) for call, late in zip(outputs.calls, outputs.late, strict=True)
    ] == [
        ("rate", False),
        ("is_pos", True),
    ]
    assert query.answer.select == (
        'SELECT a, __thresher_rl0 AS r, __thresher_rl1 AS "is_pos(a)", '
        '__thresher_rl1 AS "is_pos(a)"'
    )
    assert query.sought is None
    free = bind("SELECT a FROM t WHERE x > 1 ORDER BY rate(a)")
    assert (free.calls, free.formula, free.plain) == ((), "TRUE", "x > 1")


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("LIMIT 3", (3, False, None, None)),
        ("LIMIT 3 OFFSET 4", (7, False, None, None)),
        ("OFFSET 4 LIMIT 3", (7, False, None, None)),
        ("ORDER BY a LIMIT 1_000", (1000, True, None, None)),
        ("LIMIT 0 OFFSET 9", (0, False, None, None)),
        ("LIMIT 3 GAP 2.5 ON a + 1 USING s", (3, False, 2.5, "a + 1")),
        ("LIMIT 3 USING s GAP 30 ON t.a SEED 3", (3, False, 30.0, "t.a")),
        ("FETCH FIRST 4 ROWS ONLY", (4, False, None, None)),
        ("OFFSET 2 ROWS FETCH NEXT 1 ROW ONLY GAP 1e-3", (3, False, 0.001, None)),
        ("", None),
        ("LIMIT ALL", None),
        ("LIMIT 1 + 1", (2, False, None, None)),
        ("LIMIT 3 RECALL TARGET .9", None),
        ("ORDER BY rate(a) LIMIT 3", None),
        ("QUALIFY rank() OVER (ORDER BY a) = 1 LIMIT 3", None),
    ],
)
def test_limit_says_how_many_rows_are_sought(
    rest: str, found: tuple[int, bool, float | None, str | None] | None
) -> None:
    sought = bind(f"SELECT * FROM t WHERE is_pos(a) {rest}").sought
    got = sought and (sought.target.count, sought.target.ordered, sought.target.gap, sought.gap_on)
    assert got == found


def test_gap_is_part_of_the_canonical_form() -> None:
    written = "SELECT a FROM t WHERE is_pos(a) LIMIT 3 GAP 0.1 ON a USING s"
    canonical = bind(written).canonical
    assert canonical == "SELECT a FROM t WHERE is_pos(a) LIMIT 3 USING s GAP 0.1 ON a"
    assert bind(canonical).canonical == canonical
