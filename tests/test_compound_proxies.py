"""Several proxies for one condition: the best of them, their product, noisy-or or stack."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from sklearn.metrics import roc_auc_score

import thresher

N = 6000


class World:
    """Two oracles with a probability each."""

    def __init__(self) -> None:
        rng = default_rng(5)
        self.scores = 1 / (1 + np.exp(-rng.normal(-1, 2, (2, N))))
        self.truth = rng.random((2, N)) < self.scores
        self.con = thresher.connect(config={"seed": 3})
        beneath = self.con.connection
        beneath.register("s", {f"s{i}": scores for i, scores in enumerate(self.scores)})
        beneath.execute("CREATE TABLE t AS SELECT row_number() OVER () - 1 AS id, * FROM s")
        for i in range(2):
            self.con.create_oracle(
                f"o{i}", lambda ids, i=i: self.truth[i][ids].tolist(), ["BIGINT"], "BOOLEAN"
            )


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("condition", "name"),
    [("o0(id) AND o1(id)", "product of s0, s1"), ("o0(id) OR o1(id)", "noisy-or of s0, s1")],
)
def test_proxies_of_the_parts_are_combined(world: World, condition: str, name: str) -> None:
    cursor = world.con.execute(
        f"SELECT id FROM t WHERE {condition} USING s0, s1 RECALL TARGET .8 ORACLE LIMIT 1500"
    )
    assert cursor.certificate is not None
    reports = {report.name: report for report in cursor.certificate.proxies}
    assert set(reports) >= {"s0", "s1", "product of s0, s1", "noisy-or of s0, s1"}
    (used,) = [report for report in reports.values() if report.used]
    assert used.name in (name, "stack of s0, s1")
    assert used.log_loss is not None
    for single in ("s0", "s1"):
        loss = reports[single].log_loss
        assert loss is not None
        assert used.log_loss < loss


def test_a_stack_serves_scores_that_are_no_probabilities(world: World) -> None:
    cursor = world.con.execute(
        "SELECT id FROM t WHERE o0(id) AND o1(id) USING 100 * s0, 7 - s1 RECALL TARGET .8 "
        "ORACLE LIMIT 1500"
    )
    assert cursor.certificate is not None
    (used,) = [report for report in cursor.certificate.proxies if report.used]
    assert used.name == "stack of 100 * s0, 7 - s1"
    both = world.truth.all(axis=0)
    alone = float(roc_auc_score(both, world.scores[0]))
    assert used.auc is not None
    assert used.auc > alone
