"""Decide whether a message is signed or sealed, and by which keys: DKIM (RFC 6376), aligned as DMARC asks (RFC 7489).

Asked by `mail.outbound.dkim` and `mail.outbound.arc` for each message, and by `policy.decisions.explain` beforehand. A
signature says that the domain takes responsibility, so only what its organization is known to have sent gets one: what
its users submitted, what its own servers brought under their certificate or address, and what this gateway wrote
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.policy.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.protocols.message.authors import author_domains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.dkim_key import DkimKey
    from gatepost.policy.connectors.signing_keys import DomainKeys


_MOST_DOMAINS: Final = 5


class Provenance(msgspec.Struct, frozen=True):
    """The origin of a message, and the service that it is signed for.

    organization: the owner. originating: of the organization's own users or servers. submitted: a user logged in to
    send it. own: this gateway wrote it. basis: what identified the server that brought it, as in `Attribution`.
    forwarded: a mailbox sends it on. service: TLS_REPORTS for a TLS report of ours, which keys for them sign if there
    are any, else those for all mail (RFC 8460 section 3).
    """

    organization: str
    originating: bool
    submitted: bool = False
    own: bool = False
    basis: str = ""
    forwarded: bool = False
    service: DkimService = DkimService.ALL


class Signing(msgspec.Struct, frozen=True):
    """keys: all of them sign, each of `organization`; () if it is not signed. why: a clause, why it is or is not."""

    keys: tuple[DkimKey, ...]
    why: str
    organization: str = ""

    @property
    def names(self) -> list[str]:
        """For the trace and for people: "contoso.example/s2026 rsa-sha256"."""
        return [f"{key.domain}/{key.selector} {key.algorithm}" for key in self.keys]


def may_sign(directory: Directory, provenance: Provenance) -> str:
    """Explain why a message is not signed, whatever it contains; "" if that depends on its From field."""
    if provenance.own:
        return "" if directory.signing_keys else "no domain has a current DKIM key"
    if not directory.signing_keys.signs(provenance.organization):
        return f"{provenance.organization or 'nobody'} has no current DKIM key"
    if not provenance.originating:
        return "it does not come from the organization's own users or servers"
    if provenance.basis.endswith("-and-recipient"):
        return "only its recipient identified the server that sent it, which does not prove its author"
    if provenance.forwarded and not provenance.submitted:
        return "a mailbox forwards it, and only its author's domain may sign it"
    return ""


def signing(directory: Directory, provenance: Provenance, values: Sequence[str]) -> Signing:
    """By which keys a message is signed. values: of its From fields, encoded words as they stand there."""
    why = may_sign(directory, provenance)
    if why:
        return Signing((), why)
    if len(values) != 1:
        return Signing((), f"it has {len(values) or 'no'} From fields, and exactly one is needed")
    domains = author_domains(values[0])
    if not domains:
        return Signing((), "its From field names no author that can be read")
    if len(domains) > _MOST_DOMAINS:
        return Signing((), f"its authors are of more than {_MOST_DOMAINS} domains")
    found: dict[str, DomainKeys] = {}
    for domain in domains:
        keys, why = _keys(directory, provenance, domain)
        if keys is None:
            return Signing((), why)
        found[keys.domain] = keys
    names = ", ".join(domains)
    keys_of = tuple(key for domain_keys in found.values() for key in domain_keys.keys)
    return Signing(keys_of, f"its From field names {names}", next(iter(found.values())).organization)


def sealing(directory: Directory, organization: str, domain: str) -> Signing:
    """The key with which an organization seals what it passes on (RFC 8617): the nearest to a domain, else its first.

    Of its RSA keys for all mail: many who verify chains know no other algorithm.
    """
    owner = directory.organization(organization)
    domain_keys = directory.signing_keys.find(domain, organization)
    nearest = domain_keys.keys if domain_keys is not None else ()
    others = sorted(owner.dkim_keys, key=lambda key: key.name) if owner is not None else ()
    key = next((key for key in (*nearest, *others) if _seals(key)), None)
    if key is None:
        return Signing((), f"{organization or 'nobody'} has no current RSA DKIM key")
    return Signing((key,), "it is authenticated when it comes in, and leaves again", organization)


def _seals(key: DkimKey) -> bool:
    is_current = key.state is DkimState.CURRENT and key.service_type is DkimService.ALL
    return is_current and key.algorithm is DkimAlgorithm.RSA_SHA256


def _keys(directory: Directory, provenance: Provenance, domain: str) -> tuple[DomainKeys | None, str]:
    """The keys for one author's domain, or None and why there are none."""
    owner = directory.organization_of(domain)
    if owner is None and provenance.own:
        domain_keys = directory.signing_keys.find_for_gateway(domain, provenance.service)
    else:
        whose = owner.name if owner is not None else provenance.organization
        if whose != provenance.organization and not provenance.own:
            return None, f"its From field names {domain}, which belongs to {whose}"
        domain_keys = directory.signing_keys.find(domain, whose, provenance.service)
    if domain_keys is None:
        return None, f"there is no current DKIM key for {domain}, which its From field names"
    return domain_keys, ""
