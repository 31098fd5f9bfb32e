"""The command ``thresher doctor``: whether all that is installed works here."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import FAILED, guarded, write_json
from thresher.inputs_cli import add_command, add_json

if TYPE_CHECKING:
    from rich.console import Console

    from thresher.diagnosis import Diagnosis

__all__ = ["add_doctor"]

_EXAMPLES = """\
  thresher doctor
  thresher doctor --db films.duckdb --no-model
  thresher doctor --json | jq '.findings[] | select(.level != "ok")'
"""
_MORE = """\
It takes a few seconds, some more where a tiny model is made and asked. Nothing
stays of what is written.

exit codes: 0 no error was found, 1 one was, 2 wrong usage, 130 interrupted"""
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
_MARKS, _NAMES, _WIDEST = 9, 18, 120


def add_doctor(commands: Any) -> None:
    """Add the ``doctor`` command to a program's commands."""
    doctor = add_command(
        commands,
        "doctor",
        "check the installation, and say how to mend it",
        "Check what is installed: libraries, extras, the label store, the DuckDB extension and its "
        "worker, the GPU, local models. Each finding says what it means and how to mend it.",
        _EXAMPLES,
        _MORE,
    )
    doctor.add_argument(
        "--db", type=Path, metavar="FILE", help="check this database, and the folder that it is in"
    )
    doctor.add_argument("--no-model", action="store_true", help="load no model")
    add_json(doctor)
    doctor.set_defaults(run=guarded(_doctor))


def _doctor(args: argparse.Namespace) -> int:
    """Run the ``doctor`` command."""
    from thresher.doctor import examine
    from thresher.render import console_for

    began, found, console = time.perf_counter(), [], console_for(sys.stdout)
    for one in examine(args.db, models=not args.no_model):
        found.append(one)
        if not args.json:
            _print(one, console)
    seconds = time.perf_counter() - began
    failed = any(one.level == "error" for one in found)
    if args.json:
        findings = [asdict(one) for one in found]
        write_json({"ok": not failed, "seconds": seconds, "findings": findings})
    else:
        _conclude(found, seconds, console)
    return FAILED if failed else 0


def _print(one: Diagnosis, console: Console) -> None:
    """Print one finding, in lines that fit."""
    from rich.text import Text

    width = max(40, min(console.width, _WIDEST)) - _MARKS - _NAMES
    lines = textwrap.wrap(one.text, width, break_on_hyphens=False, break_long_words=False) or [""]
    for i, line in enumerate(lines):
        mark = f"{'' if i else one.level:<{_MARKS}}"
        name = f"{'' if i else one.name:<{_NAMES}}"
        shown = Text.assemble((mark, _STYLES[one.level]), (name, "bold"), line)
        console.print(shown, soft_wrap=True)
    if one.mend:  # never broken: it may be copied
        console.print(Text(f"{'':<{_MARKS + _NAMES}}-> {one.mend}", style="cyan"), soft_wrap=True)


def _conclude(found: Sequence[Diagnosis], seconds: float, console: Console) -> None:
    """Print how many findings there are of each level, and what the checks took."""
    levels = Counter(one.level for one in found)
    n_warnings, n_errors = levels["warning"], levels["error"]
    text = f"{len(found)} checks: {levels['ok']} ok"
    text += f", {n_warnings} warning{'' if n_warnings == 1 else 's'}"
    text += f", {n_errors} error{'' if n_errors == 1 else 's'}"
    text += f", in {seconds:.1f} s"
    model_s = sum(one.seconds for one in found if one.name == "model")
    text += f", {model_s:.1f} s of them the model" if model_s else ""
    worst = "error" if n_errors else "warning" if n_warnings else "ok"
    console.print(text, style=_STYLES[worst])
