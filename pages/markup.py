"""HTML that is put together from elements, so that no text gets into it unescaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

__all__ = ["Markup", "element", "joined", "plain"]

_VOID = frozenset({"br", "col", "hr", "img", "meta"})
# What a page must not obey: control characters, and those that turn the direction of other text.
_TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0xFEFF)
_SHOWN = (
    {c: chr(0x2400 + c) for c in range(32) if c not in (9, 10)}
    | dict.fromkeys(range(128, 160), "\N{REPLACEMENT CHARACTER}")
    | {c: f"[U+{c:04X}]" for c in _TURNING}
    | {13: None, 127: "\u2421"}
)
_UNPAIRED = re.compile("[\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def plain(text: str) -> str:
    r"""Return text with what is invisible or would turn its direction made visible.

    Examples
    --------
    >>> plain("a\x00b\u202ec")
    'a␀b[U+202E]c'
    """
    return _UNPAIRED.sub("\N{REPLACEMENT CHARACTER}", text.translate(_SHOWN))


def _written(part: str) -> str:
    return part if isinstance(part, Markup) else html.escape(plain(part), quote=True)


def joined(parts: Iterable[str]) -> Markup:
    """Return parts one after the other; those that are no markup are escaped."""
    return Markup("".join(map(_written, parts)))


def element(name: str, /, *content: str, **attributes: str | int | float | bool | None) -> Markup:
    """Return one element.

    Parameters
    ----------
    name : str
        Of the element.
    *content : str
        What is inside: markup, or text that is escaped.
    **attributes
        ``class_`` is ``class`` and ``aria_label`` is ``aria-label``; None and False leave it out,
        True stands without a value.

    Examples
    --------
    >>> element("p", "a < b", element("b", "c"), class_="x", title='"')
    '<p class="x" title="&quot;">a &lt; b<b>c</b></p>'
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written += f" {key.rstrip('_').replace('_', '-')}"
        written += "" if value is True else f'="{_written(str(value))}"'
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(content)}</{name}>")
