"""Which accepted domains of two organizations overlap, and when that is refused."""

from __future__ import annotations

import pytest

from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import Claim
from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.verification import Conflict, Relation, check_together, claims, conflicts, relation


def organizations(**domains: list[str]) -> tuple[Organization, ...]:
    """Organizations with these domains; one with "?" before it is pending."""
    document = {
        name: {
            "accepted_domain": [
                {
                    "name": one.removeprefix("?"),
                    "type": "internal-relay",
                    **({"verified": False} if one.startswith("?") else {}),
                }
                for one in found
            ]
        }
        for name, found in domains.items()
    }
    return parse({"organization": document}).organizations


@pytest.mark.parametrize(
    ("name", "other", "found"),
    [
        ("b.example", "b.example", Relation.EQUALS),
        ("*.b.example", "*.b.example", Relation.EQUALS),
        ("*.b.example", "b.example", Relation.COVERS),
        ("*.b.example", "x.y.b.example", Relation.COVERS),
        ("*.b.example", "*.x.b.example", Relation.COVERS),
        ("b.example", "*.b.example", Relation.IS_COVERED_BY),
        ("x.b.example", "*.b.example", Relation.IS_COVERED_BY),
        ("*.x.b.example", "*.b.example", Relation.IS_COVERED_BY),
        ("b.example", "x.b.example", None),
        ("x.b.example", "b.example", None),
        ("*.b.example", "xb.example", None),
        ("*.xb.example", "*.b.example", None),
        ("a.example", "b.example", None),
    ],
)
def test_how_a_domain_overlaps_another(name: str, other: str, found: Relation | None) -> None:
    assert relation(name, other) is found


def test_overlaps_are_found_once_and_between_organizations_alone() -> None:
    found = conflicts(
        claims(
            organizations(
                a=["a.example", "*.a.example", "*.b.example"], b=["b.example", "same.example"], c=["same.example"]
            )
        )
    )
    assert found == [
        Conflict(Claim("b", "b.example"), Claim("a", "*.b.example")),
        Conflict(Claim("b", "same.example"), Claim("c", "same.example")),
    ]


def test_two_pending_domains_do_not_conflict() -> None:
    waiting = organizations(a=["?b.example", "?*.c.example"], b=["?b.example", "c.example"], d=["?b.example"])
    assert conflicts(claims(waiting)) == [Conflict(Claim("b", "c.example"), Claim("a", "*.c.example", verified=False))]


def refused(before: dict[str, list[str]], after: dict[str, list[str]], hidden: tuple[str, ...] = ()) -> list[str]:
    return [str(one) for one in check_together(claims(organizations(**after)), claims(organizations(**before)), hidden)]


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("b.example", "b.example is accepted already, by organization.b;"),
        ("*.b.example", "*.b.example covers b.example of organization.b;"),
        ("x.w.example", "x.w.example is covered by *.w.example of organization.b;"),
        ("?b.example", "b.example is accepted already, by organization.b;"),
        ("?*.b.example", "*.b.example covers b.example of organization.b;"),
    ],
)
def test_what_another_has_verified_is_refused_by_the_class_of_the_conflict(domain: str, said: str) -> None:
    before = {"a": [], "b": ["b.example", "*.w.example"]}
    (error,) = refused(before, before | {"a": [domain]})
    path = f"organization.a.accepted_domain[0] {domain.removeprefix('?')!r}.name"
    assert error == f"{path}: {said} a domain belongs to one organization, once"


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("b.example", "b.example is accepted already on this gateway;"),
        ("*.b.example", "*.b.example covers a domain that is accepted already on this gateway;"),
        ("x.w.example", "x.w.example is covered by a domain that is accepted already on this gateway;"),
    ],
)
def test_the_other_is_not_named_to_who_does_not_see_it(domain: str, said: str) -> None:
    before = {"a": [], "b": ["b.example", "*.w.example"]}
    (error,) = refused(before, before | {"a": [domain]}, ("b",))
    assert said in error
    assert "organization.b" not in error


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": ["?*.b.example"]}, {"a": ["?*.b.example"], "b": ["b.example"]}),  # the pending one has no say
        ({"a": ["?b.example"]}, {"a": ["?b.example"], "b": ["?b.example"]}),
        ({"a": ["*.b.example"], "b": ["b.example"]}, {"a": ["*.b.example", "c.example"], "b": ["b.example"]}),
        ({"a": ["*.b.example"], "b": ["b.example"]}, {"a": [], "b": ["b.example"]}),
        ({}, {"a": ["?b.example"], "b": ["b.example"]}),  # an export that is read in again
        ({}, {"a": ["a.example", "*.a.example"]}),
    ],
)
def test_what_is_not_refused(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    assert refused(before, after) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": ["?*.b.example"], "b": ["b.example"]}, {"a": ["*.b.example"], "b": ["b.example"]}),  # verifying it
        ({"a": ["*.b.example"], "b": ["b.example"]}, {"a": ["*.b.example"], "b": ["b.example", "x.b.example"]}),
        ({}, {"a": ["b.example"], "b": ["b.example"]}),
    ],
)
def test_what_adds_to_a_conflict_is_refused(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    assert len(refused(before, after)) == 1


def test_what_others_changed_is_not_held_against_who_asks() -> None:
    """An overlap between two that they do not see, found anew, is none of their change."""
    assert refused({"a": []}, {"a": ["a.example"], "b": ["b.example"], "c": ["b.example"]}, ("b", "c")) == []
