"""Checks of what is written and read: a database, its label store, the cache, and a query."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

from thresher.diagnosis import Diagnosis
from thresher.errors import Error
from thresher.oracles.cache import cache_folder

__all__ = ["check_cache", "check_database", "check_file", "check_labels", "check_query"]

_LEAST_ROOM = 2**30  # bytes


def check_query() -> Diagnosis:
    """Answer a query with a recall target in memory, and hold it against the truth."""
    import thresher

    with closing(thresher.connect()) as con:
        con.create_oracle("is_even", lambda n: [i % 2 == 0 for i in n], args=["BIGINT"])
        cursor = con.execute(
            "SELECT i FROM range(2000) r(i) WHERE is_even(i) "
            "USING 1 - (i % 2) RECALL TARGET 90% ORACLE LIMIT 200 SEED 1"
        )
        returned = {row[0] for row in cursor.fetchall()}
        certificate = cursor.certificate
    recall = len({i for i in returned if i % 2 == 0}) / 1000
    if certificate is None or recall < 0.9 or certificate.n_labels > 200:
        text = f"a query of known answer came back with recall {recall:.2f}"
        return Diagnosis("query", "error", text, "pip install --force-reinstall thresher")
    text = f"{certificate.n_labels} labels found {recall:.0%} of 1,000 rows, where 90% was asked"
    return Diagnosis("query", "ok", text)


def check_database(folder: Path) -> Diagnosis:
    """Write a DuckDB database into a folder, and read it again."""
    import duckdb

    try:
        with tempfile.TemporaryDirectory(prefix=".thresher", dir=folder) as made:
            path = str(Path(made) / "x.duckdb")
            with duckdb.connect(path) as con:
                con.execute("CREATE TABLE t AS SELECT 42 AS n")
            with duckdb.connect(path, read_only=True) as con:
                row = con.execute("SELECT n FROM t").fetchone()
    except (OSError, duckdb.Error) as error:
        return Diagnosis("database", "error", f"{folder}: {error}", _writable(folder))
    if row != (42,):
        return Diagnosis("database", "error", f"{folder}: what was written is not what is read")
    room = shutil.disk_usage(folder).free
    text = f"written and read in {folder.resolve()}, {room / 2**30:,.1f} GiB free"
    if room < _LEAST_ROOM:
        return Diagnosis(
            "database", "warning", text, "make room: DuckDB writes there when it sorts"
        )
    return Diagnosis("database", "ok", text)


def check_labels(folder: Path) -> Diagnosis:
    """Write a label store into a folder, and read it by a second connection meanwhile."""
    from thresher.labels import LabelStore

    key = "0" * 64
    try:
        with tempfile.TemporaryDirectory(prefix=".thresher", dir=folder) as made:
            path = Path(made) / "x.labels"
            with closing(LabelStore(path)) as one, closing(LabelStore(path)) as other:
                one.put("0" * 64, "doctor", [key], [True], [None], 0.0)
                found = other.get("0" * 64, [key])
    except (OSError, Error) as error:
        text = f"{folder}: {error}. Labels would be lost, or need --labels PATH elsewhere"
        return Diagnosis("label store", "error", text, _writable(folder))
    if len(found) != 1:
        text = f"{folder}: a label that was written is not there, as on some network drives"
        return Diagnosis("label store", "error", text, "keep it on a local disk: --labels PATH")
    return Diagnosis("label store", "ok", f"two at once write and read in {folder.resolve()}")


def check_file(path: Path) -> Diagnosis:
    """Open a database as it is, and its label store if it has one, without changing them."""
    import thresher

    if not path.exists():
        mend = f"thresher query --db {path} --create 'SELECT 1'"
        return Diagnosis("file", "error", f"there is no database {path}", mend)
    store = path.with_name(f"{path.name}.labels")
    try:
        with closing(
            thresher.connect(path, labels=store if store.exists() else None, read_only=True)
        ) as con:
            n_oracles = len(con.execute("SHOW ORACLES").fetchall())
            n_certificates = len(con.execute("SHOW CERTIFICATES").fetchall())
    except Error as error:
        mend = "close the program that has it open, or restore it from a copy"
        return Diagnosis("file", "error", f"{path}: {error.message}", mend)
    text = f"{path}: oracles {n_oracles}, certificates {n_certificates}"
    if not os.access(path, os.W_OK):
        return Diagnosis("file", "warning", f"{text}; it cannot be written", f"chmod u+w {path}")
    return Diagnosis("file", "ok", text)


def check_cache() -> Diagnosis:
    """Look whether the cache folder, or the first folder above that is there, takes files."""
    folder = cache_folder()
    above = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        text = f"{folder} cannot be written: texts are embedded and models fetched again each time"
        return Diagnosis("cache", "warning", text, "export XDG_CACHE_HOME=/a/folder/of/yours")
    return Diagnosis("cache", "ok", str(folder))


def _writable(folder: Path) -> str:
    return f"chmod u+rwx {folder}, or give --db a database in a folder that takes files"
