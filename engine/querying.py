"""What ``thresher query`` does: a script run, its results shown, its certificates told."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from thresher.endings import INTERRUPTED, TERMINATED, exit_code, report
from thresher.errors import Error
from thresher.progress import ProgressEvent, ProgressSink, Silent, terminal_or_silent

if TYPE_CHECKING:
    from thresher.certificate import Certificate
    from thresher.dbapi import Connection, Cursor

__all__ = ["run"]


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


def run(sql: str, args: argparse.Namespace) -> int:
    """Run SQL as the options of ``thresher query`` say, and return the exit code."""
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
        report(error, _kept(args, error.spent))
        return exit_code(error)
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
