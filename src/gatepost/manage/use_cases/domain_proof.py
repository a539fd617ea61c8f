"""The TXT record by which an organization proves that a domain is its own, and what is said of domains that lack it.

What the record must say is made of a secret of the organization (`policy.connectors.verification`), which is kept
beside the resources, is in no export, and goes with the organization. Used by `change` and `domain_verification`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.policy.connectors.verification import proof_text, record_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatepost.policy.connectors.records import Organization
    from gatepost.store.changes import ConfigStore


_OCTETS: Final = 32


class DomainProof(NamedTuple):
    """The record of a domain. name: where it stands. text: what it says."""

    name: str
    text: str

    @property
    def zone_line(self) -> str:
        """As it is put into a zone file."""
        return f'{self.name}. IN TXT "{self.text}"'


def domain_proof(store: ConfigStore, organization: str, domain: str) -> DomainProof:
    """The record that an organization publishes for a domain: always the same. Raises StoreFailure."""
    secret = store.content_once(_content_name(organization), lambda: secrets.token_bytes(_OCTETS))
    return DomainProof(record_name(domain), proof_text(secret, domain))


def pending_notes(store: ConfigStore, before: Iterable[Organization], after: Iterable[Organization]) -> Iterator[str]:
    """Next steps for each domain that became pending. Raises StoreFailure."""
    known = {(earlier.name, each.name) for earlier in before for each in earlier.accepted_domains if not each.verified}
    for organization in after:
        for domain in organization.accepted_domains:
            if not domain.verified and (organization.name, domain.name) not in known:
                line = domain_proof(store, organization.name, domain.name).zone_line
                yield (
                    f"{domain.name} is pending, and no mail is taken in for it: put its TXT record into the zone: "
                    f"{line} - then verify it: gatepost domain verify {domain.name}"
                )


def orphaned(wanted: Mapping[str, Any]) -> dict[str, None]:
    """Content to be removed with a change: the secrets of organizations that go. Who gets the name later has others."""
    removed = (name for name, table in wanted.get("organization", {}).items() if table is None)
    return dict.fromkeys(_content_name(name) for name in removed)


def _content_name(organization: str) -> str:
    return f"domain-verification/{organization}"
