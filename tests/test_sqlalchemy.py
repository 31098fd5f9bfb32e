"""The SQLAlchemy dialect: engines by URL, text and ORM, reflection, transactions, pools, tools."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy import exc, orm, pool

import thresher
from thresher.sqlalchemy_dialect import ThresherDialect, certificates

TABLES = """
CREATE TABLE films AS
    SELECT i AS id, 'Film ' || i AS title, (hash(i) % 1000) / 1000.0 AS score FROM range(2000) r(i);
CREATE TABLE truth AS SELECT id, score + (hash(id + 7) % 400) / 1000.0 > 0.9 AS good FROM films;
CREATE VIEW best AS SELECT id, title FROM films WHERE score > 0.9;
CREATE SCHEMA more;
CREATE TABLE more.keyed (a INTEGER PRIMARY KEY, b VARCHAR NOT NULL DEFAULT 'x', c DECIMAL(9, 2));
CREATE ORACLE is_good(id BIGINT) RETURNS BOOLEAN
    USING column WITH (table = 'truth', key = 'id', value = 'good');
"""
QUERY = """SELECT id, title FROM films WHERE is_good(id) AND id >= :low USING score
RECALL TARGET 80% WITH PROBABILITY 95% ORACLE LIMIT 400 SEED 7"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sqlalchemy") / "films.duckdb"
    with thresher.connect(found) as con:
        con.execute(TABLES)
    return found


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    made = sa.create_engine(f"thresher:///{path}")
    yield made
    made.dispose()


@pytest.fixture
def memory() -> Iterator[sa.Engine]:
    made = sa.create_engine("thresher://")
    yield made
    made.dispose()


def good(path: Path) -> set[int]:
    with duckdb.connect(str(path)) as con:
        return {row[0] for row in con.sql("SELECT id FROM truth WHERE good").fetchall()}


def test_the_page_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with thresher.connect("films.duckdb") as con:
        con.execute(
            TABLES.replace("is_good(id BIGINT)", "is_good(text VARCHAR)").replace("'id'", "'text'")
        )
        con.execute(
            "ALTER TABLE truth ADD text VARCHAR; UPDATE truth SET text = 'Text ' || id;"
            "CREATE TABLE reviews AS "
            "SELECT id, 'Text ' || id AS text, score * 5 AS stars FROM films"
        )
    page = (Path(__file__).parent.parent / "docs" / "sqlalchemy.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    found: dict[str, Any] = {
        "pd": pd,
        "is_even": even,
        "films": sa.table("reviews", sa.column("id")),
    }
    for block in blocks:
        exec(block, found)
    shown = capsys.readouterr().out
    assert "hold at least 90.0% of the positive rows" in " ".join(shown.split())
    assert found["certificate"].targets.precision == 0.95
    found["engine"].dispose()
    with found["engine"].connect() as con:
        rows = con.execute(sa.text("SELECT i FROM range(4) r(i) WHERE is_even(i)")).scalars()
        assert rows.all() == [0, 2]
    found["engine"].dispose()


def test_the_entry_point_finds_the_dialect() -> None:
    for url in ("thresher://", "thresher+thresher://", "duckdb+thresher://"):
        engine = sa.create_engine(url)
        assert isinstance(engine.dialect, ThresherDialect)
        assert (engine.dialect.name, engine.dialect.driver) == ("duckdb", "thresher")
    assert "supports_statement_cache" in vars(ThresherDialect)


def test_a_query_with_a_target_and_parameters(engine: sa.Engine, path: Path) -> None:
    with engine.connect() as con:
        result = con.execute(sa.text(QUERY), {"low": 100})
        assert result.cursor is not None
        before = result.cursor.certificate  # type: ignore[attr-defined]
        rows = result.all()
        (certificate,) = certificates(result)
        assert before is certificate
        assert con.info["thresher_certificates"] == (certificate,)
        assert certificate.targets.recall == 0.8
        assert certificate.n_returned == len(rows)
        plain = con.execute(sa.text("SELECT 1"))
        assert certificates(plain) == con.info["thresher_certificates"] == ()
    wanted = {i for i in good(path) if i >= 100}
    assert len(wanted & {row.id for row in rows}) >= 0.8 * len(wanted)
    assert min(row.id for row in rows) >= 100


def test_a_target_may_be_a_parameter_and_repeated_ones_are_one(engine: sa.Engine) -> None:
    with engine.connect() as con:
        sql = "SELECT id FROM films WHERE is_good(id) USING score RECALL TARGET :t ORACLE LIMIT :n"
        result = con.execute(sa.text(sql), {"t": 0.5, "n": 300})
        assert certificates(result)[0].targets.recall == 0.5
        films = sa.table("films", sa.column("id"))
        bucket = films.c.id % sa.bindparam("m", 3)
        grouped = con.execute(sa.select(bucket, sa.func.count()).group_by(bucket))
        assert sum(row[1] for row in grouped) == 2000


COLONS = [
    ("SELECT 1::BIGINT + :a", {"a": 2}, 3),
    ("SELECT '12:30', 1", {}, "12:30"),
    (r"SELECT $$ say \:a $$", {}, " say :a "),
    ("SELECT [1, 2, 3][1:2]", {}, [1, 2]),
    (r"SELECT [1, 2, 3][\:2]", {}, [1, 2]),
    ("SELECT printf('%d%%', :a)", {"a": 5}, "5%"),
    ("SELECT 'a'::VARCHAR || :a", {"a": ":b"}, "a:b"),
    (r"SELECT '{\"a\"\:1}'".replace('\\"', '"'), {}, '{"a":1}'),
]


@pytest.mark.parametrize(("sql", "values", "found"), COLONS)
def test_colons(memory: sa.Engine, sql: str, values: dict[str, object], found: object) -> None:
    with memory.connect() as con:
        assert con.execute(sa.text(sql), values).one()[0] == found


def test_driver_sql_is_taken_as_it_is(memory: sa.Engine) -> None:
    with memory.connect() as con:
        assert con.exec_driver_sql("SELECT $$ say :a $$, [1, 2][:1]").one() == (" say :a ", [1])
        assert con.exec_driver_sql("SELECT $1 + 1", (4,)).scalar() == 5


def test_targets_as_named_arguments(engine: sa.Engine) -> None:
    sql = """SELECT id FROM films WHERE ai_filter(id, recall := 0.5) USING score ORACLE LIMIT 200"""
    with engine.connect() as con:
        con.execute(sa.text("SET thresher_default_oracle = 'is_good'"))
        (certificate,) = certificates(con.execute(sa.text(sql)))
    assert certificate.targets.recall == 0.5


@pytest.mark.parametrize(
    ("sql", "kind", "original"),
    [
        (
            "SELECT * FROM films WHERE is_god(id) RECALL TARGET 90%",
            exc.ProgrammingError,
            thresher.ProgrammingError,
        ),
        ("SELECT * FROM nowhere", exc.ProgrammingError, thresher.ProgrammingError),
        (
            "SELECT id FROM films WHERE is_good(id) USING score RECALL TARGET 99.9% "
            "ORACLE LIMIT 9 ON SHORTFALL FAIL",
            exc.OperationalError,
            thresher.ShortfallError,
        ),
        ("INSERT INTO more.keyed VALUES (1), (1)", exc.DatabaseError, thresher.DatabaseError),
    ],
)
def test_errors_keep_the_original(
    engine: sa.Engine, sql: str, kind: type[Exception], original: type[Exception]
) -> None:
    with engine.connect() as con:
        with pytest.raises(kind) as raised:
            con.execute(sa.text(sql))
        assert isinstance(raised.value, exc.DBAPIError)
        assert isinstance(raised.value.orig, original)
        assert not raised.value.connection_invalidated
        con.rollback()
        assert con.scalar(sa.text("SELECT 42")) == 42


def test_a_query_that_is_too_dear_is_an_operational_error(engine: sa.Engine) -> None:
    with engine.connect() as con:
        con.execute(sa.text("SET thresher_oracle_limit = 10"))
        with pytest.raises(exc.OperationalError) as raised:
            con.execute(sa.text("SELECT id FROM films WHERE is_good(id)"))
    assert isinstance(raised.value.orig, thresher.BudgetError)


def test_an_integrity_error_is_one(engine: sa.Engine) -> None:
    with engine.connect() as con, pytest.raises(exc.IntegrityError) as raised:
        con.execute(sa.text("INSERT INTO more.keyed (a) VALUES (1), (1)"))
    assert isinstance(raised.value.orig, thresher.IntegrityError)


def test_reflection(engine: sa.Engine) -> None:
    found = sa.inspect(engine)
    assert {"films", "truth"} <= set(found.get_table_names())
    assert found.get_view_names() == ["best"]
    assert "is_good" not in found.get_table_names()
    assert any(name.endswith("more") for name in found.get_schema_names())
    assert found.get_table_names(schema="more") == ["keyed"]
    assert found.has_table("films")
    assert not found.has_table("film")
    films = {c["name"]: str(c["type"]) for c in found.get_columns("films")}
    assert films == {"id": "BIGINT", "title": "VARCHAR", "score": "DOUBLE"}
    assert found.get_pk_constraint("keyed", schema="more")["constrained_columns"] == ["a"]
    assert "CREATE VIEW best" in (found.get_view_definition("best") or "")
    keyed = sa.Table("keyed", sa.MetaData(schema="more"), autoload_with=engine)
    assert isinstance(keyed.c.c.type, sa.Numeric)
    assert (keyed.c.c.type.precision, keyed.c.b.nullable) == (9, False)


def test_what_tools_ask_first(engine: sa.Engine) -> None:
    with engine.connect() as con:
        assert con.scalar(sa.text("SELECT 1")) == 1
        assert con.scalar(sa.select(sa.func.version())) == f"v{duckdb.__version__}"
        assert con.scalar(sa.select(sa.func.current_schema())) == "main"
        assert con.dialect.server_version_info
        assert con.dialect.default_schema_name == "main"
        assert con.get_isolation_level() == "READ COMMITTED"
        assert con.dialect.do_ping(con.connection.dbapi_connection)  # type: ignore[arg-type]


def test_transactions(memory: sa.Engine) -> None:
    with memory.connect() as con:
        con.execute(sa.text("CREATE TABLE t AS SELECT 1 AS i"))
        con.commit()
        con.execute(sa.text("INSERT INTO t VALUES (2)"))
        con.rollback()
        assert con.scalar(sa.text("SELECT count(*) FROM t")) == 1
        con.rollback()
        with con.begin():
            done = con.execute(sa.text("INSERT INTO t VALUES (3), (4)"))
            assert done.rowcount == 2
            assert not done.returns_rows
    with memory.connect() as con:
        assert con.scalar(sa.text("SELECT count(*) FROM t")) == 3
        con.execute(sa.text("INSERT INTO t VALUES (5)"))
        con.execute(sa.text("commit"))  # as notebooks do
        con.execute(sa.text("COMMIT;"))
    with memory.connect() as con:
        assert con.scalar(sa.text("SELECT count(*) FROM t")) == 4


def test_an_aborted_transaction_can_be_undone() -> None:
    with thresher.connect() as con:
        con.execute("CREATE TABLE t (i INT PRIMARY KEY); BEGIN; INSERT INTO t VALUES (1)")
        with pytest.raises(thresher.IntegrityError):
            con.execute("INSERT INTO t VALUES (1)")
        con.rollback()
        con.rollback()
        assert con.execute("SELECT count(*) FROM t").fetchall() == [(0,)]


def test_a_declaration_is_part_of_the_transaction_and_labels_are_not(tmp_path: Path) -> None:
    engine = sa.create_engine(f"thresher:///{tmp_path / 'x.duckdb'}")
    oracle = """CREATE ORACLE is_big(id BIGINT) RETURNS BOOLEAN
        USING column WITH (table = 'truth', key = 'id', value = 'good')"""
    ask = sa.text("SELECT id FROM truth WHERE is_big(id)")
    with engine.connect() as con:
        con.execute(
            sa.text("CREATE TABLE truth AS SELECT i AS id, i > 5 AS good FROM range(9) r(i)")
        )
        con.commit()
        con.execute(sa.text(oracle))
        assert len(con.execute(ask).all()) == 3
        con.rollback()
        with pytest.raises(exc.ProgrammingError, match="is_big"):
            con.execute(ask)
        con.rollback()
        con.execute(sa.text(oracle))
        result = con.execute(ask)
        assert (certificates(result)[0].n_labels, certificates(result)[0].n_reused) == (0, 9)
    engine.dispose()


def test_autocommit(memory: sa.Engine) -> None:
    with memory.connect().execution_options(isolation_level="AUTOCOMMIT") as con:
        assert con.get_isolation_level() == "AUTOCOMMIT"
        con.execute(sa.text("CREATE TABLE t AS SELECT 1 AS i"))
        con.rollback()
        assert con.scalar(sa.text("SELECT count(*) FROM t")) == 1


class Base(orm.DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    pets: orm.Mapped[list[Pet]] = orm.relationship(back_populates="owner", order_by="Pet.id")


class Pet(Base):
    __tablename__ = "pets"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("people.id"))
    owner: orm.Mapped[Person] = orm.relationship(back_populates="pets")


def test_the_orm(memory: sa.Engine) -> None:
    Base.metadata.create_all(memory)
    with orm.Session(memory) as session:
        session.add(Person(name="Ada", pets=[Pet(name="Rex"), Pet(name="Tom")]))
        session.add(Person(name="Bob"))
        session.commit()
    with orm.Session(memory) as session:
        people = session.scalars(sa.select(Person).order_by(Person.id))
        assert [(p.name, [pet.name for pet in p.pets]) for p in people] == [  # lazily, in between
            ("Ada", ["Rex", "Tom"]),
            ("Bob", []),
        ]
        bob = session.scalars(sa.select(Person).filter_by(name="Bob")).one()
        bob.name = "Ben"
        session.flush()
        session.delete(session.scalars(sa.select(Pet).filter_by(name="Tom")).one())
        session.commit()
        assert session.scalars(sa.select(Person.name).order_by(Person.id)).all() == ["Ada", "Ben"]
        added = session.execute(
            sa.insert(Person).returning(Person.id), [{"name": f"P{i}"} for i in range(5)]
        )
        assert len(added.scalars().all()) == 5
        changed = session.execute(sa.update(Person).values(name="Q").where(Person.id > 3))
        assert changed.rowcount == 4  # type: ignore[attr-defined]


def test_an_oracle_as_an_sql_function(engine: sa.Engine) -> None:
    films = sa.table("films", sa.column("id"), sa.column("score"))
    asked = sa.select(films.c.id).where(sa.func.is_good(films.c.id), films.c.score > 0.9)
    with engine.connect() as con:
        asked = asked.suffix_with("RECALL TARGET 90%")
        result = con.execute(asked)
        assert certificates(result)[0].targets.recall == 0.9


@pytest.mark.parametrize("n_rows", [30, 2500])
def test_pandas_there_and_back(memory: sa.Engine, n_rows: int) -> None:
    frame = pd.DataFrame({"id": range(n_rows), "text": [f"t{i}" for i in range(n_rows)]})
    with memory.connect() as con:
        frame.to_sql("t", con, index=False)
        found = pd.read_sql(sa.text("SELECT * FROM t ORDER BY id"), con)
        pd.testing.assert_frame_equal(found, frame, check_dtype=False)
        assert pd.read_sql("t", con).shape == (n_rows, 2)


def test_pandas_reads_an_answer_with_its_certificate(engine: sa.Engine) -> None:
    with engine.connect() as con:
        frame = pd.read_sql(sa.text(QUERY), con, params={"low": 0})
        (certificate,) = con.info["thresher_certificates"]
    assert certificate.n_returned == len(frame)


def test_the_url_has_options(path: Path, tmp_path: Path) -> None:
    store = tmp_path / "labels"
    url = f"thresher:///{path}?labels={store}&thresher_seed=5&probability=0.8&threads=1"
    engine = sa.create_engine(url)
    with engine.connect() as con:
        result = con.execute(
            sa.text("SELECT id FROM films WHERE is_good(id) USING score RECALL TARGET .5")
        )
        assert (certificates(result)[0].seed, certificates(result)[0].delta) == (
            5,
            pytest.approx(0.2),
        )
        assert con.scalar(sa.text("SELECT current_setting('threads')")) == 1
    engine.dispose()
    assert store.exists()


def test_labels_in_memory_and_settings_as_arguments(path: Path) -> None:
    engine = sa.create_engine(
        f"thresher:///{path}?labels=none", connect_args={"config": {"seed": 9}}
    )
    with engine.connect() as con:
        result = con.execute(sa.text(QUERY), {"low": 0})
        assert (certificates(result)[0].seed, certificates(result)[0].n_reused) == (7, 0)
        assert (
            con.scalar(sa.text("SHOW thresher_seed").columns(sa.column("name"))) == "thresher_seed"
        )
    engine.dispose()


@pytest.mark.parametrize("option", ["read_only=true", "access_mode=READ_ONLY"])
def test_read_only(path: Path, option: str) -> None:
    engine = sa.create_engine(f"thresher:///{path}?{option}")
    with engine.connect() as con:
        assert con.scalar(sa.text("SELECT count(*) FROM films")) == 2000
        with pytest.raises(exc.DBAPIError, match="read-only"):
            con.execute(sa.text("CREATE TABLE x(i INT)"))
    engine.dispose()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("thresher_sed=1", "no setting thresher_sed. Did you mean 'thresher_seed'"),
        ("sed=1", "a setting sed. Did you mean 'seed'"),
        ("lables=none", "a setting lables. Did you mean 'labels'"),
        ("memry_limit=1GB", "Did you mean 'memory_limit'"),
        ("read_only=perhaps", "write true or false"),
        ("probability=7", r"a number in \[0.5, 1\)"),
        ("nonsense=1", "nonsense"),
    ],
)
def test_a_wrong_option_is_told(path: Path, query: str, message: str) -> None:
    with pytest.raises((exc.DBAPIError, thresher.Error), match=message):
        sa.create_engine(f"thresher:///{path}?{query}").connect()


def test_python_functions_are_declared_on_each_connection() -> None:
    engine = sa.create_engine("thresher://")

    @sa.event.listens_for(engine, "connect")
    def declare(connection: Any, record: object) -> None:
        connection.driver.create_oracle("is_even", even, args=["BIGINT"])

    with engine.connect() as con:
        rows = con.execute(sa.text("SELECT i FROM range(5) r(i) WHERE is_even(i)")).scalars()
        assert rows.all() == [0, 2, 4]
        driver = con.connection.driver_connection
        assert isinstance(driver, thresher.Connection)
        assert isinstance(driver.connection, duckdb.DuckDBPyConnection)
    engine.dispose()


def even(numbers: list[int]) -> list[bool]:
    return [n % 2 == 0 for n in numbers]


def in_thread(work: Any) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not failed, failed


def test_a_file_has_a_pool_whose_connections_go_from_thread_to_thread(engine: sa.Engine) -> None:
    assert isinstance(engine.pool, pool.QueuePool)

    def work() -> None:
        with engine.connect() as con:
            certificate = certificates(con.execute(sa.text(QUERY), {"low": 3}))[0]
            assert certificate.n_returned > 0

    work()
    with engine.connect() as first, engine.connect() as second:
        assert first.connection.dbapi_connection is not second.connection.dbapi_connection
    in_thread(work)


def test_a_database_in_memory_belongs_to_a_thread_and_a_named_one_to_all() -> None:
    alone, shared = (sa.create_engine(f"thresher:///{n}") for n in ("", ":memory:shared"))
    assert isinstance(alone.pool, pool.SingletonThreadPool)
    for engine in (alone, shared):
        with engine.begin() as con:
            con.execute(sa.text("CREATE TABLE t AS SELECT 1 AS i"))
        with engine.connect() as con:
            assert con.scalar(sa.text("SELECT i FROM t")) == 1
    in_thread(lambda: sa.inspect(shared).get_columns("t"))
    with pytest.raises(AssertionError, match="NoSuchTable"):
        in_thread(lambda: sa.inspect(alone).get_columns("t"))
    alone.dispose()
    shared.dispose()


def test_a_pool_by_the_url(path: Path) -> None:
    engine = sa.create_engine(f"thresher:///{path}?pool=null")
    assert isinstance(engine.pool, pool.NullPool)
    with engine.connect() as con:
        assert con.scalar(sa.text("SELECT 1")) == 1


def test_a_closed_connection_is_replaced(engine: sa.Engine) -> None:
    with engine.connect() as con:
        driver = con.connection.driver_connection
        assert driver is not None
        driver.close()
        with pytest.raises(exc.DBAPIError) as raised:
            con.execute(sa.text("SELECT 1"))
        assert raised.value.connection_invalidated
    with engine.connect() as con:
        assert con.scalar(sa.text("SELECT 1")) == 1


def test_a_pool_that_asks_first_finds_a_closed_connection(path: Path) -> None:
    engine = sa.create_engine(f"thresher:///{path}", pool_pre_ping=True)
    with engine.connect() as con:
        driver = con.connection.driver_connection
    assert driver is not None
    driver.close()
    with engine.connect() as con:
        assert con.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()


def test_results_do_not_disturb_one_another(engine: sa.Engine) -> None:
    with engine.connect() as con:
        outer = con.execute(sa.text("SELECT id FROM films ORDER BY id LIMIT 3"))
        inner = [con.scalar(sa.text("SELECT :i * 2"), {"i": row.id}) for row in outer]
        assert inner == [0, 2, 4]
        streamed = con.execution_options(yield_per=700).execute(sa.text("SELECT id FROM films"))
        assert sum(len(part) for part in streamed.partitions()) == 2000


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("thresher://films.duckdb", "thresher:///films.duckdb"),
        ("duckdb+thresher://films.duckdb", "duckdb+thresher:///films.duckdb"),
        ("thresher://data/films.duckdb?labels=none", "thresher:///data/films.duckdb"),
        ("thresher://me@/films.duckdb", "thresher:///films.duckdb"),
        ("thresher://localhost:5432/films", "thresher:///localhost/films"),
    ],
)
def test_a_file_where_a_server_would_stand(url: str, right: str) -> None:
    with pytest.raises(thresher.InterfaceError, match="names no server") as caught:
        sa.create_engine(url).connect()
    assert f"write {right} (three slashes), or four" in str(caught.value)


@pytest.mark.full
def test_jupysql_by_url(path: Path) -> None:
    script = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "sql")
shell.run_line_magic("sql", "thresher:///{path}")
found = shell.run_cell_magic("sql", "", '''SELECT id, title FROM films WHERE is_good(id)
USING score RECALL TARGET 80% ORACLE LIMIT 400 SEED 7''')
frame = found.DataFrame()
print("ROWS", len(frame), list(frame.columns))
print("ONE", shell.run_line_magic("sql", "SELECT count(*)::INT AS n FROM films")[0][0])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = int(done.stdout.partition("ROWS ")[2].split()[0])
    assert 0 < rows < 2000
    assert "ONE 2000" in done.stdout
