"""What may stand inside a quote: certificates, values of settings, names of files."""

from __future__ import annotations

import os
from pathlib import Path

from thresher.notebook.candidates import Candidate, Vocabulary, of_kind
from thresher.notebook.statement_parts import Part, part_at
from thresher.sql.tokens import tokenize, unquoted

__all__ = ["complete_quoted", "file_names"]

_FILE_OPTIONS = ("queue", "model", "weights", "gguf_file")  # of oracles and proxies
_FILE_STATEMENTS = (
    ("attach",), ("attach", "database"), ("attach", "if", "not", "exists"), ("load",), ("install",),
    ("import", "database"), ("export", "database"), ("describe",), ("summarize",), ("label",),
)  # fmt: skip
_FILE_SETTINGS = ("encoder", "_directory", "_path")
_READERS = ("glob", "sniff_csv", "st_read")
_MOST = 1000  # names of a folder


def complete_quoted(sql: str, cursor: int, names: Vocabulary) -> tuple[str, list[Candidate]] | None:
    """Return what may stand at a cursor inside single quotes.

    Parameters
    ----------
    sql : str
        A statement or script; it need not be complete or right.
    cursor : int
        Offset of the cursor.
    names : Vocabulary
        What is declared.

    Returns
    -------
    tuple of str and list of Candidate, or None
        What is written behind the quote by now, and what begins with it, with the quote that closes
        it where none follows; None where the cursor is in no quote.
    """
    tokens = tokenize(sql[:cursor])
    if not tokens or tokens[-1].kind != "broken" or not tokens[-1].text.startswith("'"):
        return None
    start = tokens[-1].start
    written = sql[start + 1 : cursor]
    part = part_at(sql[:start], start)
    if part is None:
        return written, []
    follows = sql[cursor : cursor + 1]
    closing = "" if follows == "'" or follows.isalnum() else "'"
    if _takes_file(part):
        return written, of_kind("path", file_names(written, closing))
    texts = [text for text in _texts(part, names) if text.lower().startswith(written.lower())]
    return written, of_kind("value", (text + closing for text in texts))


def _texts(part: Part, names: Vocabulary) -> list[str]:
    """Return the texts that may stand in a quote, without it."""
    if part.words[-2:] == ("audit", "certificate") or (
        part.call == "thresher_label_log" and part.begins_item
    ):
        return list(names.certificates())
    if part.first.lower() == "set" and len(part.words) > 1:
        values = names.values(part.words[1].removeprefix("thresher_"))
        return [unquoted(value) if value.startswith("'") else value for value in values]
    return []


def _takes_file(part: Part) -> bool:
    """Whether the name of a file or folder may stand in a quote there."""
    words, first = part.words, part.first.lower()
    if part.last_word in ("from", "join") or (part.wants_relation and part.before[-1:] == (",",)):
        return words[-2:] != ("distinct", "from")
    if words in _FILE_STATEMENTS or (first == "copy" and part.last_word == "to"):
        return True
    if part.call.startswith("read_") or part.call.endswith("_scan") or part.call in _READERS:
        return part.begins_item and (part.in_list or part.before[-1] == "(")
    if part.before[-1:] != ("=",):
        return False
    name = part.before[-2].lower() if len(part.before) > 1 else ""
    if first == "set":
        return name.endswith(_FILE_SETTINGS)
    return first == "create" and name in _FILE_OPTIONS


def file_names(written: str, closing: str) -> list[str]:
    """Return paths that begin as one that is being written.

    Parameters
    ----------
    written : str
        The beginning of a path, as it stands in the quote.
    closing : str
        What follows the name of a file; that of a folder is followed by a slash.

    Returns
    -------
    list of str
        Sorted, hidden ones only where a dot is written; none of URLs and patterns.
    """
    if "://" in written or set(written) & set("*?["):
        return []
    folder, slash, begun = written.rpartition("/")
    try:
        with os.scandir(Path(f"{folder}{slash}" or ".").expanduser()) as entries:
            found = sorted((one.name.replace("'", "''"), one.is_dir()) for one in entries)
    except (OSError, RuntimeError, ValueError):  # no folder, no home, a zero byte
        return []
    kept = [
        f"{folder}{slash}{name}{'/' if is_dir else closing}"
        for name, is_dir in found
        if name.startswith(begun) and (begun.startswith(".") or not name.startswith("."))
    ]
    return kept[:_MOST]
