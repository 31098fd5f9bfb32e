"""Queries over images: networks as oracles and proxies, through SQL.

Two tables, each judged by what the oracle says of all rows. Fashion-MNIST's 10,000 test images: the
oracle is a convolutional network trained here on the 60,000 others, the proxy a head fitted inside
the query, or a linear model that is itself asked for every row. And some of them as PNG files: the
proxy and the oracle are two networks trained on ImageNet (`benchmarks.pretrained`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import thresher
from benchmarks import pretrained, seeded
from benchmarks.datasets import DatasetUnavailableError
from benchmarks.fashion import CLASSES, Images, fashion_mnist
from benchmarks.provenance import ROOT, machine
from benchmarks.seeded import Cell, Runs

ASKED = ("Shirt", "Bag", "Dress", "Sneaker")
EPOCHS = {"cnn": 3, "linear": 5}
N_SEEDS, N_FILES, N_LIVE = 30, 4000, 2000
JOURNAL = ROOT / "build" / "images" / "runs.jsonl"
_LISTED = "[" + ", ".join(f"'{name}'" for name in CLASSES) + "]"


@dataclass(frozen=True, slots=True)
class Table:
    """A table, the questions about it, and the truth of each by name."""

    con: Any
    cells: Sequence[Cell]
    truth: Mapping[str, npt.NDArray[np.bool_]]
    facts: Mapping[str, Any]


def connect(column: str, values: pa.Array, **others: pa.Array) -> Any:
    """Return a connection with the table `items`; no label serves two queries."""
    con = thresher.connect(config={"reuse_labels": False, "oracle_limit": 1_000_000})
    places = pa.array(np.arange(len(values)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.parquet"
        pq.write_table(pa.table({"place": places, column: values, **others}), file)
        con.execute(f"CREATE TABLE items AS SELECT * FROM '{file}'")
    return con


def asking(model: str, weights: Path, labels: str, label: str = "") -> str:
    """Options of `USING pytorch` for one of the benchmark's networks."""
    module, preprocess = model.split("/")
    wanted = f", label = '{label}'" if label else ""
    return (
        f"USING pytorch WITH (module = '{module}', preprocess = '{preprocess}', device = 'cpu',"
        f" weights = '{weights}', labels = {labels}{wanted})"
    )


def fashion(train: Images, images: Images, epochs: Mapping[str, int]) -> Table:
    """The table of pixels; its oracle answers every row once, through SQL, before the queries.

    The linear model sees an image as a BLOB of its pixels, and so does the oracle then; the head
    that is fitted in the query needs them as a list of numbers.
    """
    from benchmarks import image_models

    made = {
        "cnn": image_models.trained(image_models.cnn, train, epochs["cnn"]),
        "linear": image_models.trained(image_models.linear, train, epochs["linear"]),
    }
    values = pa.array(images.pixels.ravel())
    lists = pa.FixedSizeListArray.from_arrays(values, images.pixels.shape[1])
    con = connect("image", pa.array(map(bytes, images.pixels), pa.binary()), pixels=lists)
    con.execute("ALTER TABLE items ALTER pixels TYPE UTINYINT[]")

    def asked(model: str, preprocess: str, name: str = "") -> str:
        place = f"benchmarks.image_models:{model}/benchmarks.image_models:{preprocess}"
        return asking(place, made[model].weights, _LISTED, name)

    con.execute(f"CREATE ORACLE class_of(image BLOB) RETURNS VARCHAR {asked('cnn', 'from_bytes')}")
    answers = con.execute("SELECT class_of(image) FROM items ORDER BY place").fetchall()
    said = np.array([row[0] for row in answers])
    for name in ASKED:
        sees, reads = f"sees_{name}", f"reads_{name}"
        declared = f"CREATE ORACLE {sees}(image BLOB) RETURNS BOOLEAN"
        con.execute(f"{declared} {asked('cnn', 'from_bytes', name)}")
        con.execute(f"CREATE PROXY linear_{name} FOR {sees} {asked('linear', 'from_bytes', name)}")
        declared = f"CREATE ORACLE {reads}(pixels UTINYINT[]) RETURNS BOOLEAN"
        con.execute(f"{declared} {asked('cnn', 'from_lists', name)}")
        con.execute(f"CREATE PROXY fitted_{name} FOR {reads} USING tfidf")
    limit = len(said) // 10
    cells = [
        Cell(name, kind, proxy, call.format(name), f"{proxy}_{name}", limit)
        for proxy, call in (("linear", "sees_{}(image)"), ("fitted", "reads_{}(pixels)"))
        for name in ASKED
        for kind in seeded.KINDS
    ]
    networks = {
        name: {"weights_sha256": one.sha256, "seed": one.seed, "epochs": one.epochs}
        | {"training_s": one.seconds}
        for name, one in made.items()
    }
    facts = {"networks": networks, "agreement": agreement(said, np.array(CLASSES)[images.labels])}
    return Table(con, cells, {name: said == name for name in ASKED}, facts)


def agreement(said: npt.NDArray[np.str_], shown: npt.NDArray[np.str_]) -> dict[str, Any]:
    """How the oracle's answers compare with what people say that the images show."""
    found: dict[str, Any] = {"same_class": round(float((said == shown).mean()), 4)}
    for name in ASKED:
        ours, theirs = said == name, shown == name
        both = int((ours & theirs).sum())
        found[name] = {
            "oracle_says_yes": int(ours.sum()),
            "same_answer": round(float((ours == theirs).mean()), 4),
            "of_those_the_label_agrees": round(both / max(1, int(ours.sum())), 4),
            "of_the_label_found": round(both / max(1, int(theirs.sum())), 4),
        }
    return found


def garments(images: Images, n_files: int) -> Table:
    """The table of PNG files, with what both networks say of them as columns from the cache."""
    from benchmarks import efficientnet

    files = pretrained.png(images.pixels[:n_files])
    small, large = (pretrained.probabilities(name, files) for name in ("lite0", "lite2"))
    columns = {f"lite0_{name}": pa.array(small[:, i]) for i, name in enumerate(efficientnet.GROUPS)}
    con = connect("image", pa.array(files, pa.binary()), **columns)
    said = np.array(efficientnet.LABELS)[large.argmax(axis=1)]
    truth = {name: said == name for name in efficientnet.GROUPS}
    cells = []
    for name, answers in truth.items():
        con.create_oracle(f"is_{name}", looked_up(answers), args=["BIGINT"], version="1")
        cells += [
            Cell(name, kind, "lite0", f"is_{name}(place)", f"lite0_{name}", n_files // 10)
            for kind in seeded.KINDS
        ]
    shares = {name: round(float(answers.mean()), 4) for name, answers in truth.items()}
    facts = {"n_rows": n_files, "share_of_yes": shares}
    return Table(con, cells, truth, facts)


def looked_up(answers: npt.NDArray[np.bool_]) -> Callable[[Sequence[int]], list[bool]]:
    """An oracle that has been asked before."""
    return lambda places: [bool(answer) for answer in answers[np.asarray(places)]]


def live(table: Table, name: str, runs: Runs, seed: int = 0) -> dict[str, Any]:
    """One query with a recall target in which the networks themselves answer, nothing cached.

    It is compared with the same query over what the networks said before.
    """
    from benchmarks import efficientnet

    place = "benchmarks.efficientnet:{0}/benchmarks.efficientnet:for_{0}"
    labels = str(list(efficientnet.LABELS))
    large, small = (
        asking(place.format(model), efficientnet.weights(model), labels, name)
        for model in ("lite2", "lite0")
    )
    con = table.con
    con.execute(f"CREATE ORACLE shows(image BLOB) RETURNS BOOLEAN {large}")
    con.execute(f"CREATE PROXY glimpse FOR shows {small}")
    [cached] = [one for one in table.cells if (one.name, one.kind) == (name, "recall")]
    asked = Cell(name, "recall", "glimpse", "shows(image)", "glimpse", cached.limit)
    for cell in (asked, cached):
        if not runs.has(cell, seed):
            runs.add(cell, seed, seeded.ask(con, cell, seed, table.truth[name]))
    record, before = (runs.of(cell)[seed] for cell in (asked, cached))
    return {"sql": asked.sql(seed), "live": record, "from_cache": before}


def measure(
    table: Table, n_seeds: int, runs: Runs, show: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Ask every question with each seed in turn; `show` gets what there is after each seed.

    No seeds: it gets what earlier runs have left.
    """
    for seed in range(n_seeds):
        for cell in table.cells:
            if not runs.has(cell, seed):
                runs.add(cell, seed, seeded.ask(table.con, cell, seed, table.truth[cell.name]))
        show(summed(table, runs))
    if not n_seeds:
        show(summed(table, runs))


def summed(table: Table, runs: Runs) -> list[dict[str, Any]]:
    """The questions that have been asked, with their figures."""
    return [seeded.summary(cell, runs.of(cell)) for cell in table.cells if runs.of(cell)]


def run(
    out: Path,
    n_seeds: int = N_SEEDS,
    n_files: int = N_FILES,
    n_live: int = N_LIVE,
    journal: Path = JOURNAL,
) -> None:
    """Measure both tables, print a line for each question and write ``images.json``."""
    try:
        train, images = fashion_mnist()
    except DatasetUnavailableError as reason:
        print(f"skipped the images: {reason}", flush=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"machine": machine(), "target": seeded.TARGET, "delta": seeded.DELTA}
    makers: Mapping[str, Callable[[], Table]] = {
        "fashion": lambda: fashion(train, images, EPOCHS),
        "garments": lambda: garments(images, n_files),
    }
    for part, make in makers.items():
        try:
            table = make()
        except thresher.OperationalError as reason:
            print(f"skipped {part}: {reason}", flush=True)
            continue
        with table.con:
            one = figures[part] = {"facts": table.facts}
            runs = Runs(journal, part, table.facts)
            measure(table, n_seeds, runs, lambda cells, one=one: write(one, cells, figures, out))
            for cell in one["cells"]:
                print(seeded.line(cell), flush=True)
        if part == "garments" and n_live:
            with (few := garments(images, n_live)).con:
                one["live"] = live(few, "top", Runs(journal, "live", few.facts))
            write(one, one["cells"], figures, out)


def write(
    part: dict[str, Any], cells: list[dict[str, Any]], figures: Mapping[str, Any], out: Path
) -> None:
    """Write what there is, with the misses of all questions of a table together."""
    missed, n_runs = (sum(cell[key] for cell in cells) for key in ("missed", "n_seeds"))
    part["all"] = {"missed": missed, "n_runs": n_runs, **seeded.test(missed, n_runs)}
    part["cells"] = cells
    (out / "images.json").write_text(json.dumps(figures, indent=1) + "\n")
