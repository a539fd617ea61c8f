"""The principal of a request and its permissions: roles and scopes, as values. Pure.

A person has a role, for the whole gateway or for some of its organizations; an API token has scopes, likewise. Both
become a `Principal`, which every page and every call is held against. What belongs to another organization is not
forbidden but not there: nobody learns that it exists.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """A permission.

    READ: look at everything of the organizations, but no mail's content. CONNECTORS: change organizations, domains,
    mailboxes, connectors, rules and what else is a resource. CERTIFICATES: change certificates and their course. QUEUE:
    retry, hold, release, return and drop mail, in quarantine too. OWNER: users, tokens, and all of the above.
    """

    READ = "read"
    CONNECTORS = "connectors"
    CERTIFICATES = "certificates"
    QUEUE = "queue"
    OWNER = "owner"


class Role(StrEnum):
    """Role of a person: owner, administrator (all but users and tokens), operator (queue), auditor (reads)."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"


ROLES: dict[Role, frozenset[Scope]] = {
    Role.OWNER: frozenset(Scope),
    Role.ADMINISTRATOR: frozenset(Scope) - {Scope.OWNER},
    Role.OPERATOR: frozenset({Scope.READ, Scope.QUEUE}),
    Role.AUDITOR: frozenset({Scope.READ}),
}


class Principal(msgspec.Struct, frozen=True):
    """A caller and its permissions.

    name: for the history, "ann" or "token backup". organizations: those it sees; None is all of them.
    Certificates, settings, users and tokens belong to the gateway: a principal of some organizations sees none of them.
    """

    name: str
    scopes: frozenset[Scope]
    organizations: frozenset[str] | None = None

    @property
    def is_of_gateway(self) -> bool:
        """Whether it sees the whole gateway."""
        return self.organizations is None

    @property
    def is_person(self) -> bool:
        """Whether it is a user, or an account of the machine, and not a token: their names have no space."""
        return " " not in self.name

    @property
    def share_key(self) -> str:
        """The key by which its use of what all share is counted: all users and tokens of a tenant have the same.

        Counted one by one, three users or tokens of a tenant would have every place. Names of users have no space, and
        those of tokens begin with "token ".
        """
        return self.name if self.organizations is None else f"of {' '.join(sorted(self.organizations))}"

    def sees(self, organization: str) -> bool:
        """Whether the organization is there for it; "" is what belongs to none, such as mail that was refused."""
        return self.organizations is None or organization in self.organizations

    def may(self, scope: Scope, organization: str | None = None) -> bool:
        """Whether it may do that in an organization; None is to the gateway itself."""
        if scope not in self.scopes and Scope.OWNER not in self.scopes:
            return False
        return self.is_of_gateway if organization is None else self.sees(organization)


NOBODY = Principal("", frozenset(), frozenset())
"""Whoever is not known yet: at the log-in."""


def may_reach_private_addresses(principal: Principal) -> bool:
    """Whether checks that this principal starts may connect to private addresses (not of the public internet).

    A check of a partner connects to wherever the partner's DNS says, so the owner of a domain chooses where: open to
    everyone, checks would scan the ports of the gateway's own network. Those who may make connectors for the whole
    gateway could do so anyway; [network] tenants_may_reach says what others may reach.
    """
    return principal.may(Scope.CONNECTORS)
