"""Compound conditions, joins, groups and blocks: promises of whole statements against truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

import thresher

N, N_SHOPS = 3000, 40
DELTA = 0.2
LEVEL = 1e-6


@dataclass
class World:
    """Reviews of shops, two oracles over reviews and one over shops, with proxies that err."""

    con: thresher.Connection
    good: npt.NDArray[np.bool_]
    rude: npt.NDArray[np.bool_]
    shop: npt.NDArray[np.int64]
    posh: npt.NDArray[np.bool_]
    price: npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(11)
    sg, sr = rng.beta(0.3, 1.0, N), rng.beta(0.5, 0.8, N)
    good, rude = rng.random(N) < sg, rng.random(N) < sr
    shop, posh = rng.integers(0, N_SHOPS, N), rng.random(N_SHOPS) < 0.4
    price = np.round(rng.gamma(2.0, 10.0, N).clip(0, 100), 2)
    con = thresher.connect(config={"reuse_labels": False, "probability": 1 - DELTA})
    beneath = con.connection
    beneath.register("r", {"id": np.arange(N), "sg": sg, "sr": sr, "shop": shop, "price": price})
    beneath.execute("CREATE TABLE reviews AS SELECT *, ['x', 'y', 'z'][1 + id % 3] AS kind FROM r")
    beneath.register("s", {"shop": np.arange(N_SHOPS), "sp": 0.2 + 0.5 * posh})
    beneath.execute("CREATE TABLE shops AS FROM s")
    for name, truth in (("is_good", good), ("is_rude", rude), ("is_posh", posh)):
        con.create_oracle(name, lambda ids, t=truth: t[ids].tolist(), ["BIGINT"], "BOOLEAN")
    return World(con, good, rude, shop, posh, price)


def judged(fails: Callable[[int], bool], n_trials: int) -> int:
    """Count failures of seeded trials; more than chance allows at DELTA is an error."""
    assert DELTA**n_trials < LEVEL, "so few trials cannot fail"
    n_failed = sum(fails(seed) for seed in range(n_trials))
    assert binom.sf(n_failed - 1, n_trials, DELTA) > LEVEL, f"{n_failed} of {n_trials} failed"
    return n_failed


CONDITIONS: dict[str, tuple[str, str, Callable[[World], npt.NDArray[np.bool_]]]] = {
    "and": ("is_good(id) AND NOT is_rude(id)", "sg * (1 - sr)", lambda w: w.good & ~w.rude),
    "or": ("(is_good(id) OR is_rude(id))", "sg, sr", lambda w: w.good | w.rude),
    "mixed": (
        "(is_good(id) AND is_rude(id) OR NOT is_good(id) AND price > 30)",
        "CASE WHEN price > 30 THEN 1 - sg * (1 - sr) ELSE sg * sr END",
        lambda w: (w.good & w.rude) | (~w.good & (w.price > 30)),
    ),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("target", ["RECALL", "PRECISION"])
@pytest.mark.parametrize(
    "n_trials", [10, pytest.param(300, marks=pytest.mark.full)], ids=["few", "many"]
)
def test_compound_conditions(world: World, name: str, target: str, n_trials: int) -> None:
    condition, using, truth_of = CONDITIONS[name]
    truth = truth_of(world)
    gained = []

    def fails(seed: int) -> bool:
        cursor = world.con.execute(
            f"SELECT id FROM reviews WHERE {condition} USING {using} {target} TARGET .8 "
            f"ORACLE LIMIT 900 SEED {seed} ON SHORTFALL RETURN"
        )
        found = np.array([row[0] for row in cursor.fetchall()], dtype=int)
        gained.append(len(found) / N)
        hits = int(truth[found].sum())
        share = hits / max(1, len(found)) if target == "PRECISION" else hits / int(truth.sum())
        return share < 0.8

    judged(fails, n_trials)
    assert 0.0 < float(np.median(gained)) < 1.0


@pytest.mark.statistical
@pytest.mark.parametrize(
    "n_trials", [10, pytest.param(250, marks=pytest.mark.full)], ids=["few", "many"]
)
def test_conditions_on_both_sides_of_a_join(world: World, n_trials: int) -> None:
    truth = world.good & world.posh[world.shop]
    asked = []

    def fails(seed: int) -> bool:
        cursor = world.con.execute(
            "SELECT id FROM reviews JOIN shops USING (shop) WHERE is_good(id) AND is_posh(shop) "
            f"USING sg * sp RECALL TARGET .8 ORACLE LIMIT 900 SEED {seed} ON SHORTFALL RETURN"
        )
        found = [row[0] for row in cursor.fetchall()]
        assert cursor.certificate is not None
        asked.append(cursor.certificate.n_labels)
        return bool(truth[found].sum() < 0.8 * truth.sum())

    judged(fails, n_trials)
    assert max(asked) <= 900


@pytest.mark.statistical
@pytest.mark.parametrize(
    "n_trials", [10, pytest.param(200, marks=pytest.mark.full)], ids=["few", "many"]
)
def test_all_limits_of_a_grouped_estimate_hold_together(world: World, n_trials: int) -> None:
    positive = world.good & ~world.rude
    kinds = np.arange(N) % 3
    wanted = {
        name: (
            int((positive & (kinds == k)).sum()),
            float(world.price[positive & (kinds == k)].mean()),
        )
        for k, name in enumerate("xyz")
    }
    widths = []

    def fails(seed: int) -> bool:
        rows = world.con.execute(
            "SELECT kind, count(*) AS n, avg(price) AS p FROM reviews "
            "WHERE is_good(id) AND NOT is_rude(id) GROUP BY kind USING sg * (1 - sr) "
            f"ORACLE LIMIT 900 SEED {seed}"
        ).fetchall()
        assert sorted(row[0] for row in rows) == ["x", "y", "z"]
        widths.extend((row[3] - row[2]) / wanted[row[0]][0] for row in rows)
        return not all(
            low_n <= wanted[kind][0] <= high_n and low_p <= wanted[kind][1] <= high_p
            for kind, _, low_n, high_n, _, low_p, high_p in rows
        )

    judged(fails, n_trials)
    assert float(np.median(widths)) < 1.5


@pytest.mark.statistical
@pytest.mark.parametrize(
    "n_trials", [10, pytest.param(250, marks=pytest.mark.full)], ids=["few", "many"]
)
def test_the_parts_of_a_statement_hold_together(world: World, n_trials: int) -> None:
    def fails(seed: int) -> bool:
        tail = f"RECALL TARGET .8 ORACLE LIMIT 700 SEED {seed} ON SHORTFALL RETURN"
        rows = world.con.execute(
            f"(SELECT 'good' AS what, id FROM reviews WHERE is_good(id) USING sg {tail}) UNION ALL "
            f"(SELECT 'rude', id FROM reviews WHERE is_rude(id) USING sr {tail})"
        ).fetchall()
        good = [id_ for what, id_ in rows if what == "good"]
        rude = [id_ for what, id_ in rows if what == "rude"]
        return bool(
            world.good[good].sum() < 0.8 * world.good.sum()
            or world.rude[rude].sum() < 0.8 * world.rude.sum()
        )

    judged(fails, n_trials)
