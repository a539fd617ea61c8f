"""The mail flow rules of organizations that hold messages in quarantine when they arrive.

Made by `policy.connectors.directory` for one version of the resources, asked by `policy.decisions.quarantine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.mail_flow import RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.records import Organization


class QuarantineRules:
    """All rules of those organizations that have an enabled rule with quarantine: one before it may stop it.

    header_names: the fields of a message, in lower case, that they ask for.
    """

    __slots__ = ("_rules", "header_names")

    def __init__(self, organizations: Iterable[Organization]) -> None:
        self._rules = {
            organization.name: RuleSet(organization)
            for organization in organizations
            if any(rule.enabled and rule.quarantine for rule in organization.mail_flow_rules)
        }
        self.header_names = frozenset[str]().union(*(rules.header_names for rules in self._rules.values()))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._rules)

    def of(self, organization: str) -> RuleSet | None:
        """The rules of an organization, None if none of them holds messages."""
        return self._rules.get(organization)
