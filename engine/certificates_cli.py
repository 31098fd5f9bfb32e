"""The commands ``thresher certificates`` and ``thresher report``: promises of earlier answers."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import FAILED, guarded, write_json
from thresher.errors import OperationalError, ProgrammingError
from thresher.inputs_cli import add_command, add_json, add_store, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thresher.certificate import Certificate
    from thresher.labels import LabelStore

__all__ = ["add_certificates", "add_report"]

_EXAMPLES = """\
  thresher certificates --db films.duckdb
  thresher certificates --db films.duckdb 9e11bfb12c20
  thresher certificates --db films.duckdb verify 9e11
  thresher certificates --db films.duckdb --json | jq -r .certificates[].id
"""
_MORE = """\
An identity may be cut short where no other begins like it; 'last' is the
newest. The label store alone is read: whoever has the database open is not in
the way.

exit codes: 0 done, 1 it failed, or the certificate does not hold, 2 wrong
usage, 130 interrupted"""
_REPORT_EXAMPLES = """\
  thresher report --db films.duckdb -o report.html
  thresher report --db films.duckdb 9e11bfb12c20 -o report.html
"""
_FACTS = ("sql", "grade", "met", "n_rows", "n_returned", "n_labels", "n_reused", "cost_usd")
_LAST = "last"
_NAMES, _WIDEST = 13, 100  # columns: the names of facts, and lines that people can read


def add_certificates(commands: Any) -> None:
    """Add the ``certificates`` command to a program's commands."""
    certificates = add_command(
        commands,
        "certificates",
        "what earlier answers promise; derive their bounds again",
        "List the certificates of a label store, show one, or verify one from its label log alone.",
        _EXAMPLES,
        _MORE,
    )
    certificates.add_argument(
        "what", nargs="*", metavar="ID", help="a certificate to show; or: verify ID"
    )
    add_store(certificates)
    add_json(certificates)
    certificates.set_defaults(run=guarded(_certificates))


def add_report(commands: Any) -> None:
    """Add the ``report`` command to a program's commands."""
    report = add_command(
        commands,
        "report",
        "the HTML report of an answer",
        "Write what a certificate promises, how it came about and what it cost as one HTML file.",
        _REPORT_EXAMPLES,
    )
    report.add_argument("id", nargs="?", default=_LAST, metavar="ID", help="default: the newest")
    report.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.html", help="the file to write"
    )
    add_store(report)
    add_json(report)
    report.set_defaults(run=guarded(_report))


def _certificates(args: argparse.Namespace) -> int | None:
    """Run the ``certificates`` command."""
    words = list(args.what)
    verifies = len(words) == 2 and words[0] == "verify"
    if len(words) == 2 and words[1] == "verify":
        args.parser.error(f"'verify' stands before the ID: verify {words[0]}")
    if (len(words) > 1 and not verifies) or words == ["verify"]:
        args.parser.error("write one ID, or: verify ID")
    _check_identity(args, words[-1:])
    with open_store(args) as store:
        if not words:
            _list(store, as_json=args.json)
        elif verifies:
            return _verify(store, words[1], as_json=args.json)
        else:
            _show(_restored(store, _identity(store, words[0])), as_json=args.json)
    return None


def _check_identity(args: argparse.Namespace, given: Sequence[str]) -> None:
    """Refuse an empty identity, which every certificate begins with."""
    if any(not one.strip() for one in given):
        args.parser.error("the ID is empty: write one, or 'last' for the newest")


def _list(store: LabelStore, *, as_json: bool) -> None:
    """Print one line for each certificate, oldest first."""
    rows = [_row(*row) for row in store.certificates()]
    if as_json:
        write_json({"certificates": rows})
    elif not rows:
        sys.stdout.write(f"{store.path} holds no certificate: answers with oracle calls do.\n")
    else:
        _print_list(rows)


def _row(identity: str, made_at: float, summary: str, text: str) -> dict[str, Any]:
    """Return what the list says of a certificate."""
    facts = json.loads(text)
    made = datetime.fromtimestamp(made_at, UTC).isoformat(timespec="seconds")
    told = {name: facts.get(name) for name in _FACTS}
    return {"id": identity, "made_at": made, "summary": summary, **told}


def _print_list(rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa

    from thresher.render import console_for, write_box

    table = pa.table(
        {
            "certificate": [row["id"] for row in rows],
            "made (UTC)": [row["made_at"][:16].replace("T", " ") for row in rows],
            "promise": [row["summary"].partition(" | ")[0] for row in rows],
            "returned": [f"{row['n_returned']:,} of {row['n_rows']:,}" for row in rows],
            "bought": [row["n_labels"] for row in rows],
        }
    )
    write_box(
        table.to_reader(), console_for(sys.stdout), types=[""] * table.num_columns, max_rows=0
    )


def _identity(store: LabelStore, given: str) -> str:
    """Return the identity that is meant: as it is, cut short, or 'last'."""
    known = [row[0] for row in store.certificates()]
    fitting = [one for one in known if one.startswith(given.lower())]
    if given == _LAST and known:
        fitting = known[-1:]
    if len(fitting) > 1:
        raise ProgrammingError(f"{given} begins {len(fitting)} certificates: {', '.join(fitting)}.")
    if not fitting:
        raise ProgrammingError(
            f"there is no certificate {given}: {store.path} holds {len(known)}, and 'thresher "
            "certificates' lists them."
        )
    return fitting[0]


def _restored(store: LabelStore, identity: str) -> Certificate:
    """Return a certificate with its label log, and with what its pictures need."""
    from thresher.certificate import Certificate

    log, trace = store.certificate_labels(identity), store.certificate_trace(identity)
    return Certificate.from_dict(store.certificate(identity) or {}, log, trace)


def _show(certificate: Certificate, *, as_json: bool) -> None:
    """Print one certificate."""
    if as_json:
        write_json({"certificate": certificate.to_dict()})
        return
    from rich.text import Text

    from thresher.certificate_texts import facts
    from thresher.render import console_for

    console = console_for(sys.stdout)
    width = max(40, min(console.width, _WIDEST)) - _NAMES
    for name, text in facts(certificate):
        for i, line in enumerate(textwrap.wrap(text, width) or [""]):
            before = f"{'' if i else name:<{_NAMES}}"
            console.print(Text.assemble((before, "bold"), line), soft_wrap=True)


def _verify(store: LabelStore, given: str, *, as_json: bool) -> int:
    """Derive the bounds of a certificate again; returns the exit code."""
    from thresher.verify import verify  # scipy.stats takes a second to load

    identity = _identity(store, given)
    found = verify(store.certificate(identity) or {}, store.certificate_labels(identity))
    code = 0 if found.ok else FAILED
    if as_json:
        checks = [
            {name: _plain(value) for name, value in asdict(one).items()} for one in found.checks
        ]
        write_json({"id": identity, "ok": found.ok, "checks": checks})
        return code
    from rich.text import Text

    from thresher.render import console_for

    console = console_for(sys.stdout)
    first, *lines = str(found).splitlines()
    console.print(Text(first, style="green" if found.ok else "red"), soft_wrap=True)
    for line in lines:
        style = "red" if line.lstrip().startswith("FAILS") else ""
        for part in textwrap.wrap(line, max(60, console.width), subsequent_indent=" " * 8):
            console.print(Text(part, style=style), soft_wrap=True)
    return code


def _plain(value: object) -> object:
    """Return a value that JSON has, its text otherwise."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def _report(args: argparse.Namespace) -> None:
    """Run the ``report`` command."""
    _check_identity(args, [args.id])
    from thresher.certificate import no_report

    if (wrong := no_report(args.output)) is not None:
        args.parser.error(wrong)
    with open_store(args) as store:
        certificate = _restored(store, _identity(store, args.id))
    try:
        certificate.save(args.output)
    except OSError as error:
        raise OperationalError(f"cannot write {args.output}: {error.strerror or error}") from error
    if args.json:
        write_json({"id": certificate.id, "path": str(args.output)})
    else:
        sys.stdout.write(f"{args.output}: report of certificate {certificate.id}\n")
