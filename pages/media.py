"""Images and sounds in BLOB values, shown in the page itself."""

from __future__ import annotations

import base64

from thresher.pages.markup import Markup, element

__all__ = ["Media", "kind_of"]

_MOST = 512 << 10  # bytes of one file
_MOST_OF_ALL = 4 << 20  # of all files of one result: a notebook keeps them
_IMAGES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
_SOUNDS = ((b"ID3", "mpeg"), (b"OggS", "ogg"), (b"fLaC", "flac"))


def _size(n_bytes: int) -> str:
    """Write a size.

    Examples
    --------
    >>> _size(12), _size(2_500_000)
    ('12 bytes', '2.4 MiB')
    """
    if n_bytes < 1024:
        return f"{n_bytes} byte{'' if n_bytes == 1 else 's'}"
    size, unit = n_bytes / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}"


def kind_of(value: bytes) -> str | None:
    """Return the media type of a file by its first bytes; None for all that no page can show."""
    for start, kind in _IMAGES:
        if value.startswith(start):
            return f"image/{kind}"
    for start, kind in _SOUNDS:
        if value.startswith(start):
            return f"audio/{kind}"
    if value[:4] == b"RIFF" and value[8:12] in (b"WEBP", b"WAVE"):
        return "image/webp" if value[8:12] == b"WEBP" else "audio/wav"
    # A frame of MP3 without a tag: 11 bits of one, and layer III.
    if len(value) > 3 and value[0] == 0xFF and value[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    return None


class Media:
    """Shows the BLOB values of one result, up to a size of all of them together."""

    def __init__(self) -> None:
        self._left = _MOST_OF_ALL

    def cell(self, value: bytes) -> Markup:
        """Return an image or a sound; of what is neither, or is too large, its kind and size."""
        kind, size = kind_of(value), _size(len(value))
        if kind is None:
            return element("span", f"BLOB, {size}", class_="th-muted")
        name = f"{kind.partition('/')[2].upper()} {kind.partition('/')[0]}, {size}"
        if len(value) > min(_MOST, self._left):
            return element("span", name, class_="th-muted")
        self._left -= len(value)
        return _shown(value, kind, name)


def _shown(value: bytes, kind: str, name: str) -> Markup:
    """Return a file as an element that holds it."""
    source = f"data:{kind};base64,{base64.b64encode(value).decode()}"
    if kind.startswith("image/"):
        return element("img", src=source, alt=name, title=name, class_="th-thumbnail")
    return element("audio", controls=True, preload="metadata", src=source, title=name)
