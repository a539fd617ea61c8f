"""One palette: every colour of pages, files and charts is a token of gatepost.css, and can be read in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gatepost
from gatepost.analysis.reports.tls import Protection
from gatepost.manage.pages.report_charts import PROTECTIONS
from gatepost.manage.pages.svg import colours, light_colours

SOURCE = Path(gatepost.__file__).parent
STATIC = SOURCE / "manage/pages/static"
STYLE = (STATIC / "gatepost.css").read_text()
LITERAL = re.compile(
    r"(?<![\w&/(\"'])#(?:[0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3,4})\b|(?<=[\"'(])#[0-9a-f]{6}\b", re.IGNORECASE
)
FUNCTION = re.compile(r"\b(?:rgba?|hsla?|hwb|lab|lch|oklab|oklch)\(")
STATES = ["pass", "info", "warn", "fail", "unknown"]
TONES = ["pass", "pass-deep", "pass-pale", "info", "accent", "unknown", "warn", "fail", "soft"]
KNOWN = {colour for pair in colours().values() for colour in pair} | {"#000000"}  # ink of a printer
READ = [
    *((text, ground) for text in ("text", "soft") for ground in ("ground", "card", "raised")),
    *((text, ground) for text in ("accent", "accent-strong", *STATES) for ground in ("ground", "card")),
    *((state, f"{state}-ground") for state in STATES),
    ("accent-strong", "accent-ground"), ("on-accent", "accent"), ("on-danger", "danger"), ("danger", "card"),
    ("on-brand", "brand"),
]  # fmt: skip
SEEN = [*((tone, "card") for tone in TONES), ("edge", "card"), ("edge", "ground")]


def sources():
    for file in sorted(SOURCE.rglob("*")):
        if file.suffix in {".py", ".html", ".css", ".js", ".svg"} and "vendor" not in file.parts:
            yield file


def luminance(colour):
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first, second):
    """WCAG 2.2: 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("one", "other", "least"), [(*pair, 4.5) for pair in READ] + [(*pair, 3) for pair in SEEN])
def test_colours_can_be_told_apart_in_both_themes(one, other, least):
    for theme in (0, 1):
        assert contrast(colours()[one][theme], colours()[other][theme]) >= least, ("light", "dark")[theme]


def test_kinds_of_verified_mail_can_be_told_apart():
    for theme in (0, 1):
        deep, middle, pale = (colours()[tone][theme] for tone in ("pass-deep", "pass", "pass-pale"))
        assert contrast(deep, middle) >= 1.3
        assert contrast(middle, pale) >= 1.3


@pytest.mark.parametrize(
    ("protection", "badge", "heat"),
    [
        ("dane", "pass", 1),
        ("mta-sts", "pass", 1),
        ("verified", "pass", 1),
        ("encrypted", "info", 2),
        ("cleartext", "fail", 4),
    ],
)
def test_a_protection_has_one_colour_in_charts_badges_and_heat_maps(protection, badge, heat):
    tone = PROTECTIONS[Protection(protection)][1]
    assert tone.partition("-")[0] == badge
    macros = (SOURCE / "manage/pages/templates/macros.html").read_text()
    assert re.search(rf'"{protection}": \("(\w+)"', macros).group(1) == badge
    assert re.search(rf"\.h{heat} \{{ background: var\(--(\w+)", STYLE).group(1) == badge


def test_no_colour_is_of_another_palette():
    found = {
        f"{file.relative_to(SOURCE)}: {colour}"
        for file in sources()
        for colour in LITERAL.findall(file.read_text())
        if colour.lower() not in KNOWN
        and not colour[1:].isdecimal()  # "#1234" of an issue
        and not (file.name == "favicon.svg" and colour == "#fff")
    }
    assert not found


def test_only_tokens_of_the_style_have_colours():
    """Rules name a token; light, dark and paper change tokens alone."""
    rules = re.sub(r"--[a-z-]+:[^;}]*", "", re.sub(r"/\*.*?\*/", "", STYLE, flags=re.DOTALL))
    assert not LITERAL.findall(re.sub(r"\[[^\]]*\]", "", rules).replace("#fullest", "")), "a colour in a rule"
    assert not FUNCTION.findall(rules)
    for file in sources():
        if file.parts[-2] == "static" and file.suffix == ".js":
            assert not FUNCTION.findall(file.read_text()), file.name


def test_each_tone_of_a_chart_is_a_token_everywhere():
    assert sorted(re.findall(r"\.tone-([a-z-]+) \{ fill: var\(--\1\); \}", STYLE)) == sorted(TONES)
    assert STYLE.count(".tone-") == len(TONES), "print has no tones of its own"


def test_the_icon_has_the_colour_of_the_brand():
    assert light_colours()["brand"] in (STATIC / "favicon.svg").read_text()
