"""Export evidence as a PDF for auditors: summary, entries, and how to verify them.

Called by `manage.use_cases.evidence_export`, which imports it only when a PDF is asked for:
reportlab is an optional dependency. It proves nothing by itself; it names the JSON that does. Text of peers is shown
with the letters that the font has, and what it has not as U+XXXX.
"""

from __future__ import annotations

import time
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from gatepost.analysis.reports.evidence_export import Selection, Summary
from gatepost.quantity import quantity
from gatepost.times import day_text, minute_text, second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gatepost.events.evidence.heads import DayHead
    from gatepost.events.evidence.proof import Segment


_MOST_ROWS: Final = 5000
_MOST_HEADS: Final = 400
_PAGE: Final = landscape(A4)
_MARGIN: Final = 15 * mm
_PADDING: Final = 6  # of reportlab's frames
_WIDTH: Final = _PAGE[0] - 2 * (_MARGIN + _PADDING)
_INK: Final = colors.HexColor("#1a2330")
_PALE: Final = colors.HexColor("#eef1f5")
_RULE: Final = colors.HexColor("#d5dae1")
_COLOURS: Final = {"authenticated": "#17692f", "encrypted": "#7a4b00", "clear": "#a4161a"}
_WORDS: Final = {"authenticated": "encrypted, peer authenticated", "encrypted": "encrypted", "clear": "unencrypted"}
_LEVELS: Final = ("authenticated", "encrypted", "clear")
_FONTS: Final = (
    ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"),
    ("/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf", "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans-Bold.ttf"),
    ("Vera.ttf", "VeraBd.ttf"),  # reportlab brings it
)


class Log(NamedTuple):
    """Of which the entries are. node: the gateway. keys: ids of those that signed it. heads: of days, oldest first."""

    node: str
    keys: Sequence[str]
    heads: Iterable[DayHead]


def write_pdf(
    out: IO[bytes], log: Log, selection: Selection, chosen: Iterable[Segment], *, proof: tuple[str, str] = ("", "")
) -> Summary:
    """Write the document. proof: name and SHA-256 of the JSON, if it was written. Raises OSError."""
    print_ = _Printer(*_fonts())
    summary = Summary()
    rows: list[list[Paragraph]] = []
    for segment in chosen:
        summary.take(segment)
        rows += [_row(print_, segment.writer, body) for _, body in segment.chosen[: _MOST_ROWS - len(rows)]]
    made = minute_text(time.time())
    story = [
        *_title(print_, selection, log.node, made),
        *_summary(print_, summary),
        *_entries(print_, rows, summary.entries),
        *_verification(print_, log, selection, proof),
    ]
    document = SimpleDocTemplate(
        out,
        pagesize=_PAGE,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=18 * mm,
        title="Evidence of how mail was protected",
        author=print_.plain(log.node),
    )
    footer = print_.plain(f"{log.node} · evidence of how mail was protected · made {made}")
    document.build(story, canvasmaker=partial(_Numbered, footer=footer, font=print_.regular))
    return summary


class _Printer:
    """Paragraphs in the fonts that there are."""

    def __init__(self, regular: str, bold: str) -> None:
        self.regular, self.bold = regular, bold
        self._glyphs = pdfmetrics.getFont(regular).face.charToGlyph
        body = ParagraphStyle("body", fontName=regular, fontSize=9, leading=12.5, textColor=_INK)
        self._styles = {
            "body": body,
            "cell": ParagraphStyle("cell", body, fontSize=6.8, leading=8.6, splitLongWords=1),
            "name": ParagraphStyle("name", body, fontName=bold, fontSize=6.8, leading=8.6, textColor=colors.white),
            "label": ParagraphStyle("label", body, fontName=bold),
            "verdict": ParagraphStyle("verdict", body, fontName=bold, spaceAfter=4),
            "title": ParagraphStyle("title", body, fontName=bold, fontSize=20, leading=26),
            "part": ParagraphStyle(
                "part", body, fontName=bold, fontSize=12.5, leading=18, spaceBefore=12, spaceAfter=4
            ),
        }

    def plain(self, text: object) -> str:
        """Text in letters that the font has; others by their number, controls as "?"."""
        return "".join(self._letter(character) for character in str(text))

    def _letter(self, one: str) -> str:
        if not one.isprintable():
            return "?"
        return one if ord(one) in self._glyphs else f"U+{ord(one):04X}"

    def __call__(self, text: object, style: str = "body", *, colour: str = "") -> Paragraph:
        shown = escape(self.plain(text))
        if colour:
            shown = f'<font color="{colour}">{shown}</font>'
        return Paragraph(shown, self._styles[style])

    def table(self, names: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[float]) -> Table:
        """A table whose head is repeated on each page. widths: shares of the page's width."""
        total = sum(widths)
        cells = [[self(name, "name") for name in names]]
        cells += [[cell if isinstance(cell, Paragraph) else self(cell, "cell") for cell in row] for row in rows]
        return Table(cells, [_WIDTH * width / total for width in widths], repeatRows=1, style=_TABLE)


_TABLE: Final = TableStyle(
    [
        ("BACKGROUND", (0, 0), (-1, 0), _INK),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, _PALE]),
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, _RULE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3.5),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3.5),
        ("TOPPADDING", (0, 0), (-1, -1), 2.2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.8),
    ]
)
_FACTS: Final = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
    ]
)


class _Numbered(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Pages with "page n of m", which is known only at the end."""

    def __init__(self, *args: Any, footer: str, font: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._footer, self._font = footer, font
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        """Keep the page for later."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Number and write all pages."""
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            self.setFont(self._font, 7)
            self.setFillColor(colors.HexColor("#515c6b"))
            self.drawString(_MARGIN + _PADDING, 10 * mm, self._footer)
            self.drawRightString(_PAGE[0] - _MARGIN - _PADDING, 10 * mm, f"page {number} of {len(self._pages)}")
            super().showPage()
        super().save()


def _fonts() -> tuple[str, str]:
    for regular, bold in _FONTS:
        try:
            pdfmetrics.registerFont(TTFont("Evidence", regular))
            pdfmetrics.registerFont(TTFont("Evidence-Bold", bold))
        except (TTFError, OSError):
            continue
        return "Evidence", "Evidence-Bold"
    raise OSError(0, "reportlab has lost its own font", "Vera.ttf")


def _facts(print_: _Printer, facts: Mapping[str, str]) -> Table:
    rows = [[print_(name, "label"), print_(value)] for name, value in facts.items() if value]
    return Table(rows, [46 * mm, _WIDTH - 46 * mm], style=_FACTS)


def _title(print_: _Printer, selection: Selection, node: str, made: str) -> list[Any]:
    since = _moment(selection.since) or "the beginning"
    until = _moment(selection.until) or "when it was made"
    facts = {
        "Partner": selection.partner,
        "Domain": selection.domain,
        "Organization": selection.organization,
        "Message": selection.message,
        "Address": selection.address,
        "Period": f"{since} to {until}",
        "Gateway": node,
        "Made": made,
    }
    return [print_("Evidence of how mail was protected", "title"), Spacer(1, 3 * mm), _facts(print_, facts)]


def _moment(at: float) -> str:
    return second_text(at) if at else ""


def _summary(print_: _Printer, summary: Summary) -> list[Any]:
    hops = sum(summary.hops.values())
    clear = sum(count for (_, level), count in summary.hops.items() if level not in {"authenticated", "encrypted"})
    verdict = "No message was transferred."
    if hops:
        verdict = f"{hops - clear} of {hops} transfers were encrypted; " + (
            f"{clear} went unencrypted." if clear else "none went unencrypted."
        )
    others = ", ".join(
        f"{_EVENTS.get(name, name)}: {count}"
        for name, count in sorted(summary.events.items())
        if name not in {"RECEIVE", "SEND"}
    )
    facts = {
        "Messages": str(len(summary.messages)),
        "Entries": f"{summary.entries:,}, one for each recipient and event",
        "First and last": f"{summary.first[:19].replace('T', ' ')} to {summary.last[:19].replace('T', ' ')} UTC",
        "TLS versions": ", ".join(f"{name} {count}" for name, count in sorted(summary.versions.items())),
        "Other events": others,
        "Not yet signed": quantity(summary.unsigned, "entry", "entries") if summary.unsigned else "",
    }
    part: list[Any] = [print_("Summary", "part")]
    part.append(print_(verdict, "verdict", colour=_COLOURS["clear"] if clear else _COLOURS["authenticated"]))
    part.append(_facts(print_, {name: value for name, value in facts.items() if summary.entries or name == "Entries"}))
    if hops:
        part += [Spacer(1, 3 * mm), _protection(print_, summary)]
    if summary.requirements:
        rows = [
            (way, connector or "none", requirement, count)
            for (way, connector, requirement), count in sorted(summary.requirements.items())
        ]
        part += [
            print_("What was required", "part"),
            print_.table(("direction", "connector", "requirement", "transfers"), rows, (2, 4, 8, 2)),
        ]
    return part


_EVENTS: Final = {
    "DELIVER": "delivered to mailboxes here",
    "DEFER": "attempts deferred",
    "FAIL": "returned",
    "EXPIRE": "expired",
    "REFUSE": "refused",
    "HOLD": "held",
    "QUARANTINE": "held in quarantine",
    "RELEASE": "released by an administrator",
    "RETURN": "returned by an administrator",
    "DROP": "dropped by an administrator",
    "DRILL": "drills",
}


def _protection(print_: _Printer, summary: Summary) -> Table:
    rows = []
    for way in ("received", "sent"):
        total = sum(count for (text, _), count in summary.hops.items() if text == way)
        counts = [summary.hops[way, level] for level in _LEVELS]
        if total:
            rows.append((way, *(f"{count} ({100 * count / total:.1f} %)" for count in counts), total))
    return print_.table(("direction", *(_WORDS[level] for level in _LEVELS), "transfers"), rows, (2, 4, 4, 4, 2))


def _row(print_: _Printer, writer: str, body: Mapping[str, Any]) -> list[Paragraph]:
    row, colour = {**body, "writer": writer}, _COLOURS.get(str(body.get("protection", "")), "")
    return [
        print_(value(row), "cell", colour=colour if title == "protection" else "") for title, _width, value in _COLUMNS
    ]


def _tls(body: Mapping[str, Any]) -> str:
    tls = body.get("tls")
    return f"{tls.get('version', '')} {tls.get('group', '')}".strip() if isinstance(tls, dict) else ""


def _certificate(body: Mapping[str, Any]) -> str:
    certificate = body.get("certificate")
    if not isinstance(certificate, dict):
        return ""
    names = ", ".join(map(str, certificate.get("names", [])[:2])) or certificate.get("subject", "")
    by_connector = str(body.get("basis", "")).startswith("certificate")  # its trust anchors judged the chain
    chain = "trusted" if by_connector else body.get("chain", "")
    return f"{chain}: {names}; SHA-256 {str(certificate.get('sha256', ''))[:16]}…"


_COLUMNS: Final[tuple[tuple[str, int, Callable[[Mapping[str, Any]], object]], ...]] = (
    ("time (UTC)", 17, lambda body: str(body.get("time", ""))[:19].replace("T", " ")),
    ("event", 13, lambda body: body.get("event", "")),
    ("from", 20, lambda body: body.get("sender", body.get("sender_domain", "<>" if body.get("message") else ""))),
    ("to", 20, lambda body: body.get("recipient", body.get("recipient_domain", ""))),
    ("connector", 14, lambda body: body.get("connector", "")),
    ("required", 22, lambda body: body.get("requirement", "")),
    ("protection", 17, lambda body: body.get("protection", "")),
    ("TLS", 21, _tls),
    ("certificate of the peer", 31, _certificate),
    ("reply", 13, lambda body: str(body.get("reply", ""))[:40]),
    ("entry", 11, lambda body: f"{body['writer']}/{body.get('number', '')}"),
)
"""Title, width and value of each column of the entries."""


def _entries(print_: _Printer, rows: list[list[Paragraph]], total: int) -> list[Any]:
    if not rows:
        return []
    part: list[Any] = [print_("Entries", "part")]
    if total > len(rows):
        part.append(
            print_(f"The first {len(rows):,} of {quantity(total, 'entry', 'entries')}; the JSON has all of them.")
        )
    titles, widths, _values = zip(*_COLUMNS, strict=True)
    return [*part, print_.table(titles, rows, widths)]


_STEPS: Final = (
    (
        "Verify it on any machine, with the public key that you were given before: gatepost evidence verify FILE.json "
        "--key KEY.pem. docs/evidence.md has the format, and a verifier of a page that needs no gatepost."
    ),
    (
        "The last column is the writer and the number of the entry in the log. Each entry's hash covers all entries "
        "before it; every five minutes and at the end of each day the gateway signs where its chains stand."
    ),
    (
        "This shows that these entries were logged, and not changed since. That no other entry belongs to the choice "
        "can be shown only by the whole log. Who had the signing key and all copies could have written a log anew: the "
        "daily heads, noted elsewhere in time, exclude that."
    ),
)


def _verification(print_: _Printer, log: Log, selection: Selection, proof: tuple[str, str]) -> list[Any]:
    name, sha256 = proof
    first = (
        f"The proof is the file {name} with SHA-256 {sha256}."
        if name
        else "The proof of these entries is the same export as JSON: gatepost evidence export … --format json."
    )
    steps = [first, *_STEPS]
    part: list[Any] = [print_("How to verify this", "part")]
    part += [print_(f"{number}. {step}") for number, step in enumerate(steps, 1)]
    part += [Spacer(1, 2 * mm), _facts(print_, {"Signed by (SHA-256)": ", ".join(log.keys) or "no key yet"})]
    heads = _heads(log, selection)
    story: list[Any] = [KeepTogether(part)]
    if heads:
        story += [print_("Daily heads", "part"), print_.table(("day", "head (SHA-256)", "entries"), heads, (2, 8, 6))]
    return story


def _heads(log: Log, selection: Selection) -> list[tuple[str, str, str]]:
    first = day_text(selection.since) if selection.since else ""
    last = day_text(selection.until) if selection.until else "9999"
    days = [head for head in log.heads if first <= head.day <= last]
    return [
        (day.day, day.hash, ", ".join(f"writer {name} up to {end.number}" for name, end in sorted(day.writers.items())))
        for day in days[-_MOST_HEADS:]
    ]
