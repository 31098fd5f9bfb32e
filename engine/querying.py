"""What ``thresher query`` does: a script run, its results shown, its certificates told."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO, cast

from thresher.endings import INTERRUPTED, TERMINATED, report, write_error
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
    indicates: ClassVar[bool] = False

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
        code, note = TERMINATED if terminated else INTERRUPTED, _kept(args, meter.n_labels)
        if args.json:
            write_error(how, how.lower(), code, note, {"spent": meter.n_labels})
        else:
            sys.stderr.write(f"\n{how}. {note}\n")
        return code
    except Error as error:
        meter.close()
        return report(error, _kept(args, error.spent), as_json=args.json)
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
    """Run the statements; a box shows every result, the other formats hold the last one.

    The document of ``--json`` has the certificates of all.
    """
    from thresher.duckdb_errors import translated
    from thresher.sql import split

    fragments = [fragment for fragment in split(sql) if fragment.text.strip()]
    if not fragments:
        args.parser.error("the SQL holds no statement")
    certificates: list[Certificate] = []
    with _opened(args.output, whole=args.json) as sink:
        for number, fragment in enumerate(fragments, start=1):
            meter.next_statement()
            try:
                cursor = con.execute(fragment.text)
            except Error as error:
                raise error.within(sql, fragment.text, fragment.offset) from error.__cause__
            meter.close()
            certificates += cursor.certificates
            last = number == len(fragments)
            with translated():  # rows come while they are written, and so may errors
                if args.json and last:
                    _document(cursor, certificates, sink)
                elif not args.json and cursor.description and (args.format == "box" or last):
                    _show(cursor, sink, args)
            if not args.json:
                _certify(cursor, sink, args.format)


@contextmanager
def _opened(path: Path | None, *, whole: bool = False) -> Iterator[TextIO]:
    """Give standard output, or a file beside `path` that takes its name only after success.

    What must be `whole` reaches standard output only after success, too.
    """
    if path is None and whole:
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as sink:
            yield cast("TextIO", sink)
            sink.seek(0)
            shutil.copyfileobj(sink, sys.stdout)
        sys.stdout.flush()
        return
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
        if cursor.plan is not None:
            render.write_plan(reader, console)
        else:
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


def _document(cursor: Cursor, certificates: Sequence[Certificate], sink: TextIO) -> None:
    """Write a result and what is promised of it as one JSON object; rows pass through."""
    from thresher import render

    columns = [{"name": str(c[0]), "type": str(c[1])} for c in cursor.description or ()]
    sink.write(f'{{"columns": {json.dumps(columns)},\n"rows": ')
    sink.flush()
    if columns:
        render.write_json(cursor.fetch_record_batch(), sink.buffer)
    else:
        sink.write("[]\n")
    n_changed = None if cursor.rowcount < 0 else cursor.rowcount
    facts = ",\n".join(one.to_json() for one in certificates)
    sink.write(f',"n_changed": {json.dumps(n_changed)},\n"certificates": [{facts}]}}\n')
    sink.flush()


def _certify(cursor: Cursor, sink: TextIO, file_format: str) -> None:
    """Print each certificate, below a box or on standard error; a terminal gets lines that fit."""
    from thresher import render

    stream = sink if file_format == "box" else sys.stderr
    console = render.console_for(stream)
    width = console.width if stream.isatty() else None
    n_blocks = len(cursor.certificates)
    for number, certificate in enumerate(cursor.certificates, start=1):
        mark = f"block {number} of {n_blocks}: " if n_blocks > 1 else ""
        lines = _certified(certificate, None if width is None else width - len(mark))
        texts = [f"{mark}{lines[0]}", *(f"{' ' * len(mark)}{line}" for line in lines[1:])]
        style = "green" if certificate.met else "yellow"
        for text in texts:
            console.print(text, style=style, soft_wrap=True)
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
