"""ON ORACLE ERROR WORST CASE: rows without an answer are counted against the promise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

import thresher
from tests_support import make_table
from thresher.certificate import Certificate
from thresher.dbapi import Connection
from thresher.errors import NotSupportedError, OracleError, ShortfallError
from thresher.verify import verify

EXACT = "SELECT id FROM t WHERE judge(id)"
PRECISION = "SELECT id FROM t WHERE judge(id) USING score PRECISION TARGET 80%"
WORST = " ON ORACLE ERROR WORST CASE"


class Failing:
    """Fails on every batch that holds one of some rows, by raising or by giving no answer."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth, self.broken, self.raises = truth, set[int](), True
        self.batches: list[list[int]] = []

    def __call__(self, ids: list[int]) -> list[bool | None]:
        self.batches.append(ids)
        if self.raises and self.broken & set(ids):
            raise ValueError("unparsable")
        return [None if i in self.broken else bool(self.truth[i]) for i in ids]

    @property
    def asked(self) -> list[int]:
        return [i for batch in self.batches for i in batch]


def connect(n_rows: int = 1000, batch_size: int = 10) -> tuple[Connection, Failing]:
    table, truth = make_table(n_rows, seed=3)
    con = thresher.connect(config={"seed": 5})
    con.connection.register("rows", table)
    con.execute("CREATE TABLE t AS SELECT * FROM rows")
    failing = Failing(truth)
    con.create_oracle("judge", failing, args=["BIGINT"], batch_size=batch_size)
    return con, failing


@pytest.fixture
def made() -> Iterator[tuple[Connection, Failing]]:
    con, failing = connect()
    yield con, failing
    con.close()


def ids(con: Connection, sql: str) -> set[int]:
    return {row[0] for row in con.execute(sql).fetchall()}


@pytest.mark.parametrize("raises", [True, False])
def test_an_exact_query_leaves_failed_rows_out_and_says_so(
    made: tuple[Connection, Failing], raises: bool
) -> None:
    con, failing = made
    failing.raises, failing.broken = raises, {3, 4, 500}
    with pytest.raises((OracleError, thresher.DataError)):
        con.execute(EXACT)
    cursor = con.execute(EXACT + WORST)
    found = {row[0] for row in cursor.fetchall()}
    certificate = cursor.certificate
    assert certificate is not None
    assert found == set(np.flatnonzero(failing.truth).tolist()) - failing.broken
    assert certificate.grade == "distribution-free"
    assert certificate.bounds.recall == len(found) / (len(found) + 3)
    assert certificate.bounds.precision == 1.0
    assert "no oracle could decide 3 rows" in str(certificate.note)
    assert "exactly" not in certificate.statement
    checked = certificate.verify()
    assert checked, str(checked)
    # No answer was paid twice, and none of a failed row is in the store.
    (kept,) = con.execute("SELECT count(*) FROM thresher_labels()").fetchone() or (0,)
    assert kept == 997
    failing.broken = set()
    failing.batches.clear()
    again = con.execute(EXACT)
    assert sorted(failing.asked) == [3, 4, 500]
    assert len(again.fetchall()) == failing.truth.sum()
    assert again.certificate is not None
    assert again.certificate.grade == "exact"


def test_every_truth_of_failed_rows_keeps_the_bounds_of_an_exact_answer() -> None:
    """All truths of five rows up to their order, all one or two that fail, all truths of those."""
    n_rows = 5
    con, failing = connect(n_rows, batch_size=2)
    con.execute("SET thresher_reuse_labels = false")
    for bits in (2**k - 1 for k in range(n_rows + 1)):
        failing.truth = np.array([bool(bits >> i & 1) for i in range(n_rows)])
        for broken in itertools.chain.from_iterable(
            itertools.combinations(range(n_rows), k) for k in (1, 2)
        ):
            failing.broken = set(broken)
            cursor = con.execute(EXACT + WORST)
            found = {row[0] for row in cursor.fetchall()}
            certificate = cursor.certificate
            assert certificate is not None
            assert certificate.verify()
            recall, precision = certificate.bounds.recall, certificate.bounds.precision
            worst = 1.0
            for values in itertools.product((False, True), repeat=len(broken)):
                truth = failing.truth.copy()
                truth[list(broken)] = values
                positive = set(np.flatnonzero(truth).tolist())
                assert found <= positive  # precision 1
                worst = min(worst, len(found & positive) / len(positive) if positive else 1.0)
            assert precision == 1.0
            assert recall is not None
            assert recall == pytest.approx(worst)  # valid and not a bit too small
    con.close()


def test_precision_counts_failed_rows_as_negative(made: tuple[Connection, Failing]) -> None:
    con, failing = made
    rng = np.random.default_rng(0)
    failing.broken = set(rng.choice(1000, 30, replace=False).tolist())
    cursor = con.execute(f"{PRECISION} ORACLE LIMIT 300{WORST}")
    found = {row[0] for row in cursor.fetchall()}
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.verify()
    assert certificate.bounds.recall is None
    worst = len([i for i in found if failing.truth[i] and i not in failing.broken]) / len(found)
    assert worst >= 0.8
    met = set(failing.asked) & failing.broken
    assert met
    assert not found & met
    assert f"no oracle could decide {len(met)} row" in str(certificate.note)


@pytest.mark.statistical
def test_precision_holds_at_its_worst_case() -> None:
    """Every truth of the failed rows has a precision no smaller than the one with all negative."""
    con, failing = connect(400)
    con.execute("SET thresher_reuse_labels = false")
    con.execute("SET thresher_probability = 0.8")
    score = np.array([row[0] for row in con.execute("SELECT score FROM t ORDER BY id").fetchall()])
    # The oracle fails just where the proxy is surest: 8 % of the best rows.
    failing.broken = set(np.argsort(-score)[3:60:12].tolist())
    n_failed = n_free = 0
    for seed in range(60):
        cursor = con.execute(f"{PRECISION} ORACLE LIMIT 60 ON SHORTFALL RETURN SEED {seed}{WORST}")
        found = [row[0] for row in cursor.fetchall()]
        certificate = cursor.certificate
        assert certificate is not None
        hits = sum(bool(failing.truth[i]) and i not in failing.broken for i in found)
        bound = certificate.bounds.precision
        assert bound is not None
        n_failed += hits < bound * len(found) - 1e-9
        n_free += certificate.cut is not None
    con.close()
    assert n_free > 20  # rows are returned without a label
    assert n_failed <= 30  # 60 trials at 0.2: P(more than 30) < 1e-6


def truth_of_log(certificate: Certificate, rows: set[int]) -> set[bool | None]:
    """Truths that the label log has of some rows; ids are positions here."""
    assert certificate.log is not None
    return {r["truth"] for r in certificate.log.to_pylist() if r["row"] in rows}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("interrupt", ["RAISE", "ANSWER"])
def test_recall_takes_failed_rows_for_positive_and_precision_for_negative(
    made: tuple[Connection, Failing], both: bool, interrupt: str
) -> None:
    con, failing = made
    con.execute(f"SET thresher_on_interrupt = '{interrupt}'")
    rng = np.random.default_rng(2)
    failing.broken = set(rng.choice(1000, 30, replace=False).tolist())
    targets = "RECALL TARGET 70%" + (" PRECISION TARGET 60%" if both else "")
    cursor = con.execute(
        f"SELECT id FROM t WHERE judge(id) USING score {targets} ORACLE LIMIT 500 "
        f"ON SHORTFALL RETURN{WORST}"
    )
    found = {row[0] for row in cursor.fetchall()}
    certificate = cursor.certificate
    assert certificate is not None
    met = set(failing.asked) & failing.broken
    assert met
    assert met <= found
    assert len(found) < 1000
    checked = certificate.verify()
    assert checked, str(checked)
    assert truth_of_log(certificate, met) == {None}
    note = str(certificate.note)
    assert f"no oracle could decide {len(met)} row" in note
    assert "returned, so that recall holds even if they are positive" in note
    positive = set(np.flatnonzero(failing.truth).tolist())
    for certain in (positive | failing.broken, positive - failing.broken):
        assert len(found & certain) >= 0.7 * len(certain)
    if both:
        bound = certificate.bounds.precision
        assert bound is not None
        assert len(found & (positive - failing.broken)) >= bound * len(found) - 1e-9
        assert certificate.met == (bound >= 0.6)
    tests = [t for t in certificate.tests if t["kind"] != "negatives"]
    assert any(t["n_failed"] for t in tests)
    # A certificate that claims a deeper cut for some truth of these rows is found out.
    claims = certificate.to_dict()
    number = next(i for i, t in enumerate(claims["tests"]) if t["n_failed"])
    claims["tests"][number]["cuts"] = [c + 1 for c in claims["tests"][number]["cuts"]]
    names = {check.name for check in verify(claims, certificate.log).failed}
    assert any(name.endswith((": cut", ": cuts")) for name in names)
    claims["tests"][number]["n_failed"] = 0
    names = {check.name for check in verify(claims, certificate.log).failed}
    assert any("without a truth" in name for name in names)


def test_every_row_asked_leaves_what_targets_bear(made: tuple[Connection, Failing]) -> None:
    con, failing = made
    failing.broken = set(range(0, 1000, 40))
    positive = set(np.flatnonzero(failing.truth).tolist())
    sure = positive - failing.broken
    cursor = con.execute(f"SELECT id FROM t WHERE judge(id) RECALL TARGET 90%{WORST}")
    assert {row[0] for row in cursor.fetchall()} == sure | failing.broken
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.verify()
    assert certificate.bounds.recall == 1.0
    assert certificate.bounds.precision == len(sure) / (len(sure) + 25)
    # With both targets some come back and some do not.
    room = len(sure) / (len(sure) + 10)
    sql = "SELECT id FROM t WHERE judge(id) USING score RECALL TARGET {} PRECISION TARGET {}"
    cursor = con.execute(sql.format(0.9, round(room - 1e-4, 4)) + " ON SHORTFALL EXACT" + WORST)
    certificate = cursor.certificate
    assert certificate is not None
    assert certificate.verify()
    assert certificate.met
    with pytest.raises(ShortfallError, match=r"no oracle could decide 25 rows. What holds is"):
        con.execute(sql.format(0.999, 0.999) + " ON SHORTFALL EXACT" + WORST)
    with pytest.raises(ShortfallError, match=r"25 rows? of them without an answer"):
        con.execute(sql.format(0.999, 0.999) + WORST)


def test_too_many_failures_end_the_query(made: tuple[Connection, Failing]) -> None:
    con, failing = made
    failing.broken = set(range(0, 1000, 2))
    with pytest.raises(OracleError, match=r"inputs have no answer, more than a tenth") as caught:
        con.execute(EXACT + WORST)
    assert "unparsable" in caught.value.message
    assert len(failing.asked) < 100
    (kept,) = con.execute("SELECT count(*) FROM thresher_labels()").fetchone() or (0,)
    assert kept == caught.value.spent > 0


def test_labels_of_other_rows_do_not_make_up_for_failures(made: tuple[Connection, Failing]) -> None:
    con, failing = made
    con.execute("SELECT id FROM t WHERE judge(id) AND id < 500")
    failing.broken, failing.batches = set(range(500, 1000)), []
    with pytest.raises(OracleError, match=r"inputs have no answer, more than a tenth"):
        con.execute(f"{EXACT} AND id >= 500{WORST}")
    assert len(failing.asked) < 40


def test_rows_known_before_count_among_those_that_were_asked(
    made: tuple[Connection, Failing],
) -> None:
    con, failing = made
    failing.broken = set(range(0, 1000, 20))
    first = ids(con, EXACT + WORST)
    assert ids(con, f"{EXACT} AND id >= 0{WORST}") == first


def test_a_failed_row_is_asked_once_more_by_itself_and_never_again(
    made: tuple[Connection, Failing],
) -> None:
    con, failing = made
    failing.broken = {7}
    con.execute("CREATE TABLE two AS SELECT id FROM t UNION ALL SELECT id FROM t")
    cursor = con.execute("SELECT id FROM two WHERE judge(id)" + WORST)
    assert 7 not in {row[0] for row in cursor.fetchall()}
    assert failing.asked.count(7) == 2
    assert max(failing.asked.count(i) for i in range(1000)) <= 2  # its batch, once more each
    assert "2 rows" in str(cursor.certificate and cursor.certificate.note)


def test_of_several_calls_one_that_decides_makes_up_for_a_failed_one(
    made: tuple[Connection, Failing],
) -> None:
    con, failing = made
    con.create_oracle("small", lambda ids: [i < 500 for i in ids], args=["BIGINT"])
    failing.broken = {10, 700}
    positive = set(np.flatnonzero(failing.truth).tolist())
    small = set(range(500))
    cursor = con.execute("SELECT id FROM t WHERE judge(id) OR small(id)" + WORST)
    assert {row[0] for row in cursor.fetchall()} == (positive | small) - {700}
    assert "1 row" in str(cursor.certificate and cursor.certificate.note)
    cursor = con.execute("SELECT id FROM t WHERE NOT judge(id) AND small(id)" + WORST)
    assert {row[0] for row in cursor.fetchall()} == small - positive - {10}
    # A formula that turns NULL into a truth value turns no failure into one.
    cursor = con.execute("SELECT id FROM t WHERE coalesce(judge(id), true)" + WORST)
    assert {row[0] for row in cursor.fetchall()} == positive - {10, 700}
    assert "2 rows" in str(cursor.certificate and cursor.certificate.note)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t WHERE judge(id) USING score ACCURACY TARGET 80%",
        "SELECT count(*) FROM t WHERE judge(id)",
        "SELECT sum(id) FROM t WHERE judge(id) ORACLE LIMIT 100",
        "SELECT id FROM t WHERE judge(id) LIMIT 5",
        "SELECT judge(id) FROM t",
    ],
)
def test_what_it_does_not_serve_is_refused_before_a_label(
    made: tuple[Connection, Failing], sql: str
) -> None:
    con, failing = made
    with pytest.raises(NotSupportedError, match="ORACLE ERROR WORST CASE serves") as caught:
        con.execute(sql + WORST)
    assert caught.value.offset == len(sql) + 1
    con.execute("SET thresher_on_oracle_error = 'worst case'")
    with pytest.raises(NotSupportedError):
        con.execute(sql)
    con.execute(sql + " ON ORACLE ERROR FAIL")
    assert failing.asked
