"""Columns, labels and tabs of each kind of resource that pages list. Values alone; used by `resources`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.pages.resource_paths import FOLDERS
from gatepost.manage.use_cases.listings import domain_status
from gatepost.manage.use_cases.parts import DOMAIN, HOOK, ISSUER, MAILBOX, RULE
from gatepost.policy.connectors.record_base import keys
from gatepost.policy.connectors.values import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.parts import Part, PartKind


type Cell = Callable[[Part], str]


@dataclass(frozen=True, slots=True)
class KindPage:
    """Texts and columns of a kind on pages.

    cells: heading and text, beside the name. why: what it is for, shown where there is none. tabs: pages beside it.
    first: fields that its form asks for even if they have their default.
    """

    kind: PartKind
    plural: str
    article: str
    why: str
    cells: tuple[tuple[str, Cell], ...]
    tabs: tuple[tuple[str, str], ...] = ()
    first: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The first step of its addresses."""
        return FOLDERS[self.kind.key]

    @property
    def columns(self) -> tuple[str, ...]:
        """Of its CSV: every field."""
        return ("organization", *keys(self.kind.model))

    @property
    def has_status(self) -> bool:
        """Whether one can be disabled."""
        return "enabled" in keys(self.kind.model)


def _field(name: str) -> Cell:
    return lambda part: _text(getattr(part.record, name))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value[:3])) + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return str(value)


def _conditions(part: Part) -> str:
    rule = part.record
    texts = [
        rule.senders and f"from {_text(rule.senders)}",
        rule.recipients and f"to {_text(rule.recipients)}",
        rule.header_name and f"with {rule.header_name}",
        rule.header_contains and f"that contains {_text(rule.header_contains)}",
    ]
    return ", ".join(text for text in texts if text) or "all mail"


def _actions(part: Part) -> str:
    rule = part.record
    texts = [
        rule.route_via_connector and f"route via {rule.route_via_connector}",
        rule.require_tls and "require TLS",
        rule.encrypt != "none" and "encrypt",
        rule.sign != "none" and "sign",
        rule.stop_rule_processing and "stop",
    ]
    return ", ".join(text for text in texts if text) or "nothing"


def _forwarded(part: Part) -> str:
    box = part.record
    also = " and kept" if box.deliver_to_mailbox_and_forward else ""
    return f"{box.forwarding_smtp_address}{also}" if box.forwarding_smtp_address else ""


MAIL_TABS: Final = (
    ("Domains", "/domains"),
    ("Mailboxes", "/mailboxes"),
    ("DKIM keys", "/dkim"),
    ("Organizations", "/organizations"),
)
"""What is beside the pages of domains."""
_RULES: Final = (("Mail flow rules", "/rules"), ("Content hooks", "/hooks"), ("OAuth issuers", "/issuers"))

KIND_PAGES: Final = (
    KindPage(
        DOMAIN,
        "Domains",
        "an",
        "The gateway accepts mail for the accepted domains of its organizations, and refuses mail for all others, "
        "unless "
        "a connector allows relay. A domain that a tenant's administrator adds is pending until its TXT record is "
        "found.",
        (("Type", _field("type")), ("Status", lambda part: domain_status(part.record)), ("MTA-STS", _field("mta_sts"))),
        MAIL_TABS,
        ("type", "mta_sts"),
    ),
    KindPage(
        MAILBOX,
        "Mailboxes",
        "a",
        "A mailbox is a recipient to which this gateway delivers directly.",
        (("Delivery", _field("delivery")), ("Aliases", _field("aliases")), ("Forwards to", _forwarded)),
        MAIL_TABS,
        ("aliases", "delivery", "forwarding_smtp_address"),
    ),
    KindPage(
        RULE,
        "Mail flow rules",
        "a",
        "A mail flow rule routes messages through a connector, or protects them, when they match its conditions.",
        (("Priority", _field("priority")), ("Conditions", _conditions), ("Actions", _actions)),
        _RULES,
        ("enabled", "mode", "senders", "recipients", "header_name", "route_via_connector", "require_tls", "encrypt"),
    ),
    KindPage(
        HOOK,
        "Content hooks",
        "a",
        "A content hook sends mail to a scanner, such as rspamd or ClamAV, before the gateway accepts it.",
        (
            ("Type", _field("type")),
            ("Address", _field("address")),
            ("Direction", _field("direction")),
            ("On failure", _field("on_failure")),
        ),
        _RULES,
        ("enabled", "mode", "direction", "on_failure"),
    ),
    KindPage(
        ISSUER,
        "OAuth issuers",
        "an",
        "Users of an organization's mailboxes can log in to send mail with tokens of its OAuth issuer.",
        (("Issuer", _field("issuer")), ("Audiences", _field("audiences")), ("Claim", _field("username_claim"))),
        _RULES,
        ("enabled", "username_claim", "required_scopes"),
    ),
)


def status_of(part: Part) -> str:
    """Of a part that can be disabled: "enabled", "rehearsal" or "disabled"."""
    if not part.record.enabled:
        return "disabled"
    return "rehearsal" if getattr(part.record, "mode", None) is Mode.REHEARSE else "enabled"
