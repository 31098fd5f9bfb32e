"""The pictures of the documentation, from the running software: `make docs-pictures`.

What notebooks show and reports are pages, which chromium draws in light and in dark. What terminals show
is recorded in a pseudo-terminal, drawn by rich and then by chromium. Everything is written to docs/pictures.
"""

from __future__ import annotations

import html
import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.datasets import load_digits

import thresher

OUT = Path(__file__).parent / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MODES = {"light": 1, "dark": 0}  # as chromium numbers them
COLOURS = 200  # of a picture: files stay small
CELL = """<style>body{margin:0;padding:14px;background:Canvas;color:CanvasText;color-scheme:light dark}
.cell{display:grid;grid-template-columns:4.2em 1fr;margin-bottom:10px;font:13px system-ui,"DejaVu Sans",sans-serif}
.cell>span{color:GrayText;font:12px "DejaVu Sans Mono",monospace;padding-top:9px}
.cell>pre{margin:0;padding:8px 10px;border:1px solid GrayText;border-radius:4px;white-space:pre-wrap;
font:12.5px/1.45 "DejaVu Sans Mono",monospace}</style>"""

DIGITS = """SELECT id, image, darkness
FROM digits
WHERE is_eight(id)
LIMIT 8
USING looks_like_eight
RECALL TARGET 95% PRECISION TARGET 90%"""
REVIEWS = """SELECT id, stars, review
FROM reviews
WHERE complains(id)
USING suspicion
RECALL TARGET 90% ORACLE LIMIT 1500"""
ORACLE = """CREATE ORACLE complains(id BIGINT) RETURNS BOOLEAN
USING column WITH (table = 'reviews', key = 'id', value = 'verdict')"""


def browser() -> str:
    """Return the program that draws pages."""
    for name in BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise SystemExit("pictures need chromium: apt-get install chromium")


def draw(page: str, name: str, width: int, height: int, modes: dict[str, int] = MODES) -> None:
    """Write a page as PNG, once for each mode, without what is empty below and beside it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        for mode, number in modes.items():
            shot = Path(folder) / f"{mode}.png"
            subprocess.run(
                [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                 f"--screenshot={shot}", f"--window-size={width},{height}",
                 f"--blink-settings=preferredColorScheme={number}", path.as_uri()],
                check=True, capture_output=True, timeout=120,
            )
            target = OUT / (f"{name}-{mode}.png" if len(modes) > 1 else f"{name}.png")
            save(Image.open(shot).convert("RGB"), target)


def save(picture: Image.Image, path: Path) -> None:
    """Cut off empty rows at the end, and keep few colours."""
    last = picture.height
    while last > 1 and not np.ptp(np.asarray(picture)[last - 1], axis=0).any():
        last -= 1
    picture = picture.crop((0, 0, picture.width, min(picture.height, last + 14)))
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(Path.cwd())}: {picture.width} x {picture.height}, {path.stat().st_size:,} bytes")


def cell(code: str, shown: str) -> str:
    """Return a cell of a notebook with what it shows."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{CELL}'
        f'<div class="cell"><span>[1]:</span><pre>{html.escape(code)}</pre></div>'
        f'<div class="cell"><span></span><div>{shown}</div></div>'
    )


def connect() -> thresher.Connection:
    """Return a database with pictures of digits and with made-up reviews."""
    con = thresher.connect(config={"seed": 7})
    digits = load_digits()
    con.connection.execute("CREATE TABLE digits (id BIGINT, image BLOB, darkness DOUBLE, looks_like_eight DOUBLE)")
    centre = digits.data[digits.target == 8].mean(axis=0)
    for i, (flat, image) in enumerate(zip(digits.data, digits.images, strict=True)):
        sink = io.BytesIO()
        Image.fromarray((255 - image * 15.9).astype("uint8")).resize((48, 48)).save(sink, "PNG")
        near = 1 / (1 + 10 ** (((flat - centre) ** 2).sum() / 400 - 1.5))
        con.connection.execute(
            "INSERT INTO digits VALUES (?, ?, round(?, 2), ?)", [i, sink.getvalue(), flat.mean(), near]
        )
    target = digits.target.tolist()
    con.create_oracle("is_eight", lambda ids: [target[i] == 8 for i in ids], args=["BIGINT"])
    make_reviews(con)
    return con


def make_reviews(con: thresher.Connection) -> None:
    """Make reviews of which some complain; a score suspects most of them."""
    draws = np.random.default_rng(0)
    n_rows = 20_000
    complains = draws.random(n_rows) < 0.08
    things = np.array(["The room", "Breakfast", "The staff", "The wifi", "Our bath", "The bed"])
    good = np.array(["was lovely", "was just as it should be", "surprised us", "was worth the trip"])
    bad = np.array(["was filthy", "never worked", "was cold and late", "was a disgrace"])
    told = np.where(complains, draws.choice(bad, n_rows), draws.choice(good, n_rows))
    reviews = pa.table(
        {
            "id": np.arange(n_rows),
            "stars": draws.integers(1, 6, n_rows),
            "review": [f"{a} {b}." for a, b in zip(draws.choice(things, n_rows), told, strict=True)],
            "suspicion": np.clip(draws.beta(0.8, 9, n_rows) + complains * draws.beta(5, 4, n_rows), 0, 1),
            "verdict": complains,
        }
    )
    con.connection.register("made", reviews)
    con.connection.execute("CREATE TABLE reviews AS FROM made; DROP VIEW made")
    con.execute(ORACLE)


def terminal(command: list[str], title: str) -> str:
    """Return what a command writes to a terminal of 100 columns, as a page."""
    from rich.console import Console
    from rich.text import Text

    sink = io.BytesIO()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65_536)
        sink.write(data)
        return data

    os.environ.update(COLUMNS="100", LINES="60", TERM="xterm-256color")
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
    console.print(Text.from_ansi(written))
    drawn = console.export_svg(title=title, font_aspect_ratio=0.6)
    drawn = drawn.replace("Fira Code", "DejaVu Sans Mono")
    return f'<!doctype html><meta charset="utf-8"><body style="margin:0;background:#fff">{drawn}'


def main() -> None:
    """Make all pictures."""
    OUT.mkdir(exist_ok=True)
    con = connect()
    cursor = con.execute(DIGITS)
    draw(cell("%%sql\n" + DIGITS, cursor._repr_html_()), "result", 820, 2400)
    plan = con.execute("EXPLAIN " + REVIEWS)
    draw(cell("%%sql\nEXPLAIN " + REVIEWS, plan._repr_html_()), "explain", 820, 1200)
    certificate = con.execute(REVIEWS).certificate
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        certificate.save(path)
        draw(path.read_text(encoding="utf-8"), "report", 980, 1150)
        database = Path(folder) / "reviews.duckdb"
        con.connection.execute(f"ATTACH '{database}' AS file; COPY FROM DATABASE memory TO file; DETACH file")
        command = [sys.executable, "-P", "-m", "thresher", "query", "--db", str(database), "--no-progress"]
        command += ["--max-rows", "8", f"SET thresher_seed = 7; {REVIEWS}"]
        draw(terminal(command, "thresher query"), "terminal", 1000, 700, {"light": 1})


if __name__ == "__main__":
    main()
