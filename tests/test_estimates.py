"""Aggregates over oracle predicates and values, asked in SQL and answered with limits."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

import thresher
from thresher.estimands import group_codes

N = 4000


@dataclass
class World:
    """A connection with a table, and what its oracles would say."""

    connection: thresher.Connection
    truth: np.ndarray
    cars: np.ndarray
    price: np.ndarray
    kind: np.ndarray
    asked: list[int] = field(default_factory=list)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.connection.execute(sql).fetchall()

    def names(self, sql: str) -> list[str]:
        return [column[0] for column in self.connection.execute(sql).description or ()]


@pytest.fixture
def world() -> Iterator[World]:
    rng = np.random.default_rng(5)
    score = rng.random(N) ** 2
    truth = rng.random(N) < score
    cars = np.rint(10 * score + rng.normal(0, 0.7, N)).clip(0, 12).astype(int)
    price = np.round(rng.gamma(2.0, 20.0, N), 2)
    kind = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
    with thresher.connect(config={"seed": 11}) as connection:
        asked: list[int] = []

        def is_pos(ids: list[int]) -> list[bool]:
            asked.extend(ids)
            return [bool(truth[i]) for i in ids]

        connection.create_oracle("is_pos", is_pos, args=["BIGINT"], returns="BOOLEAN")
        connection.create_oracle(
            "cars", lambda ids: [int(cars[i]) for i in ids], args=["BIGINT"], returns="INTEGER"
        )
        table = pa.table({"id": np.arange(N), "score": score, "price": price, "kind": kind})
        connection.connection.register("source", table)
        connection.execute("CREATE TABLE films AS SELECT * FROM source")
        yield World(connection, truth, cars, price, kind, asked)


def test_a_count_has_limits(world: World) -> None:
    sql = "SELECT count(*) AS n FROM films WHERE is_pos(id) USING score ORACLE LIMIT 400"
    assert world.names(sql) == ["n", "n_low", "n_high"]
    ((n, low, high),) = world.rows(sql)
    assert isinstance(n, int)
    assert low <= world.truth.sum() <= high
    assert low <= n <= high < N / 2
    assert len(set(world.asked)) == 400


def test_a_count_without_clauses_is_exact_and_has_no_limits(world: World) -> None:
    sql = "SELECT count(*) AS n FROM films WHERE is_pos(id) AND price > 30"
    assert world.rows(sql) == [(int((world.truth & (world.price > 30)).sum()),)]


def test_groups_come_in_order_with_their_own_limits(world: World) -> None:
    rows = world.rows(
        "SELECT upper(kind) AS k, count(*) AS n, avg(price) AS p FROM films WHERE is_pos(id) "
        "GROUP BY ALL ORDER BY k DESC USING score ORACLE LIMIT 1200"
    )
    assert [row[0] for row in rows] == ["C", "B", "A"]
    for k, n, low, high, mean, least, most in rows:
        inside = world.truth & (world.kind == str(k).lower())
        assert low <= inside.sum() <= high
        assert low <= n <= high
        assert least <= world.price[inside].mean() <= most
        assert least <= mean <= most


@pytest.mark.parametrize(
    "grouping",
    ["kind", "1", "films.kind", "ALL"],
)
def test_group_by_takes_names_and_positions(world: World, grouping: str) -> None:
    item = grouping if "." in grouping else "kind"
    sql = (
        f"SELECT {item}, count(*) FROM films WHERE is_pos(id) GROUP BY {grouping} "
        "ORDER BY 2 DESC LIMIT 2 USING score ORACLE LIMIT 600"
    )
    cursor = world.connection.execute(sql)
    names = [column[0] for column in cursor.description or ()]
    assert names == ["kind", "count_star()", "count_star()_low", "count_star()_high"]
    rows = cursor.fetchall()
    assert len(rows) == 2
    assert rows[0][1] >= rows[1][1]


def test_an_error_target_stops_as_soon_as_it_is_met(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT count(*) AS n, sum(price) AS s, sum(price) / count(*) AS r FROM films "
        "WHERE is_pos(id) USING score ERROR WITHIN 25%"
    )
    rows = cursor.fetchall()
    truth = world.truth
    wanted = [truth.sum(), world.price[truth].sum(), world.price[truth].mean()]
    for (value, low, high), true in zip(
        [rows[0][0:3], rows[0][3:6], rows[0][6:9]], wanted, strict=True
    ):
        assert low <= true <= high
        assert abs(value - low) <= 0.25 * low + 1e-9
        assert abs(value - high) <= 0.25 * high + 1e-9
    assert 0 < len(set(world.asked)) < N / 2
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.met
    assert [i.name for i in certificate.intervals] == ["n", "s", "r"]
    assert "hold all together for 3 estimates" in certificate.statement


def test_an_error_target_out_of_reach(world: World) -> None:
    sql = "SELECT count(*) FROM films WHERE is_pos(id) ERROR WITHIN 1 ORACLE LIMIT 300"
    with pytest.raises(thresher.ShortfallError, match="cannot be met with 300 labels") as caught:
        world.rows(sql)
    assert caught.value.spent == 300
    cursor = world.connection.execute(sql + " ON SHORTFALL RETURN")
    ((_, low, high),) = cursor.fetchall()
    assert f"count_star(): [{low:,.6g}, {high:,.6g}]" in str(caught.value)
    assert "limits shown" not in str(caught.value)
    assert "the limits shown hold" in str(cursor.certificate and cursor.certificate.note)
    assert low <= world.truth.sum() <= high
    assert len(set(world.asked)) == 300
    assert cursor.certificate is not None
    assert not cursor.certificate.met


def test_a_shortfall_names_the_groups_that_may_hold_no_positive_row(world: World) -> None:
    world.connection.execute(
        "CREATE TABLE more AS SELECT id, score, kind FROM films "
        "UNION ALL SELECT i, 0.5, 'none' FROM range(10000, 14000) r(i)"
    )
    asked: list[int] = []

    def is_good(ids: list[int]) -> list[bool]:
        asked.extend(ids)
        return [i < N and bool(world.truth[i]) for i in ids]

    world.connection.create_oracle("is_good", is_good, args=["BIGINT"], returns="BOOLEAN")
    sql = "SELECT kind, count(*) AS n FROM more WHERE {}is_good(id) GROUP BY kind USING score {}"
    limit = "ERROR WITHIN {} ORACLE LIMIT 1500"
    with pytest.raises(thresher.ShortfallError, match=r"hold 0: n of none: \[0, ") as caught:
        world.rows(sql.format("", limit.format("25%")))
    assert "ERROR WITHIN x ABSOLUTE" in str(caught.value)
    assert "n of a" not in str(caught.value)
    returned = sql.format("", limit.format("25%") + " ON SHORTFALL RETURN")
    certificate = world.connection.execute(returned).certificate
    assert certificate is not None
    assert "hold 0: n of none: [0, " in str(certificate.note)
    for way in (("", limit.format("300 ABSOLUTE")), ("kind != 'none' AND ", limit.format("25%"))):
        kept = world.connection.execute(sql.format(*way)).certificate
        assert kept is not None
        assert kept.met


def test_a_shortfall_names_the_group_with_the_widest_limits(world: World) -> None:
    sql = (
        "SELECT kind, avg(price) AS p, count(*) AS n FROM films WHERE is_pos(id) GROUP BY kind "
        "USING score ERROR WITHIN 2% ORACLE LIMIT 300"
    )
    with pytest.raises(thresher.ShortfallError) as caught:
        world.rows(sql)
    certificate = world.connection.execute(sql + " ON SHORTFALL RETURN").certificate
    assert certificate is not None
    shares = {
        (i.name, i.group): (i.high - i.low) / i.low if i.low else np.inf
        for i in certificate.intervals
        if i.low is not None and i.high is not None
    }
    name, (kind,) = max(shares, key=lambda k: shares[k])
    assert f"those of {name} of {kind}: [" in str(caught.value)


@pytest.mark.parametrize("seed", range(6))
def test_a_count_within_a_share_is_a_whole_number_that_keeps_it(world: World, seed: int) -> None:
    cursor = world.connection.execute(
        "SELECT count(*) AS n FROM films WHERE is_pos(id) AND id < 300 USING score "
        f"ERROR WITHIN 3% SEED {seed}"
    )
    ((n, low, high),) = cursor.fetchall()
    for end in (low, high):
        assert abs(n - end) <= 0.03 * end
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.met
    (interval,) = certificate.intervals
    assert (interval.estimate, interval.low, interval.high) == (n, low, high)
    assert certificate.verify()


def test_an_error_target_that_takes_every_label_is_exact_and_free_of_delta(world: World) -> None:
    connection = world.connection
    connection.execute("SET thresher_session_probability = 0.9")
    cursor = connection.execute(
        "SELECT count(*) AS n FROM films WHERE is_pos(id) AND id < 60 ERROR WITHIN 0.1"
    )
    ((n, low, high),) = cursor.fetchall()
    assert n == low == high == world.truth[:60].sum()
    certificate = cursor.certificate
    assert certificate is not None
    assert (certificate.grade, certificate.session) == ("exact", None)
    assert certificate.statement.startswith("Every row that could change them is labelled")
    assert certificate.verify()


def test_a_mean_at_the_end_of_its_range_is_not_shut_out(world: World) -> None:
    world.connection.execute(
        "CREATE TABLE flags AS SELECT id, 0 AS flag FROM films "
        "UNION ALL SELECT id + 4000, 1 FROM films"
    )
    world.connection.create_oracle(
        "is_low", lambda ids: [i < N for i in ids], args=["BIGINT"], returns="BOOLEAN"
    )
    for seed in range(8):
        ((mean, low, high),) = world.rows(
            f"SELECT avg(flag) FROM flags WHERE is_low(id) USING 0.3 ORACLE LIMIT 200 SEED {seed}"
        )
        assert low == 0 <= mean <= high


@pytest.mark.parametrize(
    ("item", "kind"),
    [("max(day)", "DATE"), ("min(kind)", "VARCHAR"), ("sum(CAST(id AS VARCHAR))", "VARCHAR")],
)
def test_what_is_no_number_is_refused_before_a_label(world: World, item: str, kind: str) -> None:
    world.connection.execute(
        "CREATE TABLE dated AS SELECT *, DATE '2020-01-01' + CAST(id AS INTEGER) AS day FROM films"
    )
    sql = f"SELECT count(*) AS n, {item} AS x FROM dated WHERE is_pos(id) ORACLE LIMIT 50"
    with pytest.raises(thresher.Error, match=f"is over {kind}: only numbers are est") as caught:
        world.rows(sql)
    assert caught.value.offset == sql.index(item)
    assert not world.asked
    world.rows("SELECT max(epoch(day)) FROM dated WHERE is_pos(id) ORACLE LIMIT 50")


def test_an_oracle_that_gives_text_is_refused_before_a_label(world: World) -> None:
    world.connection.create_oracle(
        "topic", lambda ids: ["a" for _ in ids], args=["BIGINT"], returns="VARCHAR"
    )
    sql = "SELECT max(topic(id)) FROM films ORACLE LIMIT 50"
    with pytest.raises(thresher.ProgrammingError, match="is VARCHAR: only numbers") as caught:
        world.rows(sql)
    assert caught.value.offset == sql.index("topic")


def test_values_of_an_oracle(world: World) -> None:
    ((mean, low, high),) = world.rows(
        "SELECT avg(greatest(0, least(cars(id), 12))) FROM films USING score * 10 ORACLE LIMIT 500"
    )
    assert low <= world.cars.mean() <= high
    assert low <= mean <= high
    assert high - low < 0.6


def test_a_prediction_narrows_the_limits(world: World) -> None:
    widths = []
    for using in ("", "USING score * 10"):
        ((_, low, high),) = world.rows(
            f"SELECT sum(least(greatest(cars(id), 0), 12)) FROM films {using} ORACLE LIMIT 500"
        )
        assert low <= world.cars.sum() <= high
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_an_answer_outside_its_range_is_shown_with_its_input(world: World) -> None:
    con = world.connection
    declared = {"args": {"film": "BIGINT"}, "returns": "INTEGER", "version": "1"}

    def declare(**options: int) -> None:
        con.create_oracle("price", lambda ids: [i % 40 for i in ids], **declared, **options)

    declare(minimum=0, maximum=30)
    ask = "SELECT avg(price(id)) FROM films ORACLE LIMIT 300"
    with pytest.raises(thresher.DataError) as caught:
        world.rows(ask)
    found = re.match(
        r"oracle price answered (\d+) for film = (\d+), but is declared with answers of at least 0 "
        r"and at most 30\. Declare it again with a minimum and maximum", caught.value.message,
    )  # fmt: skip
    assert found
    assert int(found[1]) == int(found[2]) % 40 > 30
    assert caught.value.offset == ask.index("price")
    assert 0 < caught.value.spent <= 300
    with pytest.raises(thresher.DataError, match="a stored label makes") as caught:
        world.rows("SELECT avg(price(id)) FROM films ORACLE LIMIT 200")
    assert "with values from 0 to 30" in caught.value.message
    with pytest.raises(thresher.DataError, match="oracle price answered"):
        world.rows("SELECT id FROM films WHERE price(id) > 5 AND id < 90")
    declare(minimum=0, maximum=39)
    assert len(world.rows(ask)) == 1
    for returns in ("BOOLEAN", "VARCHAR"):
        with pytest.raises(thresher.ProgrammingError, match="minimum is for answers that are num"):
            con.create_oracle("bad", lambda ids: ids, ["BIGINT"], returns, minimum=0)
    with pytest.raises(thresher.ProgrammingError, match="maximum is for answers") as wrong:
        con.execute(
            "CREATE ORACLE bad(id BIGINT) RETURNS BOOLEAN USING column "
            "WITH (table = 'films', key = 'id', value = 'id', maximum = 1)"
        )
    assert wrong.value.offset is not None


def test_a_declared_range_serves_too(world: World) -> None:
    world.connection.create_oracle(
        "wheels", lambda ids: [int(world.cars[i]) for i in ids], args=["BIGINT"], returns="INTEGER"
    )
    ask = "SELECT avg(wheels(id)) FROM films WHERE is_pos(id) USING score ORACLE LIMIT 800"
    with pytest.raises(thresher.NotSupportedError, match="declared range") as caught:
        world.rows(ask)
    assert caught.value.offset == ask.index("wheels")
    assert "minimum = a" in caught.value.message
    assert "ORACLE LIMIT n ASSUMING NORMALITY" in caught.value.message
    assert len(world.rows(f"{ask} ASSUMING NORMALITY")) == 1
    with pytest.raises(thresher.ProgrammingError, match="minimum 3 must be below maximum 2"):
        world.connection.execute(
            "CREATE ORACLE bad(id BIGINT) RETURNS INTEGER USING column "
            "WITH (table = 'films', key = 'id', value = 'id', minimum = 3, maximum = 2)"
        )
    wheels = pa.table({"id": np.arange(N), "n": world.cars})
    world.connection.connection.register("wheels_now", wheels)
    world.connection.execute("CREATE TABLE wheels_of AS SELECT * FROM wheels_now")
    world.connection.execute(
        "CREATE OR REPLACE ORACLE wheels(id BIGINT) RETURNS INTEGER USING column "
        "WITH (table = 'wheels_of', key = 'id', value = 'n', minimum = 0, maximum = 12)"
    )
    ((_, low, high),) = world.rows(ask)
    assert low <= world.cars[world.truth].mean() <= high


def test_an_aggregate_over_an_oracles_values_is_exact_without_clauses(world: World) -> None:
    sql = "SELECT kind, max(cars(id)) AS m, count(*) AS n FROM films GROUP BY kind ORDER BY kind"
    assert world.names(sql) == ["kind", "m", "n"]
    expected = [
        (k, float(world.cars[world.kind == k].max()), int((world.kind == k).sum()))
        for k in ("a", "b", "c")
    ]
    assert world.rows(sql) == expected


def test_what_is_affordable_is_exact(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT count(*) AS n, avg(price) AS p FROM films WHERE is_pos(id) AND id < 300 "
        "ORACLE LIMIT 300"
    )
    inside = world.truth & (np.arange(N) < 300)
    ((n, n_low, n_high, p, p_low, p_high),) = cursor.fetchall()
    assert n == n_low == n_high == inside.sum()
    assert p == p_low == p_high == pytest.approx(world.price[inside].mean())
    assert cursor.certificate is not None
    assert cursor.certificate.grade == "exact"


def test_exact_groups_are_those_of_plain_sql(world: World) -> None:
    connection = world.connection
    connection.execute("CREATE TABLE sorted AS SELECT id, id % 2 = 1 AS odd FROM range(200) r(id)")
    connection.create_oracle("odd", lambda n: [i % 2 == 1 for i in n], args=["BIGINT"])
    sql = "SELECT odd, count(*) AS n FROM sorted WHERE odd(id) GROUP BY odd ORACLE LIMIT 200"
    assert world.rows(sql) == [(True, 100, 100, 100)]


def test_an_exact_fallback_is_refused_before_a_label_is_bought(world: World) -> None:
    with pytest.raises(thresher.ProgrammingError, match="ON SHORTFALL EXACT does not serve"):
        world.rows("SELECT count(*) FROM films WHERE is_pos(id) ERROR WITHIN 5% ON SHORTFALL EXACT")
    assert not world.asked


def test_filters(world: World) -> None:
    ((share, low, high, dear, d_low, d_high),) = world.rows(
        "SELECT count(*) FILTER (WHERE is_pos(id)) / count(*) AS share, "
        "count(*) FILTER (WHERE is_pos(id) AND price > 40) AS dear "
        "FROM films USING score ORACLE LIMIT 800"
    )
    assert low <= world.truth.mean() <= high
    assert low <= share <= high
    assert d_low <= (world.truth & (world.price > 40)).sum() <= d_high
    assert d_low <= dear <= d_high


def test_quantiles_and_extremes(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT median(price) AS m, quantile_disc(price, 0.9) AS q, max(price) AS x "
        "FROM films WHERE is_pos(id) USING score ORACLE LIMIT 1000"
    )
    ((m, m_low, m_high, q, q_low, q_high, x, x_low, x_high),) = cursor.fetchall()
    inside = np.sort(world.price[world.truth])
    assert m_low <= np.quantile(inside, 0.5, method="inverted_cdf") <= m_high
    assert q_low <= np.quantile(inside, 0.9, method="inverted_cdf") <= q_high
    assert m_low <= m <= m_high <= 100
    assert q_low <= q <= q_high
    assert x_low <= inside.max() <= x_high
    assert x in inside
    assert cursor.certificate is not None
    beyond = cursor.certificate.intervals[2].beyond
    assert beyond is not None
    assert (inside > x).mean() <= beyond < 0.1


def test_a_plain_aggregate_beside_an_estimate_is_exact(world: World) -> None:
    ((n, low, high, share, _, _),) = world.rows(
        "SELECT count(*) AS n, avg(least(cars(id), 12)) FILTER (WHERE cars(id) >= 0) AS c "
        "FROM films ORACLE LIMIT 4000"
    )
    assert n == low == high == N
    assert share == pytest.approx(world.cars.mean())


def test_nulls_do_not_count(world: World) -> None:
    world.connection.execute(
        "CREATE TABLE gaps AS SELECT id, score, CASE WHEN id % 2 = 0 THEN price END AS price, "
        "CASE WHEN id % 5 > 0 THEN id END AS asked FROM films"
    )
    ((n, _, _, m, low, high),) = world.rows(
        "SELECT count(price) AS n, avg(price) FROM gaps WHERE is_pos(asked) ORACLE LIMIT 4000"
    )
    i = np.arange(N)
    inside = world.truth & (i % 2 == 0) & (i % 5 > 0)
    assert n == inside.sum()
    assert m == low == high == pytest.approx(world.price[inside].mean())


def test_the_same_statement_gives_the_same_answer(world: World) -> None:
    sql = "SELECT avg(price) FROM films WHERE is_pos(id) USING score ORACLE LIMIT 300"
    first = world.rows(sql)
    n_asked = len(world.asked)
    assert world.rows(sql) == first
    assert len(world.asked) == n_asked


def test_a_budget_in_seconds_stops_with_limits_that_hold(world: World) -> None:
    def slow(ids: list[int]) -> list[bool]:
        time.sleep(0.004 * len(ids))
        return [bool(world.truth[i]) for i in ids]

    world.connection.create_oracle("slow", slow, args=["BIGINT"], returns="BOOLEAN")
    began = time.perf_counter()
    cursor = world.connection.execute(
        "SELECT count(*) AS n FROM films WHERE slow(id) USING score BUDGET 1.5 SECONDS"
    )
    assert time.perf_counter() - began < 12
    ((_, low, high),) = cursor.fetchall()
    assert low <= world.truth.sum() <= high
    certificate = cursor.certificate
    assert certificate is not None
    assert 0 < certificate.n_labels < N
    assert "BUDGET 1.5 SECONDS" in str(certificate.note)


REFUSED = [
    ("SELECT kind, count(*) FROM films WHERE is_pos(id) ORACLE LIMIT 9", "add kind to group by"),
    ("SELECT stddev(price) FROM films WHERE is_pos(id) ERROR WITHIN 5%", "cannot be estimated"),
    (
        "SELECT avg(price) + 1 FROM films WHERE is_pos(id) ERROR WITHIN 5%",
        "error within x absolute",
    ),
    (
        "SELECT round(avg(price)) * 2 FROM films WHERE is_pos(id) ERROR WITHIN 5 ABSOLUTE",
        "write the factor at the aggregate",
    ),
    ("SELECT sqrt(avg(price)) FROM films WHERE is_pos(id) ERROR WITHIN 5%", "select sqrt(n)"),
    ("SELECT 1 / avg(price) FROM films WHERE is_pos(id) ORACLE LIMIT 50", "only an aggregate"),
    ("SELECT round(sum(id), price) FROM films WHERE is_pos(id) ORACLE LIMIT 50", "only an aggr"),
    ("SELECT sum(id) - count(*) FROM films WHERE is_pos(id) ORACLE LIMIT 50", "only an aggregate"),
    (
        "SELECT DISTINCT ON (kind) count(*) FROM films WHERE is_pos(id) ORACLE LIMIT 5",
        "distinct on",
    ),
    ("SELECT avg(price) / sum(id) FROM films WHERE is_pos(id) ERROR WITHIN 5%", "only an aggreg"),
    (
        "SELECT count(DISTINCT kind) FROM films WHERE is_pos(id) ERROR WITHIN 5%",
        "leave error within, oracle limit and budget out for an exact answer",
    ),
    (
        "SELECT count(*) FROM films WHERE is_pos(id) ACCURACY TARGET 90% ERROR WITHIN 5%",
        "gives every row a label. leave one of them out",
    ),
    ("SELECT *, count(*) FROM films WHERE is_pos(id) ERROR WITHIN 5%", "star"),
    ("SELECT id FROM films WHERE is_pos(id) ERROR WITHIN 5%", "there is none in the select list"),
    (
        "SELECT count(*) FROM films WHERE is_pos(id) GROUP BY rollup(kind) ERROR WITHIN 5%",
        "grouping sets",
    ),
    (
        "SELECT count(*) c FROM films WHERE is_pos(id) GROUP BY kind HAVING is_pos(3) "
        "ERROR WITHIN 5%",
        "no single row of a group",
    ),
    (
        "SELECT count(*) c FROM films WHERE is_pos(id) GROUP BY kind HAVING c > (SELECT 3) "
        "ERROR WITHIN 5%",
        "a subquery in having",
    ),
    (
        "SELECT cars(id), count(*) FROM films GROUP BY cars(id) ERROR WITHIN 5%",
        "group by",
    ),
    ("SELECT count(*) FROM films WHERE is_pos(id) ORDER BY id ERROR WITHIN 5%", "order by id"),
    ("SELECT quantile(price, 2) FROM films WHERE is_pos(id) ERROR WITHIN 5%", "share"),
]


@pytest.mark.parametrize(("sql", "message"), REFUSED)
def test_what_cannot_be_estimated_is_refused_at_its_place(
    world: World, sql: str, message: str
) -> None:
    with pytest.raises(thresher.Error) as caught:
        world.rows(sql)
    assert message in str(caught.value).lower()
    assert caught.value.offset is not None
    assert not world.asked


ARITHMETIC: list[tuple[str, Callable[[float], float], bool]] = [  # and whether it falls
    ("{} + 5", lambda x: x + 5, False),
    ("100 - {} / 2", lambda x: 100 - x / 2, True),
    ("-{}", lambda x: -x, True),
    ("-3 * {}", lambda x: -3 * x, True),
    ("(1 - {}) * -2", lambda x: (1 - x) * -2, False),
    ("-(2 - ({} - 1) / 4)", lambda x: -(2 - (x - 1) / 4), False),
    ("floor({} / 10) * 10", lambda x: np.floor(x / 10) * 10, False),
    ("ceil({})::BIGINT", np.ceil, False),
    ("CAST(100 * {} AS INTEGER)", lambda x: np.rint(100 * x), False),
    ("round(1000 - {}, 1)", lambda x: np.round(1000 - x, 1), True),
    ("2 + 3 * {} - 1", lambda x: 1 + 3 * x, False),
]


@pytest.mark.parametrize("aggregate", ["count(*)", "avg(price)"])
def test_arithmetic_goes_through_to_the_limits(world: World, aggregate: str) -> None:
    rest = "FROM films WHERE is_pos(id) USING score ORACLE LIMIT 300 SEED 4"
    ((plain, *limits),) = world.rows(f"SELECT {aggregate} AS n {rest}")
    truth = world.truth.sum() if aggregate == "count(*)" else world.price[world.truth].mean()
    for written, value, falls in ARITHMETIC:
        ((got, low, high),) = world.rows(f"SELECT {written.format(aggregate)} AS n {rest}")
        wanted = [value(end) for end in (limits[::-1] if falls else limits)]
        assert (got, low, high) == pytest.approx((value(plain), *wanted)), written
        assert low <= got <= high, written
        assert low <= value(float(truth)) <= high, written


def test_the_certificate_speaks_of_the_aggregate_inside(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT round(1 - avg(price), 1) AS m, 2 * count(*) AS c FROM films WHERE is_pos(id) "
        "USING score ORACLE LIMIT 300"
    )
    certificate = cursor.certificate
    assert certificate is not None
    assert [interval.name for interval in certificate.intervals] == ["avg(price)", "c"]
    ((_, low, high, *_),) = cursor.fetchall()
    inner = certificate.intervals[0]
    assert (low, high) == (round(1 - inner.high, 1), round(1 - inner.low, 1))
    assert certificate.verify()


def test_having_and_order_name_expressions_over_estimates(world: World) -> None:
    rows = world.rows(
        "SELECT DISTINCT 'by kind' AS what, kind, 100 - count(*) AS n FROM films WHERE is_pos(id) "
        "GROUP BY ALL HAVING n_high < 0 AND 100 - count(*) < -1 ORDER BY n_low, n DESC "
        "USING score ORACLE LIMIT 900 SEED 3"
    )
    assert {row[0] for row in rows} == {"by kind"}
    assert [row[3] for row in rows] == sorted(row[3] for row in rows)
    for _, kind, _, low, high in rows:
        assert low <= 100 - int((world.truth & (world.kind == kind)).sum()) <= high < 0


def test_normal_limits_are_narrower_and_say_what_they_assume(world: World) -> None:
    ask = "SELECT avg(least(greatest(cars(id), 0), 12)) AS m FROM films USING score * 10 "
    widths = []
    for assuming in ("", "ASSUMING NORMALITY"):
        cursor = world.connection.execute(f"{ask} ORACLE LIMIT 300 {assuming}")
        ((mean, low, high),) = cursor.fetchall()
        assert low <= mean <= high
        assert low <= world.cars.mean() <= high
        widths.append(high - low)
    assert widths[1] < 0.9 * widths[0]
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.grade == "asymptotic"
    assert certificate.assumption is not None
    assert certificate.assumption in certificate.statement
    assert certificate.statement.startswith("With probability about 95")


def test_normal_limits_need_no_range(world: World) -> None:
    ((total, low, high, middle, *_),) = world.rows(
        "SELECT sum(cars(id)) AS s, median(cars(id)) AS m, count(*) AS n FROM films "
        "WHERE is_pos(id) USING score, score * 10 ORACLE LIMIT 600 ASSUMING NORMALITY"
    )
    assert low <= total <= high < 2 * low
    assert low <= world.cars[world.truth].sum() <= high
    assert middle == pytest.approx(np.median(world.cars[world.truth]), abs=1)
    assert len(set(world.asked)) == 300  # two labels for each row


def test_normal_limits_by_group(world: World) -> None:
    for kind, price, low, high in world.rows(
        "SELECT kind, avg(price) AS p FROM films WHERE is_pos(id) GROUP BY kind ORDER BY kind "
        "USING score ORACLE LIMIT 900 ASSUMING NORMALITY"
    ):
        assert low <= price <= high
        assert low <= world.price[world.truth & (world.kind == kind)].mean() <= high


def test_what_can_be_labelled_whole_assumes_nothing(world: World) -> None:
    cursor = world.connection.execute(
        "SELECT count(*) FROM films WHERE is_pos(id) AND id < 200 ORACLE LIMIT 200 "
        "ASSUMING NORMALITY"
    )
    ((n, low, high),) = cursor.fetchall()
    assert n == low == high == world.truth[:200].sum()
    assert cursor.certificate is not None
    assert cursor.certificate.grade == "exact"
    assert cursor.certificate.assumption is None


@pytest.mark.parametrize(
    ("select", "tail", "at", "message"),
    [
        ("count(*)", "ERROR WITHIN 10%", "ERROR WITHIN", "does not go with ASSUMING NORMALITY"),
        ("count(*)", "BUDGET 5 SECONDS", "BUDGET", "beside ASSUMING is not supported"),
        ("max(price)", "ORACLE LIMIT 50", "ASSUMING", "does not serve max"),
        ("max(price), count(*)", "ORACLE LIMIT 50", "ASSUMING", "does not serve max"),
    ],
)
def test_what_has_no_normal_limits(
    world: World, select: str, tail: str, at: str, message: str
) -> None:
    ask = f"SELECT {select} FROM films WHERE is_pos(id) ASSUMING NORMALITY {tail}"
    with pytest.raises(thresher.Error, match=message) as caught:
        world.rows(ask)
    assert caught.value.offset == ask.index(at)
    assert not world.asked


def test_normal_limits_need_the_whole_sample(world: World) -> None:
    world.connection.execute("SET thresher_on_interrupt = ANSWER")
    with pytest.raises(thresher.NotSupportedError, match="on_interrupt = RAISE"):
        world.rows("SELECT count(*) FROM films WHERE is_pos(id) ORACLE LIMIT 50 ASSUMING NORMALITY")
    assert not world.asked


def test_an_error_target_over_groups_with_hardly_a_label(world: World) -> None:
    rows = world.rows(
        "SELECT id % 40 AS g, avg(price) FROM films WHERE is_pos(id) GROUP BY g "
        "USING score ERROR WITHIN 5% ORACLE LIMIT 12 ON SHORTFALL RETURN"
    )
    assert 0 < len(rows) <= 40
    for _, _, low, high in rows:
        assert low is None or low <= high


@pytest.mark.parametrize("n_values", [1, 4, 10**6])
@pytest.mark.parametrize("n_columns", [0, 1, 3])
def test_groups_are_numbered_by_the_first_rows_of_their_values(
    n_values: int, n_columns: int
) -> None:
    values = np.random.default_rng(n_values).integers(0, n_values, (n_columns, 500)).tolist()
    columns = {f"c{i}": [v or None for v in column] for i, column in enumerate(values)}
    codes, first = group_codes(pa.table(columns), 500)
    rows = list(zip(*columns.values(), strict=True)) or [()] * 500
    places = [list(dict.fromkeys(column)) for column in columns.values()]
    wanted = sorted(
        set(rows), key=lambda row: [p.index(v) for p, v in zip(places, row, strict=True)]
    )
    assert [wanted[code] for code in codes] == rows
    assert first.tolist() == [rows.index(row) for row in wanted]
