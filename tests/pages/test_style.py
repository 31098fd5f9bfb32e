"""Colours: text stands out from what is behind it, in both modes."""

from __future__ import annotations

import re

import pytest

from thresher.pages import cards, plans, report, style


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(c * weight for c, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # as WCAG's examples


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize(("text", "behind"), style.TEXTS)
def test_text_stands_out(mode: str, text: str, behind: str) -> None:
    assert contrast(style.PALETTES[mode][text], style.PALETTES[mode][behind]) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_marks_stand_out(mode: str) -> None:
    colours = style.PALETTES[mode]
    assert contrast(colours["accent"], colours["band"]) >= 3  # a point on its interval
    assert contrast(colours["accent"], colours["bg"]) >= 3
    assert contrast(colours["fg"], colours["band"]) >= 3  # a target on an interval


def test_both_modes_have_the_same_colours_and_rules_name_no_other() -> None:
    assert style.PALETTES["light"].keys() == style.PALETTES["dark"].keys()
    rules = style.sheet(cards.RULES, plans._RULES, report._RULES)
    used = set(re.findall(r"var\(--th-([a-z-]+)\)", rules))
    assert used <= set(style.PALETTES["light"])


def test_every_pair_that_the_rules_make_is_one_that_is_checked() -> None:
    rules = style.sheet(cards.RULES, plans._RULES, report._RULES)
    for rule in re.findall(r"\{([^{}]*)\}", rules):
        text = re.search(r"(?<![-a-z])color:var\(--th-([a-z-]+)\)", rule)
        behind = re.search(r"background:var\(--th-([a-z-]+)\)", rule)
        if text and behind:
            assert (text[1], behind[1]) in style.TEXTS
        elif text:
            assert (text[1], "bg") in style.TEXTS or text[1] == "warn"


@pytest.mark.parametrize(
    "selector",
    [
        "prefers-color-scheme:dark",
        '[data-jp-theme-light="false"]',
        '[data-jp-theme-light="true"]',
        "body.vscode-dark",
        "body.vscode-light",
        "@media print",
    ],
)
def test_notebooks_and_paper_choose_the_mode(selector: str) -> None:
    assert selector in style.sheet()
