"""Decide whether an arriving message is held in quarantine, for which organizations, and for how long.

Asked by `mail.inbound.transaction` when a message is complete. Pure: what scanners found (`policy.decisions.content`)
and the header are parameters. Each organization holds what its own hooks and rules say, and only it, or the gateway's
owner, may release that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.decisions.parties import parties

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.mail_flow import Content


_DAYS = 30  # of an organization that is unknown by now


class Quarantined(NamedTuple):
    """Something that holds a message. by: "content hook 'av'". reason: what was found, "" for a rule."""

    organization: str
    by: str
    reason: str


class Hold(NamedTuple):
    """All that holds a message for one organization. days: how long at most."""

    organization: str
    by: str
    reason: str
    days: int


def quarantined_by_rules(
    directory: Directory, organization: str, envelope: tuple[str, str, str], content: Content
) -> list[Quarantined]:
    """The mail flow rules that hold a message to one recipient, those of its sender's organization first.

    organization: whose mail it is. envelope: reverse-path, the recipient, and the recipient's domain (A-labels).
    """
    sender, recipient, domain = envelope
    held = []
    for name in reversed(parties(directory, organization, domain).rule_owners):
        rules = directory.quarantine_rules.of(name)
        if rules is not None:
            holding = rules.flow(sender, recipient, content).quarantine.enforced
            held += [Quarantined(name, f"mail flow rule {rule!r}", "") for rule in holding]
    return held


def quarantine_sentences(
    directory: Directory, organization: str, envelope: tuple[str, str, str], content: Content
) -> tuple[str, ...]:
    """The same as reasons that `policy.decisions.explain` shows, each with its organization's name. See above."""
    held = quarantined_by_rules(directory, organization, envelope, content)
    return tuple(f"{each.organization} holds it in quarantine, by {each.by}, until it is released" for each in held)


def holds(directory: Directory, findings: Iterable[Quarantined]) -> list[Hold]:
    """One hold for each organization, in the order in which they must release the message."""
    by_organization: dict[str, list[Quarantined]] = {}
    for each in findings:
        by_organization.setdefault(each.organization, []).append(each)
    made = []
    for name, some in by_organization.items():
        organization = directory.organization(name)
        days = organization.quarantine_days if organization is not None else _DAYS
        by, reason = ("; ".join(dict.fromkeys(filter(None, texts))) for texts in list(zip(*some, strict=True))[1:])
        made.append(Hold(name, by, reason, days))
    return made
