"""Pictures by matplotlib: all of them in a figure, or one as SVG in the colours of its page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thresher.pages.axes import Colours, dress
from thresher.pages.markup import Markup, element
from thresher.pages.plots import Panel, panels
from thresher.pages.style import PALETTES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from thresher.certificate import Certificate

__all__ = ["figure", "svg"]


@contextmanager
def _library() -> Iterator[None]:
    """Load matplotlib, or say how to get it; pictures that are the same are the same bytes."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib: pip install "thresher[jupyter]". The card and the report '
            "do without."
        ) from error
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "thresher",
        "font.family": ["DejaVu Sans"],
        "axes.titlelocation": "left",
    }
    with mpl.rc_context(settings):
        yield


def _colours(mode: str) -> dict[str, str]:
    return {**PALETTES[mode], "soft-band": PALETTES[mode]["line"]}


def figure(certificate: Certificate) -> Figure:
    """Return all pictures of a certificate in one figure.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    with _library():
        from matplotlib.figure import Figure

        found = panels(certificate)
        drawn = [panel for panel in found if panel.draw is not None]
        missing = [f"{one.title}: {one.text}" for one in found if one.draw is None]
        colours = _colours("light")
        n_rows = max(1, -(-len(drawn) // 2))
        made = _shown(Figure)(figsize=(10, 3.4 * n_rows + 0.2 * len(missing)), layout="constrained")
        made.set_facecolor(colours["bg"])
        for number, panel in enumerate(drawn):
            axes = made.add_subplot(n_rows, min(2, len(drawn)), number + 1)
            _draw(panel, axes, colours)
            axes.set_title(panel.title, color=colours["fg"], fontsize=9.5, pad=20)
        title = f"Certificate {certificate.id}: {certificate.targets}"
        made.suptitle(title, fontsize=11, x=0.01, ha="left", color=colours["fg"])
        if missing:
            made.supxlabel(
                "\n".join(missing), fontsize=8, color=colours["muted"], ha="left", x=0.01
            )
        return made


def _shown(kind: type[Figure]) -> type[Figure]:
    """Return the class of figures that notebooks show, also where pyplot was never loaded."""

    class CertificateFigure(kind):  # type: ignore[misc, valid-type]
        """Pictures of a certificate."""

        def _repr_png_(self) -> bytes:
            sink = io.BytesIO()
            self.savefig(sink, format="png", dpi=110)
            return sink.getvalue()

    return CertificateFigure


def _draw(panel: Panel, axes: Axes, colours: Colours) -> None:
    if panel.draw is not None:
        panel.draw(axes, colours)
    dress(axes, colours)


def svg(panel: Panel, name: str) -> Markup:
    """Return one picture as SVG whose colours are those of the page around it.

    Parameters
    ----------
    panel : Panel
        With something to draw.
    name : str
        Letters that no other picture of the page has: they begin its identifiers.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    with _library():
        from matplotlib.figure import Figure

        marks = {colour: f"#0{number:02x}eef" for number, colour in enumerate(_colours("light"))}
        made = Figure(figsize=(5.2, 3.1), layout="constrained")
        made.set_facecolor("none")
        _draw(panel, made.add_subplot(), marks)
        sink = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with warnings.catch_warnings():
            # The page has its own fonts: what the font lacks that sizes are reckoned with is there.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            made.savefig(sink, format="svg", metadata=none, transparent=True)
    return element("figure", _inline(sink.getvalue(), marks, name, panel.text))


def _inline(text: str, marks: Colours, name: str, description: str) -> Markup:
    """Return matplotlib's file as an element of a page: no foreign names, colours by variables."""
    inner = text[text.index("<svg") :].partition(">")[2].rpartition("</svg>")[0]
    # Its style sheet would be one of the whole page.
    apart = r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->"
    inner = re.sub(apart, "", inner, flags=re.DOTALL)
    inner = inner.replace("xlink:href", "href")
    for attribute in ('id="', 'href="#', "url(#"):
        inner = inner.replace(attribute, f"{attribute}{name}-")
    for colour, mark in marks.items():
        variable = "line" if colour == "soft-band" else colour
        inner = inner.replace(mark, f"var(--th-{variable})")
    box = re.search(r'viewBox="([^"]*)"', text)
    return element(
        "svg",
        element("title", description),
        Markup(inner),
        viewBox="0 0 374 223" if box is None else box[1],
        role="img",
        aria_label=description,
        class_="th-plot",
    )
