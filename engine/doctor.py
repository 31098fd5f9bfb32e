"""What ``thresher doctor`` checks, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from thresher.diagnosis import Diagnosis, diagnosed
from thresher.doctor_installed import (
    EXTRAS,
    check_extra,
    check_libraries,
    check_python,
    check_terminal,
    has_extra,
)
from thresher.doctor_models import check_gpu, check_model
from thresher.doctor_shell import check_extension, check_program, check_worker
from thresher.doctor_storage import (
    check_cache,
    check_database,
    check_file,
    check_labels,
    check_query,
)

__all__ = ["examine"]


def examine(database: Path | None = None, *, models: bool = True) -> Iterator[Diagnosis]:
    """Check the installation and yield what is found, check by check.

    Parameters
    ----------
    database : path, optional
        A DuckDB file to open, and its folder to write in; the working directory when absent.
    models : bool
        Whether a model is loaded, where the extra `models` is installed.

    Notes
    -----
    Nothing stays of what is written. Checks that run another program do so in a process of their
    own, so that one that dies is a finding.
    """
    folder = Path() if database is None else database.parent
    checks: dict[str, Callable[[], Diagnosis]] = {
        "python": check_python,
        "libraries": check_libraries,
        **{f"extra {extra}": partial(check_extra, extra) for extra in EXTRAS},
        "terminal": check_terminal,
        "query": check_query,
        "database": partial(check_database, folder),
        "label store": partial(check_labels, folder),
    }
    if database is not None:
        checks["file"] = partial(check_file, database)
    checks |= {
        "cache": check_cache,
        "duckdb": check_program,
        "extension": check_extension,
        "worker": check_worker,
        "gpu": check_gpu,
    }
    if models and has_extra("models"):
        checks["model"] = check_model
    return diagnosed(checks)
