"""Convert what the connectors of Exchange Online and of Exchange Server have in common.

Used by `analysis.migration.exchange` and `analysis.migration.exchange_server`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatepost.analysis.migration.exchange_json import ExchangeObject, Unreadable, shown

if TYPE_CHECKING:
    from gatepost.analysis.migration.report import Part

_ADDRESS_SPACE = re.compile(r"(?:smtp:)?([^;]*)(?:;(\d{1,9}))?", re.IGNORECASE | re.ASCII)


def convert_labels(item: ExchangeObject, part: Part) -> None:
    """Convert Enabled and Comment. Raises Unreadable."""
    if not item.switch("Enabled", default=True):
        part.table["enabled"] = False
    if comment := plain(item.text("Comment")):
        part.table["comment"] = comment[:1000]
        if len(comment) > 1000:
            part.differs("Comment", "cut to 1000 characters")


def address_spaces(item: ExchangeObject, part: Part, name: str) -> list[str]:
    """Domains out of address spaces such as "smtp:*.b.example;1"."""
    domains: list[str] = []
    for text in item.texts(name):
        match = _ADDRESS_SPACE.fullmatch(text)
        if match is None:
            raise Unreadable(f"{name} has {shown(text)}, and a form such as smtp:*.b.example;1 is needed")
        domain, cost = match.groups()
        if cost not in {None, "1"}:
            part.differs(name, f"{shown(text)}: the cost has no effect; order connectors by their priority")
        if domain not in domains:
            domains.append(domain)
    return domains


def plain(text: str) -> str:
    """A text on one line and without control characters, as comments here must be."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
