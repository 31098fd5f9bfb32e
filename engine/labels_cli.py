"""The command ``thresher labels``: what is kept, moved as Parquet or dropped."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import guarded, write_json
from thresher.errors import nearest
from thresher.inputs_cli import add_command, add_json, add_store, open_store

if TYPE_CHECKING:
    from thresher.labels import LabelStore

__all__ = ["add_labels"]

_EXAMPLES = """\
  thresher labels export --db films.duckdb labels.parquet
  thresher labels import --labels other.labels labels.parquet
  thresher labels gc --db films.duckdb --superseded --dry-run
"""


def add_labels(commands: Any) -> None:
    """Add the ``labels`` command to a program's commands."""
    labels = add_command(
        commands,
        "labels",
        "move labels between stores, or drop some",
        "Labels that were bought: export, import, gc.",
        _EXAMPLES,
    )
    actions = labels.add_subparsers(metavar="ACTION", required=True)
    export = _add(
        actions,
        "export",
        "write every label into a Parquet file",
        "  thresher labels export --db films.duckdb labels.parquet",
        _export,
    )
    export.add_argument("file", type=Path, metavar="FILE.parquet", help="the file to write")
    take = _add(
        actions,
        "import",
        "take the labels of a Parquet file; none is replaced",
        "  thresher labels import --db films.duckdb labels.parquet",
        _import,
    )
    take.add_argument("file", type=Path, metavar="FILE.parquet", help="what export has written")
    _add_gc(actions)


def _add_gc(actions: Any) -> None:
    drop = _add(
        actions,
        "gc",
        "drop labels that meet every condition given, and make the file as small as it can be",
        "  thresher labels gc --db films.duckdb --superseded --dry-run\n"
        "  thresher labels gc --db films.duckdb --oracle is_good --older-than 90 --yes",
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


def _add(actions: Any, name: str, text: str, examples: str, run: Any) -> argparse.ArgumentParser:
    """Add one action; each names its store in the same way."""
    parser = add_command(actions, name, text, f"{text[0].upper()}{text[1:]}.", examples)
    add_store(parser)
    add_json(parser)
    parser.set_defaults(run=guarded(_opened), action=run)
    return parser


def _days(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of days, 0 or more, got {text!r}")
    return number


def _opened(args: argparse.Namespace) -> None:
    """Open the store and run the action."""
    with open_store(args, make=args.action is _import) as store:
        args.action(store, args)


def _export(store: LabelStore, args: argparse.Namespace) -> None:
    from thresher.labels_transfer import export_labels

    n_labels = export_labels(store, args.file)
    if args.json:
        write_json({"n_labels": n_labels, "path": str(args.file)})
    else:
        sys.stdout.write(f"{n_labels:,} labels written to {args.file}\n")


def _import(store: LabelStore, args: argparse.Namespace) -> None:
    from thresher.labels_transfer import import_labels

    found = import_labels(store, args.file)
    if args.json:
        counts = {"n_new": found.n_new, "n_present": found.n_present}
        write_json({**counts, "n_conflicting": found.n_conflicting})
        return
    text = f"{found.n_new:,} labels new, {found.n_present:,} already there"
    if found.n_conflicting:
        text += f", {found.n_conflicting:,} in conflict: the answers in {store.path} stay"
    sys.stdout.write(f"{text}\n")


def _drop(store: LabelStore, args: argparse.Namespace) -> None:
    from thresher.forgetting import Unwanted, drop_labels, find_unwanted

    unwanted = Unwanted(args.oracle, args.version, args.older_than, args.superseded)
    found = find_unwanted(store, unwanted)
    asks = sys.stdin.isatty() and not (args.yes or args.dry_run or args.json)
    if not asks and not args.dry_run:
        found = drop_labels(store, unwanted)
    if args.json:
        write_json({"dropped": not args.dry_run, "versions": [asdict(one) for one in found]})
        return
    for one in found:
        sys.stdout.write(
            f"{one.oracle} {one.version[:12]}: {one.n_labels:,} labels that cost "
            f"${one.cost_usd:,.2f}, {one.n_kept:,} stay\n"
        )
    if args.oracle is not None and not found and (hint := _unknown(store, args.oracle)):
        sys.stdout.write(f"{hint}\n")
        return
    total = f"{sum(one.n_labels for one in found):,} labels"
    if asks:
        sys.stdout.write(f"Drop {total}? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            sys.stdout.write("Nothing was dropped.\n")
            return
        drop_labels(store, unwanted)
    sys.stdout.write(f"{total} {'would be dropped' if args.dry_run else 'dropped'}\n")


def _unknown(store: LabelStore, oracle: str) -> str:
    """Say that no label is there of an oracle of this name, if so."""
    from thresher.forgetting import Unwanted, find_unwanted

    # Every version begins with an empty text: these are the labels of all oracles.
    known = sorted({one.oracle for one in find_unwanted(store, Unwanted(version=""))})
    if oracle in known:
        return ""
    hint = nearest(oracle, known) or (f" It has labels of {', '.join(known)}." if known else "")
    return f"0 labels: {store.path} has none of an oracle '{oracle}'.{hint}"
