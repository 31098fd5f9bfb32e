"""The pictures of the documentation, from the running software: `make docs-pictures`.

Cells of the notebooks in examples/, as they were executed, and reports are pages, which chromium
draws in light and in dark. What terminals show is recorded in a pseudo-terminal, drawn by rich and
then by chromium. Everything is written to docs/pictures.
"""

from __future__ import annotations

import io
import os
import pty
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
import numpy as np
import pyarrow as pa
from nbconvert import HTMLExporter
from PIL import Image

import thresher

OUT = Path(__file__).parent / "pictures"
EXAMPLES = Path(__file__).parents[1] / "examples"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MODES = {"light": 1, "dark": 0}  # as chromium numbers them
COLOURS = 200  # of a picture: files stay small
REVIEWS = """SELECT id, stars, review
FROM reviews
WHERE complains(id)
USING suspicion
RECALL TARGET 90% ORACLE LIMIT 1500 SEED 7"""
ORACLE = """CREATE ORACLE complains(id BIGINT) RETURNS BOOLEAN
USING column WITH (table = 'reviews', key = 'id', value = 'verdict')"""


def browser() -> str:
    """Return the program that draws pages."""
    for name in BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise SystemExit("pictures need chromium: apt-get install chromium")


def draw(page: str, name: str, width: int, height: int, modes: Iterable[str] = MODES) -> None:
    """Write a page as PNG, once for each mode, without what is empty below it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        for mode in modes:
            shot = Path(folder) / f"{mode}.png"
            subprocess.run(
                [
                    browser(),
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--hide-scrollbars",
                    f"--screenshot={shot}",
                    f"--window-size={width},{height}",
                    f"--blink-settings=preferredColorScheme={MODES[mode]}",
                    path.as_uri(),
                ],
                check=True,
                capture_output=True,
                timeout=120,
            )
            save(Image.open(shot).convert("RGB"), OUT / f"{name}-{mode}.png")


def save(picture: Image.Image, path: Path) -> None:
    """Cut off empty rows at the end, and keep few colours."""
    last = picture.height
    while last > 1 and not np.ptp(np.asarray(picture)[last - 1], axis=0).any():
        last -= 1
    picture = picture.crop((0, 0, picture.width, min(picture.height, last + 14)))
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size:,} bytes")


def cells(name: str, word: str, count: int, mode: str) -> str:
    """Return some cells of a notebook as a page, from the first whose code holds a word."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    first = next(
        i for i, one in enumerate(notebook.cells) if one.cell_type == "code" and word in one.source
    )
    notebook.cells = notebook.cells[first : first + count]
    page, _ = HTMLExporter(theme=mode).from_notebook_node(notebook)
    return str(page)


def make_reviews(con: thresher.Connection) -> None:
    """Make reviews of which some complain; a score suspects most of them."""
    draws = np.random.default_rng(0)
    n_rows = 20_000
    complains = draws.random(n_rows) < 0.08
    things = np.array(["The room", "Breakfast", "The staff", "The wifi", "Our bath", "The bed"])
    good = np.array(
        ["was lovely", "was just as it should be", "surprised us", "was worth the trip"]
    )
    bad = np.array(["was filthy", "never worked", "was cold and late", "was a disgrace"])
    told = np.where(complains, draws.choice(bad, n_rows), draws.choice(good, n_rows))
    reviews = pa.table(
        {
            "id": np.arange(n_rows),
            "stars": draws.integers(1, 6, n_rows),
            "review": [
                f"{a} {b}." for a, b in zip(draws.choice(things, n_rows), told, strict=True)
            ],
            "suspicion": np.clip(
                draws.beta(0.8, 9, n_rows) + complains * draws.beta(5, 4, n_rows), 0, 1
            ),
            "verdict": complains,
        }
    )
    con.connection.register("made", reviews)
    con.connection.execute("CREATE TABLE reviews AS FROM made; DROP VIEW made")
    con.execute(ORACLE)


def terminal(database: Path) -> str:
    """Return what a query and its command write to a terminal of 100 columns, as a page."""
    options = ["query", "--db", database.name, "--no-progress", "--max-rows", "8", REVIEWS]
    command = [sys.executable, "-P", "-m", "thresher", *options]
    from rich.console import Console
    from rich.text import Text

    sink = io.BytesIO()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65_536)
        sink.write(data)
        return data

    os.environ.update(COLUMNS="100", LINES="60", TERM="xterm-256color")
    os.chdir(database.parent)
    with open(os.devnull, "wb") as null:
        saved = os.dup(1)
        os.dup2(null.fileno(), 1)  # pty.spawn copies what it reads to standard output
        try:
            pty.spawn(command, read)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
    written = sink.getvalue().decode(errors="replace").replace("\r\n", "\n")
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {shlex.join(['thresher', *options])}"), highlight=False)
    console.print(Text.from_ansi(written))
    drawn = console.export_svg(title="thresher query", font_aspect_ratio=0.6)
    drawn = drawn.replace("Fira Code", "DejaVu Sans Mono")
    return f'<!doctype html><meta charset="utf-8"><body style="margin:0;background:#fff">{drawn}'


def main() -> None:
    """Make all pictures."""
    OUT.mkdir(exist_ok=True)
    for mode in MODES:
        draw(cells("aggregates", "counts <<", 2, mode), "result", 900, 1400, [mode])
        draw(cells("texts", "EXPLAIN", 1, mode), "explain", 900, 1200, [mode])
    con = thresher.connect(config={"seed": 7})
    make_reviews(con)
    certificate = con.execute(REVIEWS).certificate
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        certificate.save(path)
        draw(path.read_text(encoding="utf-8"), "report", 980, 1150)
        database = Path(folder) / "reviews.duckdb"
        con.connection.execute(
            f"ATTACH '{database}' AS file; COPY FROM DATABASE memory TO file; DETACH file"
        )
        draw(terminal(database), "terminal", 1000, 900, ["dark"])


if __name__ == "__main__":
    main()
