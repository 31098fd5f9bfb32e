"""The command ``thresher labels``: what is kept, moved as Parquet or dropped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.errors import Error

if TYPE_CHECKING:
    from thresher.labels import LabelStore

__all__ = ["add_labels"]

_FAILED = 1


def add_labels(commands: Any) -> None:
    """Add the ``labels`` command to a program's commands."""
    labels = commands.add_parser(
        "labels",
        help="move labels between stores, or drop some",
        description="Labels that were bought: export, import, gc.",
    )
    actions = labels.add_subparsers(metavar="ACTION", required=True)
    export = _add(actions, "export", "write every label into a Parquet file", _export)
    export.add_argument("file", type=Path, metavar="FILE.parquet")
    take = _add(actions, "import", "take the labels of a Parquet file; none is replaced", _import)
    take.add_argument("file", type=Path, metavar="FILE.parquet")
    drop = _add(
        actions,
        "gc",
        "drop labels that meet every condition given, and make the file as small as it can be",
        _drop,
    )
    drop.add_argument("--oracle", metavar="NAME", help="of this oracle")
    drop.add_argument("--version", metavar="HEX", help="of versions that begin like this")
    drop.add_argument("--older-than", type=_days, metavar="DAYS", help="bought so long ago")
    drop.add_argument(
        "--superseded", action="store_true", help="of versions whose oracle has newer ones"
    )
    drop.add_argument("--dry-run", action="store_true", help="only show what would go")
    drop.add_argument("--yes", action="store_true", help="do not ask on a terminal")


def _add(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """Add one action; each names its store in the same way."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--db", type=Path, metavar="FILE", help="DuckDB file; its store: FILE.labels"
    )
    place.add_argument("--labels", type=Path, metavar="PATH", help="label store")
    parser.set_defaults(run=_guarded, action=run, parser=parser)
    return parser


def _days(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return number


def _guarded(args: argparse.Namespace) -> int:
    """Open the store, run the action, and turn errors into text."""
    from thresher.labels import LabelStore

    path = args.labels or args.db.with_name(f"{args.db.name}.labels")
    if args.action is not _import and not path.exists():
        args.parser.error(f"there is no label store {path}")
    try:
        store = LabelStore(path)
        try:
            args.action(store, args)
        finally:
            store.close()
    except Error as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return _FAILED
    return 0


def _export(store: LabelStore, args: argparse.Namespace) -> None:
    from thresher.labels_transfer import export_labels

    n_labels = export_labels(store, args.file)
    sys.stdout.write(f"{n_labels:,} labels written to {args.file}\n")


def _import(store: LabelStore, args: argparse.Namespace) -> None:
    from thresher.labels_transfer import import_labels

    found = import_labels(store, args.file)
    text = f"{found.n_new:,} labels new, {found.n_present:,} already there"
    if found.n_conflicting:
        text += f", {found.n_conflicting:,} in conflict: the answers in {store.path} stay"
    sys.stdout.write(f"{text}\n")


def _drop(store: LabelStore, args: argparse.Namespace) -> None:
    from thresher.forgetting import Unwanted, drop_labels, find_unwanted

    unwanted = Unwanted(args.oracle, args.version, args.older_than, args.superseded)
    found = find_unwanted(store, unwanted)
    asks = sys.stdin.isatty() and not args.yes and not args.dry_run
    if not asks and not args.dry_run:
        found = drop_labels(store, unwanted)
    for one in found:
        sys.stdout.write(
            f"{one.oracle} {one.version[:12]}: {one.n_labels:,} labels that cost "
            f"${one.cost_usd:,.2f}, {one.n_kept:,} stay\n"
        )
    total = f"{sum(one.n_labels for one in found):,} labels"
    if asks:
        sys.stdout.write(f"Drop {total}? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            sys.stdout.write("Nothing was dropped.\n")
            return
        drop_labels(store, unwanted)
    sys.stdout.write(f"{total} {'would be dropped' if args.dry_run else 'dropped'}\n")
