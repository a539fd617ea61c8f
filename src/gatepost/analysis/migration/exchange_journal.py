"""Convert Exchange's journal rules (Get-JournalRule) into mail flow rules with journal_to.

Called by `analysis.migration.exchange`. Exchange journals mail to and from one recipient, or all mail; a mail flow rule
has senders or recipients, so a rule about one recipient becomes two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.analysis.migration.exchange_json import Unreadable, shown
from gatepost.analysis.migration.report import Part, unique_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.migration.exchange_json import ExchangeObject
    from gatepost.analysis.migration.exchange_rules import Known


_SCOPES = {"Global": "all", "Internal": "internal", "External": "external"}


def convert_journal(item: ExchangeObject, part: Part, _known: Known) -> None:
    """Fill a part from a journal rule; if it is about a recipient, with what is sent to that. Raises Unreadable."""
    part.table["journal_to"] = _address(item, "JournalEmailAddress")
    if scope := item.choice("Scope", _SCOPES):
        part.table["journal_direction"] = scope
    if item.text("Recipient"):
        part.table["recipients"] = [_address(item, "Recipient")]
    if not item.switch("Enabled", default=True):
        part.table["enabled"] = False
    if item.switch("LawfulInterception", default=False):
        part.differs("LawfulInterception", "nothing here hides a rule from other administrators of the organization")


def journals_of_senders(parts: Sequence[Part], taken: dict[str, dict[str, int]]) -> list[Part]:
    """The second halves of journal rules about one recipient. taken: names, by the kind of resource."""
    halves = []
    for part in parts:
        if "journal_to" in part.table and (table := of_sender(part)) is not None:
            name = unique_name(f"{part.table['name']} (sent)", taken.setdefault("mail_flow_rule", {}))
            halves.append(Part("mail_flow_rule", f"mail flow rule {name!r}", {**table, "name": name}))
    return halves


def of_sender(part: Part) -> dict[str, object] | None:
    """The other half of a rule about a recipient: what it sends. None if there is none."""
    if part.refused or "recipients" not in part.table:
        return None
    return {
        **{key: value for key, value in part.table.items() if key != "recipients"},
        "senders": part.table["recipients"],
    }


def _address(item: ExchangeObject, name: str) -> str:
    text = item.text(name).strip()
    address = text[5:] if text.lower().startswith("smtp:") else text
    if "@" not in address:
        raise Unreadable(f"{name} is {shown(text)}, and a mail address is needed; print its PrimarySmtpAddress instead")
    return address
