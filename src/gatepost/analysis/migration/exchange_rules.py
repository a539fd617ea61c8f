"""Convert Exchange's transport rules about connectors, TLS and quarantine into mail flow rules.

Called by `analysis.migration.exchange` for each object of Get-TransportRule. A rule is carried over only with all its
conditions and exceptions: without one of them it would take hold of other mail than it was written for.

Journal rules (Get-JournalRule) become mail flow rules with journal_to. Exchange journals mail to and from one
recipient, or all mail; a mail flow rule has senders or recipients, so a rule about one recipient becomes two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gatepost.analysis.migration.exchange_json import ExchangeObject, Unreadable, is_empty, shown
from gatepost.analysis.migration.exchange_properties import METADATA, RULE
from gatepost.analysis.migration.report import Part, unique_name
from gatepost.policy.connectors.names import covers


@dataclass(frozen=True, slots=True)
class Known:
    """The facts that a rule needs from the other objects.

    domains: patterns of accepted domains by their possible names, in lower case. internal: patterns of those inside the
    organization. connectors: names of outbound connectors in lower case, and their names here. unread: accepted domains
    of which it is not known whether they are internal.
    """

    domains: dict[str, str] = field(default_factory=dict)
    internal: list[str] = field(default_factory=list)
    connectors: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


# Two conditions of one column must both hold in Exchange; one list here holds addresses and domains, of which any does.
_CONDITIONS = (
    ("senders", "From", "SenderDomainIs"),
    ("recipients", "SentTo", "RecipientDomainIs"),
    ("except_senders", "ExceptIfFrom", "ExceptIfSenderDomainIs"),
    ("except_recipients", "ExceptIfSentTo", "ExceptIfRecipientDomainIs"),
)

# Beginnings of the names of actions. What begins otherwise is taken for a condition.
_ACTIONS = (
    "add", "apply", "blindcopyto", "copyto", "deletemessage", "disconnect", "generate", "incidentreport", "logevent",
    "moderatemessage", "notify", "prepend", "quarantine", "redirect", "rejectmessage", "remove", "rightsprotect",
    "set", "smtpreject",
)  # fmt: skip
_QUIET = RULE | METADATA
_MOST_PRIORITY = 1000
_INSIDE = {"inorganization": True, "notinorganization": False}


def convert_rule(item: ExchangeObject, part: Part, known: Known) -> None:
    """Fill a part from a transport rule, or refuse it. Raises Unreadable."""
    connector = item.text("RouteMessageOutboundConnector")
    require_tls = item.switch("RouteMessageOutboundRequireTls", default=False)
    quarantine = item.switch("Quarantine", default=False)
    if not (connector or require_tls or quarantine):
        part.refuse(
            "it is about neither connectors, TLS nor quarantine; gatepost has no rules about what is in messages"
        )
        return
    if connector:
        part.table["route_via_connector"] = _connector(connector, known)
    if require_tls:
        part.table["require_tls"] = True
    if quarantine:
        part.table["quarantine"] = True
    _when(item, part, known)
    _order(item, part)
    if comment := " ".join(item.text("Comments").split()):
        part.table["comment"] = "".join(char for char in comment if char.isprintable())[:1000]
    _others(item)


def _connector(name: str, known: Known) -> str:
    if name.lower() not in known.connectors:
        raise Unreadable(
            f"RouteMessageOutboundConnector names {shown(name)}, which is not in these files; Get-OutboundConnector "
            "prints connectors of rules only with -IsTransportRuleScoped $true"
        )
    return known.connectors[name.lower()]


def _when(item: ExchangeObject, part: Part, known: Known) -> None:
    """Conditions and exceptions."""
    for column, by_address, by_domain in _CONDITIONS:
        addresses, domains = item.texts(by_address), item.texts(by_domain)
        if addresses and domains and not column.startswith("except"):
            raise Unreadable(f"{by_address} and {by_domain} must both hold, and a rule here has one list of either")
        if addresses or domains:
            part.table[column] = [*addresses, *domains]
        if domains and column.endswith("senders") and item.text("SenderAddressLocation").lower() != "envelope":
            part.differs(by_domain, "Exchange looks at the From field of the message, here the reverse-path counts")
    _recipient_addresses(item, part, known)
    _header(item, part)
    _scope(item, part, known)  # last: what it refuses is a comment with the other conditions


def _recipient_addresses(item: ExchangeObject, part: Part, known: Known) -> None:
    """Say which address of a recipient counts, where one of the organization's may have several. Raises Unreadable."""
    recipients = [*part.table.get("recipients", ()), *part.table.get("except_recipients", ())]
    inside = any(_is_internal(recipient, known.internal) for recipient in recipients)
    if item.text("RecipientAddressType").lower() == "resolved" and inside:
        part.differs(
            "RecipientAddressType",
            "Exchange resolves a recipient's other addresses first, here the address counts that the mail is sent to: "
            "name those that are meant, too",
        )


def _header(item: ExchangeObject, part: Part) -> None:
    """Convert the condition about a header field; Exchange has one for the subject and one for any other."""
    name, subject = item.text("HeaderContainsMessageHeader"), item.texts("SubjectContainsWords", split=False)
    if name and subject:
        raise Unreadable(
            "SubjectContainsWords and HeaderContainsMessageHeader must both hold; a rule here has one field"
        )
    if subject:
        name = "Subject"
    if not name:
        return
    part.table["header_name"] = name
    if words := subject or item.texts("HeaderContainsWords", split=False):
        part.table["header_contains"] = words
        part.differs(
            "SubjectContainsWords" if subject else "HeaderContainsWords",
            "Exchange looks for whole words, here a part of a word matches, too: the rule can apply to more mail",
        )


def _scope(item: ExchangeObject, part: Part, known: Known) -> None:
    """Convert on which side of the organization sender and recipient are. Raises Unreadable."""
    if inside := _inside(item, "SentTo"):
        _recipients_of_scope(inside, part, _all_internal(inside.name, known))
    if (inside := _inside(item, "From")) is None:
        return
    if not inside.value:
        raise Unreadable(
            f"{inside.name} means senders outside the organization; a rule here can only go by the address, and a "
            "sender who writes one of yours would escape the rule"
        )
    if not _only_outside(part, _all_internal(inside.name, known)):
        raise Unreadable(
            f"{inside.name} means authenticated senders of the organization, which a rule here cannot tell by their "
            "address; it is carried over only if all recipients of the rule are outside (SentToScope NotInOrganization)"
        )
    part.differs(
        inside.name,
        "left out, because only mail of the organization's own leaves to recipients outside; mail from outside that a "
        "mailbox forwards is included",
    )


@dataclass(frozen=True, slots=True)
class _Scope:
    """The property that says it, and whether the rule is about those inside the organization."""

    name: str
    value: bool


def _inside(item: ExchangeObject, side: str) -> _Scope | None:
    """Read the scope of senders ("From") or recipients ("SentTo") or its exception; None without. Raises Unreadable."""
    found: list[_Scope] = []
    for name, exception in ((f"{side}Scope", False), (f"ExceptIf{side}Scope", True)):
        if scope := item.text(name):
            if scope.lower() not in _INSIDE:
                raise Unreadable(
                    f"{name} is {shown(scope)}, and only InOrganization and NotInOrganization can be written here"
                )
            found.append(_Scope(name, _INSIDE[scope.lower()] != exception))
    if len({scope.value for scope in found}) > 1:
        raise Unreadable(f"{side}Scope and ExceptIf{side}Scope exclude each other: the rule never applies")
    return found[0] if found else None


def _all_internal(name: str, known: Known) -> list[str]:
    """Return the patterns of all domains inside the organization. Raises Unreadable if not all are known."""
    if known.unread:
        raise Unreadable(
            f"{name} depends on all accepted domains, and these could not be read: {', '.join(known.unread)}"
        )
    if not known.internal:
        raise Unreadable(f"{name} depends on the accepted domains; add the output of Get-AcceptedDomain")
    return known.internal


def _recipients_of_scope(inside: _Scope, part: Part, internal: list[str]) -> None:
    """Write on which side recipients are. Raises Unreadable."""
    if not inside.value:
        part.table["except_recipients"] = [*part.table.get("except_recipients", ()), *internal]
        part.differs(inside.name, "written as except_recipients: the accepted domains of today; keep them in step")
        return
    if "recipients" not in part.table:
        part.table["recipients"] = list(internal)
        part.differs(inside.name, "written as recipients: the accepted domains of today; keep them in step")
    elif not all(_is_internal(recipient, internal) for recipient in part.table["recipients"]):
        raise Unreadable(
            f"{inside.name} means recipients of the organization, and the rule names others; write those that are meant"
        )


def _only_outside(part: Part, internal: list[str]) -> bool:
    """Whether a rule holds for recipients outside the organization alone."""
    if set(internal) <= set(part.table.get("except_recipients", ())):
        return True
    recipients = part.table.get("recipients", ())
    return bool(recipients) and not any(
        _is_internal(recipient, internal) or (recipient.startswith("*") and _has_internal(recipient, internal))
        for recipient in recipients
    )


def _is_internal(recipient: str, internal: list[str]) -> bool:
    """Whether the recipient, or each one of a pattern of domains, is inside."""
    domain = recipient.rpartition("@")[2].lower()
    patterns = [pattern for pattern in internal if pattern.startswith("*")] if domain.startswith("*") else internal
    return any(covers(pattern, domain.removeprefix("*.")) for pattern in patterns)


def _has_internal(recipient: str, internal: list[str]) -> bool:
    """Whether a pattern of recipients' domains has some that are inside."""
    return any(covers(recipient.lower(), pattern.removeprefix("*.")) for pattern in internal)


def _order(item: ExchangeObject, part: Part) -> None:
    """Convert whether, when and before which others a rule is applied."""
    priority = item.number("Priority")
    part.table["priority"] = min(max(priority, 0), _MOST_PRIORITY)
    if priority != part.table["priority"]:
        part.differs("Priority", f"{priority} is written as {_MOST_PRIORITY}; rules of one priority go by their names")
    if item.text("State").lower() == "disabled":
        part.table["enabled"] = False
    if item.choice("Mode", {"Enforce": "", "Audit": "rehearse", "AuditAndNotify": "rehearse"}):
        part.table["mode"] = "rehearse"
    if item.switch("StopRuleProcessing", default=False):
        part.table["stop_rule_processing"] = True


def _others(item: ExchangeObject) -> None:
    """Refuse a rule with conditions that cannot be converted.

    `analysis.migration.exchange` reports its other actions.
    """
    for key, value in item.properties.items():
        if key not in _QUIET and not is_empty(value) and not key.startswith(_ACTIONS):
            raise Unreadable(
                f"{item.spelled.get(key, key)} is {shown(value)}, a condition that a rule here cannot have; without it "
                "the rule would hold for other mail too"
            )


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
    if not is_empty(date := item.properties.get("expirydate")):
        part.refuse(
            f"ExpiryDate is {shown(date)}, and a rule here has no end: where that is still to come, write the rule and "
            "disable it on that day"
        )
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
