"""The mail flow rules of organizations that hold messages in quarantine when they arrive, and warnings about them.

Made by `policy.connectors.directory` for one version of the resources, asked by `policy.decisions.quarantine`;
`policy.connectors.lint` has the warnings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors.mail_flow import RuleSet
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.policy.connectors.records import Organization

_WEEKEND: Final = 3  # days in which nobody may look


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


def lint_quarantine(organization: Organization) -> Iterator[str]:
    """Settings of the quarantine that have no effect, or by which messages go before anybody looks."""
    holds = any(hook.enabled and hook.quarantine for hook in organization.content_hooks)
    holds = holds or any(rule.enabled and rule.quarantine for rule in organization.mail_flow_rules)
    if organization.quarantine_digest and not holds:
        yield (
            f"{organization.name}: quarantine_digest has no effect, as nothing is held; write quarantine in a content "
            "hook or a mail flow rule, or leave it out"
        )
    if holds and organization.quarantine_days < _WEEKEND and not organization.quarantine_digest:
        yield (
            f"{organization.name}: the gateway deletes messages in quarantine after "
            f"{quantity(organization.quarantine_days, 'day')}, and tells no mailbox of them, so that a weekend is "
            "enough to lose one; raise quarantine_days, or write quarantine_digest = true"
        )
