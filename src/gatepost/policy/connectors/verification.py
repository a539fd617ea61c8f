"""Decide which accepted domains are in force: those verified, and that no other organization had first.

A domain that a tenant adds is pending until its TXT record proves that it is theirs (`verified` of an accepted domain,
`pend`); it has no effect on mail, nor has a mailbox, alias or DKIM key in it. Of two organizations whose verified
domains overlap, as an earlier version let them be stored, the one that had its domain first keeps it.
`policy.connectors.directory` builds its indexes of `in_force` alone, so that no decision about mail sees anything else.

Overlaps of domains are found here for `manage.use_cases.change`, too, which refuses what would give a domain a second
organization; what an earlier version stored all the same is decided by who had it first.
"""

from __future__ import annotations

import base64
import hmac
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import Claim, covers, domain_pattern, parents
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from gatepost.policy.connectors.records import Mailbox, Organization


class Relation(StrEnum):
    """The way in which an accepted domain overlaps another: the class of a conflict between organizations."""

    EQUALS = "equals"
    COVERS = "covers"
    IS_COVERED_BY = "is covered by"


class Conflict(NamedTuple):
    """Two overlapping domains of two organizations, at least one of them verified. wide: the pattern that covers."""

    narrow: Claim
    wide: Claim


def claims(organizations: Iterable[Organization]) -> list[Claim]:
    """All accepted domains."""
    return [
        Claim(organization.name, each.name, each.verified)
        for organization in organizations
        for each in organization.accepted_domains
    ]


def relation(name: str, other: str) -> Relation | None:
    """Return the relation of a domain or "*.domain" to another; None if no name is in both."""
    if name == other:
        return Relation.EQUALS
    if name.startswith("*.") and covers(name, other.removeprefix("*.")):
        return Relation.COVERS
    if other.startswith("*.") and covers(other, name.removeprefix("*.")):
        return Relation.IS_COVERED_BY
    return None


def conflicts(domain_claims: Sequence[Claim]) -> list[Conflict]:
    """Overlaps between organizations of which one side at least is verified."""
    everybody: dict[str, list[Claim]] = {}
    verified: dict[str, list[Claim]] = {}
    for claim in domain_claims:
        everybody.setdefault(claim.name, []).append(claim)
        if claim.verified:
            verified.setdefault(claim.name, []).append(claim)
    return [
        Conflict(claim, other)
        for claim in domain_claims
        for name in _at_or_over(claim.name)
        # Many may wait for one name: those are never compared with each other.
        for other in (everybody if claim.verified else verified).get(name, ())
        if other.organization != claim.organization
        # Two of one name are found from both sides.
        and (name != claim.name or claim.organization < other.organization)
    ]


def _at_or_over(name: str) -> Iterator[str]:
    """A name, and each pattern that covers it. "*.a.example" and "a.example" overlap; the pattern is over the name."""
    yield name
    for parent in parents(name.removeprefix("*.")):
        if f"*.{parent}" != name:
            yield f"*.{parent}"


def check_together(
    after: Sequence[Claim], before: Sequence[Claim], hidden: Collection[str] = ()
) -> Iterator[FieldError]:
    """Yield errors across organizations: a domain that overlaps another organization's, which is verified.

    after: all domains, those of an organization in their order. before: as they are stored; an overlap that is there
    already is left to `policy.connectors.verification`. A pending domain is no reason against a verified one. hidden:
    organizations that the errors must not name.
    """
    known, old = set(conflicts(before)), set(before)
    counts: Counter[str] = Counter()
    places: dict[tuple[str, str], int] = {}
    for connector in after:
        places[connector.organization, connector.name] = counts[connector.organization]
        counts[connector.organization] += 1
    for conflict in conflicts(after):
        new = [candidate for candidate in conflict if candidate not in old and candidate.organization not in hidden]
        if conflict in known or not new:
            continue
        claim = new[-1]
        other = conflict.wide if claim is conflict.narrow else conflict.narrow
        late = len(new) == 1 and not claim.verified
        if late or (claim.verified and other.verified):
            yield _overlap(claim, other, places[claim[:2]], is_hidden=other.organization in hidden)


def _overlap(claim: Claim, other: Claim, place: int, *, is_hidden: bool) -> FieldError:
    how = relation(claim.name, other.name)
    if how is Relation.EQUALS:
        where = " on this gateway" if is_hidden else f", by organization.{other.organization}"
        text = f"{claim.name} is accepted already{where}"
    else:
        hidden = "a domain that is accepted already on this gateway"
        wide = own(hidden if is_hidden else f"{other.name} of organization.{other.organization}")
        text = f"{claim.name} covers {wide}" if how is Relation.COVERS else f"{claim.name} is covered by {wide}"
    path = f"organization.{claim.organization}.accepted_domain[{place}] {claim.name!r}.name"
    return FieldError(path, f"{own(text)}; a domain belongs to one organization, once")


RECORD_LABEL: Final = "_gatepost"
"""Of the TXT record that proves a domain (RFC 8552): below the domain, where no other record is in the way."""
_PREFIX: Final = "gatepost-verification="
_TOKEN: Final = 32  # characters of base32: 160 bits


class Dispute(msgspec.Struct, frozen=True):
    """A verified domain that does not count, since it overlaps one of another organization.

    other: that one. kept: whether the other organization had its domain first and keeps it; else neither counts.
    """

    claim: Claim
    other: Claim
    kept: bool


class VerificationStatus(msgspec.Struct, frozen=True):
    """The resources in force. organizations: with the domains, mailboxes, aliases and DKIM keys that have an effect."""

    organizations: tuple[Organization, ...]
    disputes: tuple[Dispute, ...]


# ------------------------------------------------------------------------------------------------ what counts


def in_force(organizations: Sequence[Organization], first: Mapping[tuple[str, str], int]) -> VerificationStatus:
    """Reduce organizations to the parts in force. An organization with all its parts in force stays the same object.

    first: the version since which an organization has a domain, by both names; those that it lacks are unknown.
    """
    disputed = disputes(organizations, first)
    lost = {(dispute.claim.organization, dispute.claim.name) for dispute in disputed}
    owners = {
        claim.name: claim.organization
        for claim in claims(organizations)
        if claim.verified and (claim.organization, claim.name) not in lost
    }
    return VerificationStatus(tuple(_counting(organization, owners) for organization in organizations), disputed)


def disputes(organizations: Iterable[Organization], first: Mapping[tuple[str, str], int]) -> tuple[Dispute, ...]:
    """Verified domains that do not count, since another organization's overlaps and was not there later."""
    verified = [claim for claim in claims(organizations) if claim.verified]
    disputed = []
    for conflict in conflicts(verified):
        narrow, other = conflict.narrow, conflict.wide
        since, since_other = (first.get((each.organization, each.name), 0) for each in (narrow, other))
        is_known = bool(since and since_other) and since != since_other
        if not (is_known and since < since_other):
            disputed.append(Dispute(narrow, other, kept=is_known))
        if not (is_known and since > since_other):
            disputed.append(Dispute(other, narrow, kept=is_known))
    return tuple(disputed)


def had_since(history: Iterable[tuple[int, Mapping[str, Any] | None]], name: str) -> int:
    """The version since which an organization has had a verified domain without a break; 0 if it has not.

    history: its versions and its table in each, the newest first.
    """
    since = 0
    for version, table in history:
        domains = (table or {}).get("accepted_domain", ())
        if not any(domain.get("name") == name and domain.get("verified", True) for domain in domains):
            break
        since = version
    return since


def _counting(organization: Organization, owners: Mapping[str, str]) -> Organization:
    """The organization as far as it counts. owners: of the domains that count."""
    mine = organization.name

    def accepts(address: str) -> bool:
        return _owner(owners, address.rpartition("@")[2]) == mine

    domains = tuple(domain for domain in organization.accepted_domains if owners.get(domain.name) == mine)
    mailboxes = tuple(_box(mailbox, accepts) for mailbox in organization.mailboxes if accepts(mailbox.address))
    keys = tuple(dkim_key for dkim_key in organization.dkim_keys if _owner_above(owners, dkim_key.domain) == mine)
    parts = {"accepted_domains": domains, "mailboxes": mailboxes, "dkim_keys": keys}
    changed = {key: value for key, value in parts.items() if value != getattr(organization, key)}
    return organization.model_copy(update=changed) if changed else organization


def _box(mailbox: Mailbox, accepts: Callable[[str], bool]) -> Mailbox:
    aliases = tuple(alias for alias in mailbox.aliases if accepts(alias))
    return mailbox if len(aliases) == len(mailbox.aliases) else mailbox.model_copy(update={"aliases": aliases})


def _owner(owners: Mapping[str, str], domain: str) -> str | None:
    """The organization that has a domain in force."""
    if (owner := owners.get(domain)) is not None:
        return owner
    above = (owners.get(f"*.{parent}") for parent in parents(domain))
    return next((owner for owner in above if owner is not None), None)


def _owner_above(owners: Mapping[str, str], domain: str) -> str | None:
    """The organization that has a domain, or the nearest one above it; its keys may sign for the domain.

    See `policy.connectors.signing_keys`.
    """
    candidates = (_owner(owners, parent) for parent in parents(domain))
    return next((owner for owner in candidates if owner is not None), None)


# ------------------------------------------------------------------------------------------------ pending and proven


def pend(table: Mapping[str, Any], before: Organization | None, proven: Collection[str] = ()) -> list[str]:
    """Make the domains of a tenant's table pending that are new; whatever it says about `verified` does not count.

    table: of the organization, as a document has it; changed in place. before: the organization as it is stored. A
    domain that it had verified stays so, and so is one that such a pattern covers. proven: domains whose TXT record was
    just seen. Returns the names of domains that become pending. What is wrong with the table is left for parsing.
    """
    had = (
        [accepted_domain.name for accepted_domain in before.accepted_domains if accepted_domain.verified]
        if before is not None
        else []
    )
    known = {accepted_domain.name for accepted_domain in before.accepted_domains} if before is not None else set()
    pending = []
    for domain in _domain_tables(table):
        name = _one_form(domain.get("name"))
        if name is None or not isinstance(domain.get("verified", True), bool):
            continue
        if name in proven or name in had or any(relation(text, name) is Relation.COVERS for text in had):
            if not domain.get("verified", True):
                del domain["verified"]
        else:
            domain["verified"] = False
            if name not in known:
                pending.append(name)
    return pending


def top_level(name: str) -> bool:
    """Whether a domain, or what "*." stands before, has one label only."""
    return "." not in name.removeprefix("*.")


def _domain_tables(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    tables = table.get("accepted_domain")
    if isinstance(tables, (list, tuple)):
        yield from (candidate for candidate in tables if isinstance(candidate, dict))


def _one_form(name: object) -> str | None:
    try:
        return domain_pattern(name, every=False) if isinstance(name, str) else None
    except ValueError:
        return None


def record_name(name: str) -> str:
    """The name of the TXT record that proves a domain or "*.domain"."""
    return f"{RECORD_LABEL}.{name.removeprefix('*.')}"


def proof_text(secret: bytes, name: str) -> str:
    """The text that a domain's TXT record must have to prove that it belongs to the organization with this secret.

    It differs for each domain, so that the DNS does not tell which domains belong together.
    """
    digest = hmac.digest(secret, name.removeprefix("*.").encode(), "sha256")
    return _PREFIX + base64.b32encode(digest).decode().lower()[:_TOKEN]
