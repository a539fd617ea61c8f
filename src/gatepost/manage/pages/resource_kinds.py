"""Columns, labels and tabs of each kind of resource that pages list. Values alone; used by `resources`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gatepost.language import _
from gatepost.manage.pages.code_labels import shown_label
from gatepost.manage.pages.resource_paths import FOLDERS
from gatepost.manage.use_cases.name_lookup import DOMAIN, HOOK, ISSUER, MAILBOX, RULE, Part, PartKind, status_of
from gatepost.manage.use_cases.resource_views import domain_status
from gatepost.policy.connectors.record_base import keys
from gatepost.texts import N_, NN_

type Cell = Callable[[Part], str]


@dataclass(frozen=True, slots=True)
class KindPage:
    """Texts and columns of a kind on pages.

    counted: a number of them. add, none, saved: for a button, where there is none, and for one that is new.
    cells: heading and text, beside the name. why: what it is for, shown where there is none. tabs: pages beside it.
    first: fields that its form asks for even if they have their default.
    """

    kind: PartKind
    plural: str
    counted: tuple[str, str]
    add: str
    none: str
    saved: str
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
    def sorts(self) -> dict[str, Cell]:
        """The columns of its list by which rows can be sorted, with the value of each."""
        cells = {column_key(heading): cell for heading, cell in self.cells}
        return (
            {"name": lambda part: part.name}
            | ({"status": lambda part: status_of(part.record)} if self.has_status else {})
            | cells
        )

    @property
    def has_status(self) -> bool:
        """Whether one can be disabled."""
        return "enabled" in keys(self.kind.model)


def column_key(heading: str) -> str:
    """The name of a column in the query of a list, by its English heading."""
    return heading.lower().replace(" ", "-")


def _field(name: str) -> Cell:
    return lambda part: _text(getattr(part.record, name))


def _label(name: str) -> Cell:
    """A field whose values are codes, in words."""
    return lambda part: shown_label(getattr(part.record, name))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value[:3])) + (
            _(" and %(value)s more", value=len(value) - 3) if len(value) > 3 else ""
        )
    return str(value)


def _conditions(part: Part) -> str:
    rule = part.record
    texts = [
        rule.senders and _("from %(text)s", text=_text(rule.senders)),
        rule.recipients and _("to %(text)s", text=_text(rule.recipients)),
        rule.header_name and _("with %(header_name)s", header_name=rule.header_name),
        rule.header_contains and _("that contains %(text)s", text=_text(rule.header_contains)),
    ]
    return ", ".join(text for text in texts if text) or _("all mail")


def _actions(part: Part) -> str:
    rule = part.record
    texts = [
        rule.route_via_connector
        and _("route via %(route_via_connector)s", route_via_connector=rule.route_via_connector),
        rule.require_tls and _("require TLS"),
        rule.encrypt != "none" and _("encrypt"),
        rule.sign != "none" and _("sign"),
        rule.stop_rule_processing and _("stop"),
    ]
    return ", ".join(text for text in texts if text) or _("nothing")


def _forwarded(part: Part) -> str:
    box = part.record
    also = _(" and kept") if box.deliver_to_mailbox_and_forward else ""
    return f"{box.forwarding_smtp_address}{also}" if box.forwarding_smtp_address else ""


MAIL_TABS: Final = (
    (N_("Domains"), "/domains"),
    (N_("Mailboxes"), "/mailboxes"),
    (N_("DKIM keys"), "/dkim"),
    (N_("Organizations"), "/organizations"),
)
"""What is beside the pages of domains."""
_RULES: Final = ((N_("Mail flow rules"), "/rules"), (N_("Content hooks"), "/hooks"), (N_("OAuth issuers"), "/issuers"))

KIND_PAGES: Final = (
    KindPage(
        DOMAIN,
        N_("Domains"),
        NN_("%(num)s domain", "%(num)s domains"),
        N_("Add an accepted domain"),
        N_("No accepted domain yet"),
        N_("The accepted domain"),
        N_(
            "The gateway accepts mail for the accepted domains of its organizations, and refuses mail for all others, "
            "unless "
            "a connector allows relay. A domain that a tenant's administrator adds is pending until its TXT record is "
            "found."
        ),
        (
            (N_("Type"), _label("type")),
            (N_("Status"), lambda part: shown_label(domain_status(part.record))),
            ("MTA-STS", _label("mta_sts")),
        ),
        MAIL_TABS,
        ("type", "mta_sts"),
    ),
    KindPage(
        MAILBOX,
        N_("Mailboxes"),
        NN_("%(num)s mailbox", "%(num)s mailboxes"),
        N_("Add a mailbox"),
        N_("No mailbox yet"),
        N_("The mailbox"),
        N_("A mailbox is a recipient to which this gateway delivers directly."),
        ((N_("Delivery"), _field("delivery")), (N_("Aliases"), _field("aliases")), (N_("Forwards to"), _forwarded)),
        MAIL_TABS,
        ("aliases", "delivery", "forwarding_smtp_address"),
    ),
    KindPage(
        RULE,
        N_("Mail flow rules"),
        NN_("%(num)s mail flow rule", "%(num)s mail flow rules"),
        N_("Add a mail flow rule"),
        N_("No mail flow rule yet"),
        N_("The mail flow rule"),
        N_("A mail flow rule routes messages through a connector, or protects them, when they match its conditions."),
        ((N_("Priority"), _field("priority")), (N_("Conditions"), _conditions), (N_("Actions"), _actions)),
        _RULES,
        ("enabled", "mode", "senders", "recipients", "header_name", "route_via_connector", "require_tls", "encrypt"),
    ),
    KindPage(
        HOOK,
        N_("Content hooks"),
        NN_("%(num)s content hook", "%(num)s content hooks"),
        N_("Add a content hook"),
        N_("No content hook yet"),
        N_("The content hook"),
        N_("A content hook sends mail to a scanner, such as rspamd or ClamAV, before the gateway accepts it."),
        (
            (N_("Type"), _label("type")),
            (N_("Address"), _field("address")),
            (N_("Direction"), _label("direction")),
            (N_("On failure"), _label("on_failure")),
        ),
        _RULES,
        ("enabled", "mode", "direction", "on_failure"),
    ),
    KindPage(
        ISSUER,
        N_("OAuth issuers"),
        NN_("%(num)s OAuth issuer", "%(num)s OAuth issuers"),
        N_("Add an OAuth issuer"),
        N_("No OAuth issuer yet"),
        N_("The OAuth issuer"),
        N_("Users of an organization's mailboxes can log in to send mail with tokens of its OAuth issuer."),
        (
            (N_("Issuer"), _field("issuer")),
            (N_("Audiences"), _field("audiences")),
            (N_("Claim"), _field("username_claim")),
        ),
        _RULES,
        ("enabled", "username_claim", "required_scopes"),
    ),
)
