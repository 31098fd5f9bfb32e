"""Local models in SQL: bytes, paths and texts as arguments, errors that name the row."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import thresher

pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def con(tiny_vit: Path) -> thresher.Connection:
    con = thresher.connect(labels=None)
    con.execute("CREATE TABLE photos (id INTEGER, photo BLOB)")
    con.connection.executemany(
        "INSERT INTO photos VALUES (?, ?)", [(i, picture(i)) for i in range(12)]
    )
    con.execute(
        "CREATE ORACLE seen(photo BLOB) RETURNS VARCHAR USING huggingface WITH"
        f" (task = 'image-classification', model = '{tiny_vit}', dtype = 'float32')"
    )
    return con


def test_images_of_a_column_are_labelled(con: thresher.Connection) -> None:
    found = con.execute("SELECT id, seen(photo) FROM photos ORDER BY id").fetchall()
    assert [row[0] for row in found] == list(range(12))
    labels = {label for _, label in found}
    assert labels <= {"cat", "dog", "Shirt"}
    some = found[0][1]
    kept = con.execute(f"SELECT id FROM photos WHERE seen(photo) = '{some}' ORDER BY id")
    assert [row[0] for row in kept.fetchall()] == [i for i, label in found if label == some]


def test_an_image_that_cannot_be_read_fails_the_query_and_names_the_row(
    con: thresher.Connection,
) -> None:
    con.execute("INSERT INTO photos VALUES (99, 'no image'::BLOB)")
    with pytest.raises(thresher.DataError, match=r"photo = b'no image'\) cannot be read"):
        con.execute("SELECT id FROM photos WHERE seen(photo) = 'cat'").fetchall()


def test_a_selection_over_images_keeps_its_recall_without_a_proxy_for_them(
    con: thresher.Connection,
) -> None:
    sql = "SELECT id FROM photos WHERE seen(photo) = '{}' ORACLE LIMIT 12 RECALL TARGET 0.9 SEED 1"
    labels = dict(con.execute("SELECT id, seen(photo) FROM photos").fetchall())
    some = labels[0]
    found = {row[0] for row in con.execute(sql.format(some)).fetchall()}
    assert found == {i for i, label in labels.items() if label == some}


def test_a_classifier_answers_in_sql(classifier: Callable[..., Path]) -> None:
    con = thresher.connect(labels=None)
    folder = classifier("ham", "Spam", "other")
    con.execute("CREATE TABLE t AS SELECT range AS id, 'text {} ' || range AS body FROM range(20)")
    con.execute(
        "CREATE ORACLE spam(body VARCHAR) RETURNS DOUBLE USING huggingface WITH"
        f" (task = 'text-classification', model = '{folder}', label = 'spam', dtype = 'float32')"
    )
    found = con.execute("SELECT id, spam(body) FROM t").fetchall()
    assert all(0.0 <= p <= 1.0 for _, p in found)
    n = con.execute("SELECT count(*) FROM t WHERE spam(body) > 0.5").fetchall()[0][0]
    assert n == sum(p > 0.5 for _, p in found)
