"""The command ``thresher oracles``: what is declared in a database."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import guarded, write_json
from thresher.errors import ProgrammingError, nearest
from thresher.inputs_cli import add_command, add_json, open_read_only

if TYPE_CHECKING:
    from thresher.dbapi import Connection

__all__ = ["add_oracles"]

_EXAMPLES = """\
  thresher oracles --db films.duckdb
  thresher oracles --db films.duckdb is_good
  thresher oracles --db films.duckdb --json | jq -r .oracles[].name
"""


def add_oracles(commands: Any) -> None:
    """Add the ``oracles`` command to a program's commands."""
    oracles = add_command(
        commands,
        "oracles",
        "oracles and proxies that a database declares",
        "List the oracles and proxies of a database, or describe one of them.",
        _EXAMPLES,
    )
    oracles.add_argument("name", nargs="?", metavar="NAME", help="an oracle or proxy to describe")
    oracles.add_argument("--db", type=Path, metavar="FILE", required=True, help="DuckDB file")
    oracles.add_argument(
        "--labels", type=Path, metavar="PATH", help="label store (default: FILE.labels)"
    )
    add_json(oracles)
    oracles.set_defaults(run=guarded(_oracles), parser=oracles)


def _oracles(args: argparse.Namespace) -> None:
    """Run the ``oracles`` command."""
    with open_read_only(args) as con:
        if args.name is not None:
            _describe(con, args)
            return
        if args.json:
            write_json(_listed(con))
            return
        found = {"oracles": _rows(con, "SHOW ORACLES"), "proxies": _rows(con, "SHOW PROXIES")}
    if not found["oracles"]:
        sys.stdout.write(f"{args.db} declares no oracle: CREATE ORACLE does.\n")
    for rows in found.values():
        if rows:
            _print(rows)


def _listed(con: Connection) -> dict[str, list[dict[str, Any]]]:
    """Return what is declared, for programs."""
    from thresher.listings import listed_oracle, listed_proxies

    catalog, store = con._session.catalog, con._session.store
    return {
        "oracles": [listed_oracle(entry) for entry in catalog.oracles()],
        "proxies": listed_proxies(catalog, store),
    }


def _describe(con: Connection, args: argparse.Namespace) -> None:
    """Print the properties of one oracle or proxy."""
    from thresher.sql.tokens import quoted

    known = [one for listed in _listed(con).values() for one in listed]
    name = args.name.lower()
    found = next((one for one in known if one["name"] == name), None)
    if found is None:
        hint = nearest(args.name, [one["name"] for one in known])
        raise ProgrammingError(f"{args.db} declares no oracle or proxy {args.name}.{hint}")
    kind = found["kind"]
    if not args.json:
        rows = con.execute(f"DESCRIBE {kind} {quoted(name)}").fetchall()
        _print([{"property": name, "value": value} for name, value in rows])
        return
    if kind == "oracle":
        found["version"] = con._session.models.bound(name).oracle.version
    write_json({kind: found})


def _rows(con: Connection, sql: str) -> list[dict[str, Any]]:
    return con.execute(sql).fetch_arrow_table().to_pylist()  # type: ignore[no-any-return]


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    import pyarrow as pa

    from thresher.render import console_for, write_box

    table = pa.Table.from_pylist(list(rows))
    write_box(
        table.to_reader(), console_for(sys.stdout), types=[""] * table.num_columns, max_rows=0
    )
