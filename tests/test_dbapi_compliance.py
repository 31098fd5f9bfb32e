"""PEP 249, by the suite that other drivers are held to."""

from __future__ import annotations

from pathlib import Path

import dbapi20
import pytest

import thresher


class TestCompliance(dbapi20.DatabaseAPI20Test):
    """All of dbapi-compliance; two tests of it are each driver's own to write."""

    driver = thresher

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.connect_args = (str(tmp_path / "x.duckdb"),)

    def tearDown(self) -> None:
        """The folder goes with the test."""

    def test_nextset(self) -> None:
        with thresher.connect() as con:
            assert not hasattr(con.cursor(), "nextset")  # a script leaves its last result only

    def test_setoutputsize(self) -> None:
        with thresher.connect() as con:
            cursor = con.cursor()
            cursor.setoutputsize(3)
            assert cursor.execute("SELECT 'longer'").fetchall() == [("longer",)]
