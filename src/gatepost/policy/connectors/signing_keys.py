"""Find the DKIM keys that sign mail of a domain, and check a set of keys.

The rules are asked by `policy.connectors.rules` when resources are parsed, the index is a part of
`policy.connectors.directory`, read by `policy.decisions.signing`. Public halves only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.connectors.names import covers, parents
from gatepost.policy.connectors.values import DkimService, DkimState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatepost.policy.connectors.dkim_key import DkimKey
    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.reader import OrganizationDraft
    from gatepost.policy.connectors.records import Organization


class DomainKeys(NamedTuple):
    """The current keys of one domain, and whose they are."""

    organization: str
    domain: str
    keys: tuple[DkimKey, ...]


class SigningKeys:
    """The current keys of all organizations, each apart: two may have a key for one domain."""

    __slots__ = ("_by_domain", "_organizations")

    def __init__(self, organizations: Iterable[Organization]) -> None:
        self._by_domain: dict[tuple[str, DkimService], dict[str, DomainKeys]] = {}
        self._organizations: set[str] = set()
        for organization in organizations:
            for key in organization.dkim_keys:
                if key.state is DkimState.CURRENT:
                    self._organizations.add(organization.name)
                    self._add(organization.name, key)

    def __bool__(self) -> bool:
        return bool(self._by_domain)

    def signs(self, organization: str) -> bool:
        """Whether an organization has a current key at all."""
        return organization in self._organizations

    def find(self, domain: str, owner: str, service: DkimService = DkimService.ALL) -> DomainKeys | None:
        """The keys that an organization has for a domain, else for the nearest one above it; None if it has none.

        owner: the organization's name; "" is nobody, who has none. service: mail, or TLS reports, for which keys of
        their own go before those that sign all mail.
        """
        return next((known[owner] for known in self._nearest(domain, service) if owner in known), None)

    def find_for_gateway(self, domain: str, service: DkimService = DkimService.ALL) -> DomainKeys | None:
        """As `find`, whoever has them: only for what the gateway wrote itself, in a domain that is nobody's.

        That is its own name, which may lie below the domain of an organization.
        """
        return next((next(iter(known.values())) for known in self._nearest(domain, service)), None)

    def _nearest(self, domain: str, service: DkimService) -> Iterator[dict[str, DomainKeys]]:
        """Keys for a domain by organization, then for those above it."""
        for parent in parents(domain):
            for wanted in dict.fromkeys((service, DkimService.ALL)):
                if known := self._by_domain.get((parent, wanted)):
                    yield known

    def _add(self, organization: str, key: DkimKey) -> None:
        place = self._by_domain.setdefault((key.domain, key.service_type), {})
        known = place.get(organization, DomainKeys(organization, key.domain, ()))
        place[organization] = known._replace(keys=(*known.keys, key))


def check_keys(draft: OrganizationDraft) -> Iterator[FieldError]:
    """Keys for domains of others, and two that would sign the same with the same algorithm."""
    accepted = [domain.value.name for domain in draft.domains if "name" not in domain.bad]
    current: dict[tuple[str, str, str], str] = {}
    for key in draft.dkim:
        domain = key.value.domain
        if not _accepted(accepted, domain):
            yield key.error("name", _NOT_ACCEPTED.format(domain, draft.own.path))
        if key.value.state is DkimState.CURRENT and not key.bad & {"state", "algorithm", "service_type"}:
            yield from _second(key, current)


def _accepted(accepted: Sequence[str], domain: str) -> bool:
    return any(covers(pattern, domain) or pattern in parents(domain) for pattern in accepted)


def _second(draft: Draft[DkimKey], current: dict[tuple[str, str, str], str]) -> Iterator[FieldError]:
    key = draft.value
    known = current.setdefault((key.domain, key.algorithm, key.service_type), key.name)
    if known != key.name:
        yield draft.error(
            "state",
            f"{known} is the current {key.algorithm} key of {key.domain} already; retire that one, or leave this one "
            "at next (`gatepost dkim rotate` does both at once)",
        )


_NOT_ACCEPTED = (
    "{0} is not an accepted domain of the organization, nor below one; add it under [[{1}.accepted_domain]], or "
    "correct it"
)
