"""Images and sounds of rows: bytes, paths and file URLs, decoded or refused by the row."""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.errors import DataError, InterfaceError
from thresher.oracles.answers import describe_row
from thresher.oracles.context import Context
from thresher.oracles.options import Options
from thresher.oracles.protocols import Argument
from thresher.oracles.runtime import quiet

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MediaReader", "is_blob", "read_image", "read_sound", "require_text"]

Decoded = TypeVar("Decoded")
_BLOBS = ("BLOB", "BYTEA", "BINARY", "VARBINARY")


class MediaReader:
    """Files of rows: what a value names, or holds.

    Parameters
    ----------
    who : str
        Name for messages.
    column : str
        The argument with the bytes (``BLOB``) or the path (``VARCHAR``): a path, relative ones
        counted from the session's folder, or a ``file://`` URL of this machine.
    context : Context
        For relative paths.
    """

    def __init__(self, who: str, column: str, context: Context) -> None:
        self.column = column
        self._who, self._context = who, context

    def read(self, batch: pa.Table, row: int, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Return what one row's value decodes to.

        Parameters
        ----------
        batch : pyarrow.Table
            The inputs.
        row : int
            Which one.
        decode : callable
            `read_image`, or `read_sound` with its rate.

        Raises
        ------
        DataError
            If there is no such file, or it cannot be decoded; the message names the row.
        """
        try:
            return decode(self._bytes(batch[self.column][row].as_py()))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for PNGs
            place = f"row {row} of the batch ({describe_row(batch, row)})"
            raise DataError(
                f"{self._who}: {place} cannot be read: {str(error).rstrip('.')}."
            ) from error

    def _bytes(self, value: bytes | str) -> bytes:
        if isinstance(value, bytes):
            return value
        scheme, _, _ = value.partition("://")
        if scheme == value:
            return self._context.resolve(value).read_bytes()
        parts = urlsplit(value)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise ValueError(
                f"{parts.scheme or scheme}:// is not read; give a path, a file:// URL of this"
                " machine, or the bytes as BLOB (read_blob of DuckDB fetches them)"
            )
        return Path(unquote(parts.path)).read_bytes()


def read_image(data: bytes) -> Image:
    """Return an RGB image, turned as its EXIF data say.

    Raises
    ------
    OSError, ValueError, SyntaxError
        If it is no image that Pillow reads, is cut off, or has too many pixels.
    InterfaceError
        If Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise InterfaceError("Images need Pillow: pip install 'thresher[models]'") from None
    try:
        with quiet(), Image.open(io.BytesIO(data)) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                raise ValueError(
                    f"it has {image.width:,} x {image.height:,} pixels, above {most:,}"
                )
            ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")
    except Image.DecompressionBombError as error:
        raise ValueError(f"it has too many pixels: {error}") from None


def read_sound(data: bytes, rate: int) -> npt.NDArray[np.float32]:
    """Return the samples of a WAV file at a rate, channels averaged, whole numbers in [-1, 1].

    Parameters
    ----------
    data : bytes
        The file.
    rate : int
        Samples a second that the model wants.

    Raises
    ------
    ValueError
        If it is no WAV file, is cut off or is empty.

    Examples
    --------
    >>> import io, scipy.io.wavfile
    >>> file = io.BytesIO()
    >>> scipy.io.wavfile.write(file, 8000, np.full((80, 2), 16384, dtype=np.int16))
    >>> sound = read_sound(file.getvalue(), 16000)
    >>> sound.shape, round(float(sound[80]), 2)
    ((160,), 0.5)
    """
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    with warnings.catch_warnings():
        warnings.simplefilter("error", wavfile.WavFileWarning)
        try:
            given, samples = wavfile.read(io.BytesIO(data))
        except (wavfile.WavFileWarning, EOFError, struct.error) as error:
            raise ValueError(f"it is no whole WAV file ({error})") from None
    samples = np.asarray(samples)
    if not samples.size:
        raise ValueError("it holds no samples")
    if samples.dtype == np.uint8:
        sound = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        sound = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    else:
        sound = samples.astype(np.float32)
    if sound.ndim > 1:
        sound = sound.mean(axis=1, dtype=np.float32)
    if given != rate:
        shared = math.gcd(int(given), rate)
        sound = resample_poly(sound, rate // shared, int(given) // shared).astype(np.float32)
    return sound


def is_blob(argument: Argument) -> bool:
    """Whether an argument is declared as bytes."""
    return argument.type.strip().upper() in _BLOBS


def require_text(arguments: tuple[Argument, ...], options: Options, task: str) -> None:
    """Raise an OptionError if an argument of a task that reads text is declared as bytes."""
    for argument in arguments:
        if is_blob(argument):
            raise options.error(
                f"argument {argument.name} is {argument.type}, and task '{task}' reads text."
                " Declare it VARCHAR."
            )
