"""An index of what organizations journal: their own setting, and their mail flow rules with journal_to.

Made by `policy.connectors.directory` for one version of the resources, asked by `policy.decisions.journaling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.mail_flow import Content, RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.connectors.values import JournalDirection, JournalForm


class JournalTarget(msgspec.Struct, frozen=True):
    """Where a copy goes and in which form. rule: the mail flow rule that says so, "" for the organization's setting."""

    address: str
    form: JournalForm
    rule: str = ""


class OrganizationJournal:
    """The journal of one organization: its own setting and its rules.

    author: the From address of its reports, in an accepted domain of its own. failures_to: where copies go that cannot
    be delivered, "" if they wait. header_names: the fields that its rules ask for, in lower case.
    """

    __slots__ = ("_direction", "_form", "_rules", "_to", "author", "failures_to", "header_names", "name")

    def __init__(self, organization: Organization) -> None:
        self.name = organization.name
        self.failures_to = organization.journal_failures_to
        self.author = _author(organization)
        self._to = organization.journal_to
        self._form = organization.journal_form
        self._direction = organization.journal_direction
        by_rule = any(rule.enabled and rule.journal_to for rule in organization.mail_flow_rules)
        self._rules = RuleSet(organization) if by_rule else None
        self.header_names = self._rules.header_names if self._rules is not None else frozenset[str]()

    def __bool__(self) -> bool:
        """Whether it journals anything."""
        return bool(self._to) or self._rules is not None

    def targets(
        self, direction: JournalDirection, reverse_path: str, recipient: str, content: Content
    ) -> Iterator[JournalTarget]:
        """Where copies of a message to a recipient go. direction: of the message for the organization, not ALL."""
        if self._to and self._direction.covers(direction):
            yield JournalTarget(self._to, self._form)
        if self._rules is not None:
            for rule in self._rules.journaling(reverse_path, recipient, content):
                if rule.journal_direction.covers(direction):
                    yield JournalTarget(rule.journal_to, rule.journal_form, rule.name)


def journals(organizations: Iterable[Organization]) -> dict[str, OrganizationJournal] | None:
    """The journals of all organizations by name, None if nobody journals anything."""
    made = (OrganizationJournal(organization) for organization in organizations)
    return {journal.name: journal for journal in made if journal} or None


def _author(organization: Organization) -> str:
    """An address that RFC 5321 section 4.5.1 requires to exist, in the first domain that is one domain."""
    domains = (domain.name for domain in organization.accepted_domains if not domain.name.startswith("*."))
    domain = next(domains, organization.journal_to.rpartition("@")[2] or "localhost")
    return f"postmaster@{domain}"
