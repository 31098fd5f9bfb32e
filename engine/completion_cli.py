"""The command ``thresher completion``: scripts by which shells complete what is typed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thresher.inputs_cli import add_command

__all__ = ["add_completion"]

_EXAMPLES = """\
  thresher completion bash > ~/.local/share/bash-completion/completions/thresher
  thresher completion zsh > "${fpath[1]}/_thresher"
  thresher completion fish > ~/.config/fish/completions/thresher.fish
  source <(thresher completion bash)
"""
_FILES = ("FILE", "PATH", "OUT", "OUT.html", "QUEUE", "FILE.sql", "FILE.parquet")


def add_completion(commands: Any, program: argparse.ArgumentParser) -> None:
    """Add the ``completion`` command to the commands of a program."""
    completion = add_command(
        commands,
        "completion",
        "the script by which bash, zsh or fish completes commands",
        "Print a script that completes commands, options, choices and files. The first three lines "
        "below install it for good, the last for this shell.",
        _EXAMPLES,
    )
    completion.add_argument("shell", choices=["bash", "zsh", "fish"], help="your shell")
    completion.set_defaults(run=_completion, program=program)


def _completion(args: argparse.Namespace) -> int:
    """Run the ``completion`` command."""
    import shtab

    for action in _actions(args.program):
        if isinstance(action, argparse._SubParsersAction):
            for shown in action._choices_actions:  # a few words, where descriptions are sentences
                action.choices[shown.dest].description = shown.help
        elif action.metavar in _FILES or action.dest == "arguments":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.type is Path:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(args.program, args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
