"""Colours and rules of all that is shown, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping

from thresher.pages.markup import Markup

__all__ = ["PALETTES", "TEXTS", "sheet"]

PALETTES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "bg": "#ffffff",
        "soft": "#f3f5f8",
        "fg": "#1b1f24",
        "muted": "#59636e",
        "line": "#c9d1d9",
        "accent": "#0550ae",
        "band": "#9cc4f2",
        "good": "#116329",
        "bad": "#b3122a",
        "warn": "#4d3000",
        "warn-bg": "#fff4c2",
        "bad-bg": "#ffeaec",
    },
    "dark": {
        "bg": "#161a20",
        "soft": "#20262e",
        "fg": "#e6edf3",
        "muted": "#a3adb8",
        "line": "#444c56",
        "accent": "#79c0ff",
        "band": "#2f5f94",
        "good": "#56d364",
        "bad": "#ff8b83",
        "warn": "#f5d67b",
        "warn-bg": "#3a2e05",
        "bad-bg": "#43181c",
    },
}
"""Values of the variables ``--th-...`` in both modes."""

TEXTS = (
    ("fg", "bg"),
    ("fg", "soft"),
    ("muted", "bg"),
    ("muted", "soft"),
    ("accent", "bg"),
    ("accent", "soft"),
    ("good", "bg"),
    ("good", "soft"),
    ("bad", "bg"),
    ("bad", "soft"),
    ("warn", "warn-bg"),
    ("bad", "bad-bg"),
)
"""Which colour stands on which as text."""

_RULES = """
.thresher{color:var(--th-fg);background:var(--th-bg);font:14px/1.45 system-ui,-apple-system,\
"Segoe UI",Roboto,"DejaVu Sans",sans-serif;text-align:left;max-width:100%;\
padding:6px 8px;border-radius:6px}
.thresher *{box-sizing:border-box}
.thresher .th-rows thead th{white-space:nowrap}
.thresher .th-scroll{overflow-x:auto;max-width:100%}
.thresher table{border-collapse:collapse;border-spacing:0;margin:0;font-size:13px;\
background:var(--th-bg);color:var(--th-fg);border:0}
.thresher th,.thresher td{text-align:left;vertical-align:top;padding:4px 10px;border:0;\
border-bottom:1px solid var(--th-line);background:var(--th-bg);color:var(--th-fg);\
line-height:1.45;white-space:normal;max-width:34em;overflow-wrap:anywhere}
.thresher thead th{background:var(--th-soft);border-bottom:2px solid var(--th-line);\
font-weight:600;vertical-align:bottom}
.thresher tbody th{font-weight:600}
.thresher table.th-rows{border:1px solid var(--th-line)}
.thresher .th-rows td{white-space:pre-wrap}
.thresher .th-rows td.th-number,.thresher th.th-number,.thresher td.th-number{\
font-variant-numeric:tabular-nums;white-space:nowrap}
.thresher.thresher table th,.thresher.thresher table td{text-align:left}
.thresher.thresher table .th-number{text-align:right}
.thresher .th-rows td.th-short{white-space:pre}
.thresher .th-rows td.th-text{min-width:18em}
.thresher .th-type{display:block;font-weight:400;font-size:11px;color:var(--th-muted);\
font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.thresher .th-null{color:var(--th-muted);font-style:italic}
.thresher .th-muted{color:var(--th-muted)}
.thresher .th-more{color:var(--th-muted);font-size:12px;margin:4px 2px 8px}
.thresher .th-thumbnail{max-height:96px;max-width:160px;display:block;margin:0}
.thresher audio{display:block;height:32px;width:240px}
.thresher details>summary{cursor:pointer}
.thresher summary:focus-visible{outline:2px solid var(--th-accent);outline-offset:2px}
.thresher caption{text-align:left;font-weight:600;padding:6px 0 2px;caption-side:top;\
color:var(--th-fg)}
.thresher.thresher code,.thresher.thresher pre{\
font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12.5px;\
color:var(--th-fg);background:var(--th-soft)}
.thresher.thresher pre{padding:10px 12px;border-radius:6px;overflow-x:auto;white-space:pre-wrap;\
overflow-wrap:anywhere;margin:6px 0}
"""


def _variables(mode: str) -> str:
    return "".join(f"--th-{name}:{value};" for name, value in PALETTES[mode].items())


def sheet(*more: str) -> Markup:
    """Return the style element that what is shown brings along.

    Parameters
    ----------
    *more : str
        Rules of the parts that are shown.

    Notes
    -----
    The system says whether it is dark, unless JupyterLab or VS Code say something else. Paper is
    light.
    """
    light, dark = _variables("light"), _variables("dark")
    rules = (
        f".thresher{{{light}color-scheme:light}}"
        f"@media (prefers-color-scheme:dark){{.thresher{{{dark}color-scheme:dark}}}}"
        f'[data-jp-theme-light="true"] .thresher,body.vscode-light .thresher'
        f"{{{light}color-scheme:light}}"
        f'[data-jp-theme-light="false"] .thresher,body.vscode-dark .thresher'
        f"{{{dark}color-scheme:dark}}"
        f"@media print{{.thresher{{{light}color-scheme:light}}}}"
    )
    text = rules + "".join((_RULES, *more)).replace("\n", "")
    return Markup(f"<style>{text}</style>")
