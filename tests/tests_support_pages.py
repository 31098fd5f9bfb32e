"""Pages read back: their elements, attributes and text, and what no page may have."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HTML = """a abbr audio b body br caption code dd details div dl dt figure h1 h2 h3 head header hr
html img li main meta p pre section small span strong style summary table tbody td th thead title
tr ul"""
_SVG = "svg g path rect line circle defs use text tspan clippath title"
EXPECTED = frozenset(f"{_HTML} {_SVG}".split())
_VOID = frozenset({"br", "hr", "img", "meta"})


class Page(HTMLParser):
    """A page that is checked while it is read: every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def checked(text: str) -> Page:
    """Read a page and check that it runs nothing, loads nothing and has no strange element."""
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag in EXPECTED, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action", "xlink:href", "data"):
                assert re.match(r"data:(image|audio)/[a-z]+;base64,|#", value), (tag, name, value)
            assert "javascript:" not in value.lower() or tag not in ("a", "img", "audio")
    for style in re.findall(r"<style.*?</style>", text, re.DOTALL):
        assert not re.search(r"@import|url\((?!#)|expression\(", style)
    for inline in re.findall(r'style="([^"]*)"', text):
        assert not re.search(r"url\((?!#)", inline)
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    return page
