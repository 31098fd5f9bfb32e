"""The pages of the documentation name pictures that are there, small, and made by the script."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"


def test_pictures_are_there_and_small() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for name in re.findall(r'(?:src|srcset)="(pictures/[^"]+)"', page.read_text()):
            path = ROOT / "docs" / name
            assert path.read_bytes().startswith(b"\x89PNG"), name
            assert path.stat().st_size < 100_000, name


def test_pictures_say_what_they_show() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for image in re.findall(r"<img [^>]*>", page.read_text()):
            assert re.search(r'alt="[^"]{10,}"', image), image


def test_every_picture_is_made_by_the_script() -> None:
    script = (ROOT / "docs" / "make_pictures.py").read_text()
    for path in PICTURES.glob("*.png"):
        assert f'"{re.sub("-(light|dark)$", "", path.stem)}"' in script
