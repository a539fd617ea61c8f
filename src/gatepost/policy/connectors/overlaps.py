"""Overlaps of accepted domains between organizations, and which of them are refused when resources are saved.

A domain has one organization. `manage.use_cases.change` refuses what would give it two; what an earlier version stored
all the same is decided in `policy.connectors.verification`.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import Claim, covers, parents
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from gatepost.policy.connectors.records import Organization


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
