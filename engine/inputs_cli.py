"""What several commands take: SQL, a database, a label store; and how their help is laid out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.endings import EXIT_CODES
from thresher.errors import nearest

if TYPE_CHECKING:
    from thresher.dbapi import Connection
    from thresher.labels import LabelStore

__all__ = [
    "Help",
    "Parser",
    "add_command",
    "add_json",
    "add_sql",
    "add_store",
    "check_database",
    "count",
    "open_read_only",
    "open_store",
    "read_sql",
    "store_path",
]


class Help(argparse.RawDescriptionHelpFormatter):
    """Texts of one line are folded to the terminal; others stay as they are laid out."""

    def add_argument(self, action: argparse.Action) -> None:
        """Take an argument; the names of commands stand deeper than argparse reckons."""
        super().add_argument(action)
        for command in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(command)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class Parser(argparse.ArgumentParser):
    """Names what it does not know, and what comes nearest to it, with the command's own usage."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._positionals.title = "arguments"

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; an argument that is not known is wrong usage of this command."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return found, unknown

    def _unknown(self, words: Sequence[str]) -> str:
        options = [word.partition("=")[0] for word in words if word[:1] == "-" and word != "-"]
        if options:
            known = [option for option in self._option_string_actions if option.startswith("--")]
            return f"unrecognized option {options[0]}.{nearest(options[0], known)}"
        quotes = any(action.dest == "sql" for action in self._actions)
        hint = ": write the SQL in quotes, as one argument" if quotes else ""
        return f"unrecognized argument '{words[0]}'{hint}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a word that is no choice; commands that no list shows are not told here either."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            shown = [one.dest for one in action._choices_actions]
            hint = nearest(str(value), shown) or f" Choose from {', '.join(shown)}."
            raise argparse.ArgumentError(action, f"there is no '{value}'.{hint}")
        super()._check_value(action, value)


def add_command(
    commands: Any, name: str, help_text: str, description: str, examples: str = "", more: str = ""
) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    Parameters
    ----------
    commands
        What ``add_subparsers`` returned.
    name, help_text, description : str
        The command; what it does in a few words, and in a sentence or two.
    examples : str
        Lines to show, each indented by two.
    more : str
        What follows them; the exit codes where nothing is given.
    """
    parts = [f"examples:\n{examples.rstrip()}"] if examples else []
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog="\n\n".join([*parts, more or EXIT_CODES]) + "\n",
        formatter_class=Help,
        allow_abbrev=False,
    )
    return parser


def add_json(
    parser: argparse._ActionsContainer, what: str = "one JSON document", more: str = ""
) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {what} instead{more}")


def add_sql(parser: argparse.ArgumentParser) -> None:
    """Add the SQL, as an argument or in a file."""
    parser.add_argument("sql", nargs="?", metavar="SQL", help="the statement; '-': standard input")
    parser.add_argument(
        "-f", "--file", type=Path, metavar="FILE.sql", help="read the SQL from here"
    )
    parser.set_defaults(parser=parser)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the label store: beside a database, or by its path."""
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--db", type=Path, metavar="FILE", help="DuckDB file; its store: FILE.labels"
    )
    place.add_argument("--labels", type=Path, metavar="PATH", help="label store")
    parser.set_defaults(parser=parser)


def count(text: str) -> int:
    """Read a whole number from 0."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return number


def read_sql(args: argparse.Namespace) -> str:
    """Return the SQL from the argument, the file or standard input."""
    parser: argparse.ArgumentParser = args.parser
    if args.sql is not None and args.file is not None:
        parser.error("give SQL or -f FILE.sql, not both")
    if args.file is not None:
        try:
            return str(args.file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"cannot read {args.file}: {getattr(error, 'strerror', None) or error}")
    if args.sql not in (None, "-"):
        return str(args.sql)
    if args.sql is None and sys.stdin.isatty():
        parser.error(f'no SQL. Write {parser.prog} "SELECT ...", or -f FILE.sql, or - for input.')
    return sys.stdin.read()


def check_database(args: argparse.Namespace, hint: str = "") -> None:
    """Refuse a database that is not there."""
    if args.db is not None and not args.db.exists():
        args.parser.error(f"there is no database {args.db}.{hint}")


def store_path(args: argparse.Namespace) -> Path:
    """Return where the label store is, that of the database where none is named."""
    found: Path | None = args.labels
    return args.db.with_name(f"{args.db.name}.labels") if found is None else found


@contextmanager
def open_store(args: argparse.Namespace, *, make: bool = False) -> Iterator[LabelStore]:
    """Open the label store; one that is not there is wrong usage, or made where that is meant."""
    path = store_path(args)
    if not make and not path.exists():
        args.parser.error(f"there is no label store {path}")
    from thresher.labels import LabelStore

    with closing(LabelStore(path)) as store:
        yield store


@contextmanager
def open_read_only(args: argparse.Namespace) -> Iterator[Connection]:
    """Open the database, or one in memory, so that nothing is written: no label store is made."""
    import thresher

    check_database(args)
    if args.db is None:
        labels = args.labels if args.labels is not None and args.labels.exists() else None
    else:
        labels = store_path(args) if store_path(args).exists() else None
    database = ":memory:" if args.db is None else str(args.db)
    con = thresher.connect(database, labels=labels, read_only=args.db is not None)
    with closing(con):
        yield con
