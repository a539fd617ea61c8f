"""The published certificate table as a feed (Atom, RFC 4287): an entry for each certificate that came into a state.

Used by `pki.certificates.forms`. Ids are tag URIs (RFC 4151) under the gateway's name: they stay what they are wherever
the feed is served from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.published_json import written

if TYPE_CHECKING:
    from gatepost.pki.certificates.published import Event, Table


_NAMESPACE: Final = "http://www.w3.org/2005/Atom"
_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HAPPENED: Final = {
    State.NEXT: "staged: it will be presented",
    State.CURRENT: "current: it is presented",
    State.DEPRECATED: "deprecated: it is not presented any more",
    State.RETIRED: "retired: it will never be presented again",
}


def atom(table: Table, own: str, page: str) -> bytes:
    """The feed. own, page: where itself and the table are to be had, absolute or relative."""
    feed = ET.Element("feed", xmlns=_NAMESPACE)
    base = f"tag:{table.hostname},2026:certificates"
    updated = max((event.at for event in table.events), default=table.changed)
    _text(feed, "id", base)
    _text(feed, "title", f"Certificates of {table.hostname}")
    _text(feed, "updated", _moment(updated))
    _text(_element(feed, "author"), "name", table.hostname)
    _element(feed, "link", rel="self", href=own, type="application/atom+xml")
    _element(feed, "link", rel="alternate", href=page, type="text/html")
    for event in table.events:
        _entry(feed, event, base, page)
    ET.indent(feed)
    text = ET.tostring(feed, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _entry(feed: ET.Element, event: Event, base: str, page: str) -> None:
    entry = _element(feed, "entry")
    moment = _moment(event.at)
    _text(entry, "id", f"{base}/{event.sha256}/{event.state}/{moment}")
    _text(entry, "title", f"{event.name} is {_HAPPENED[event.state].partition(':')[0]}")
    _text(entry, "updated", moment)
    _element(entry, "link", rel="alternate", href=f"{page}#c-{event.sha256[:16]}", type="text/html")
    _element(entry, "category", term=str(event.state))
    _text(entry, "summary", _summary(event))


def _summary(event: Event) -> str:
    before = f" Before, it was {event.before}." if event.before else ""
    ends = written(event.not_after) or "an unknown time"
    return (
        f"The certificate {event.name}, issued by {event.issuer}, valid until {ends}, SHA-256 {event.sha256.upper()}, "
        f"is {_HAPPENED[event.state]}.{before}"
    )


def _moment(seconds: float) -> str:
    return written(seconds) or "1970-01-01T00:00:00Z"


def _element(parent: ET.Element, name: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, name, attributes)


def _text(parent: ET.Element, name: str, text: str) -> None:
    _element(parent, name).text = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
