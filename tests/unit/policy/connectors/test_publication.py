from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.accepted_domain import AcceptedDomain
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.publication import publication, publications, to_do
from gatepost.policy.connectors.records import Organization

HOSTNAME = "mx1.contoso.example"


def domain(**fields: Any) -> AcceptedDomain:
    return AcceptedDomain(name="contoso.example", **fields)


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"mta_sts": "enforce"}, ["mode: enforce", f"mx: {HOSTNAME}", "max_age: 604800"]),
        (
            {"mta_sts": "testing", "mta_sts_mx": ["*.Contoso.example", "mx.b.example"], "mta_sts_max_age": "1d"},
            ["mode: testing", "mx: *.contoso.example", "mx: mx.b.example", "max_age: 86400"],
        ),
        ({"mta_sts": "none"}, ["mode: none", "max_age: 604800"]),
        ({"mta_sts": "none", "mta_sts_mx": ["mx.b.example"]}, ["mode: none", "mx: mx.b.example", "max_age: 604800"]),
    ],
)
def test_what_a_domain_publishes(fields: dict[str, Any], lines: list[str]) -> None:
    made = publication(domain(**fields), HOSTNAME)
    assert made is not None
    assert list(made.policy.lines) == ["version: STSv1", *lines]


def test_a_domain_without_a_policy_publishes_none() -> None:
    assert publication(domain(mta_sts_mx=["mx.b.example"]), HOSTNAME) is None


def test_hosts_are_for_the_remarks() -> None:
    made = publication(domain(mta_sts="enforce"), HOSTNAME, hosts=["other.example"])
    assert made is not None
    assert [one.level for one in made.remarks] == ["fail", "info"]


def test_what_no_sender_could_use() -> None:
    with pytest.raises(ValueError, match="more than 500 mx"):
        publication(domain(mta_sts="enforce", mta_sts_mx=[f"mx{n}.example" for n in range(501)]), HOSTNAME)


def test_all_that_is_published_by_host() -> None:
    document = {
        "organization": {
            "a": {"accepted_domain": [{"name": "a.example", "mta_sts": "testing"}, {"name": "b.example"}]},
            "c": {"accepted_domain": [{"name": "c.example", "mta_sts": "none"}]},
        }
    }
    found = publications(parse(document).organizations, HOSTNAME)
    assert {host: one.domain for host, one in found.items()} == {
        "mta-sts.a.example": "a.example",
        "mta-sts.c.example": "c.example",
    }
    assert publications([Organization(name="x")], HOSTNAME) == {}


def organizations(*domains: str) -> list[Organization]:
    """Of domains such as "a.example testing"."""
    parts = [dict(zip(("name", "mta_sts"), one.split(), strict=True)) for one in domains]
    return list(parse({"organization": {"o": {"accepted_domain": parts}}}).organizations)


ZONE = "a.example: once the gateway serves the policy, add its TXT record to the zone: _mta-sts.a.example. IN TXT "
KEPT = "a.example: senders keep the policy for up to 7d after they fetched it"


@pytest.mark.parametrize(
    ("before", "after", "notes"),
    [
        ("a.example not-published", "a.example testing", [ZONE]),
        ("a.example testing", "a.example enforce", [ZONE]),
        ("a.example enforce", "a.example none", [ZONE]),
        ("a.example enforce", "b.example not-published", [KEPT]),
        ("a.example testing", "a.example not-published", [KEPT]),
        ("a.example none", "a.example not-published", []),
        ("a.example enforce", "a.example enforce", []),
        ("a.example not-published", "b.example not-published", []),
    ],
)
def test_what_is_left_to_do_in_the_dns(before: str, after: str, notes: list[str]) -> None:
    found = list(to_do(organizations(before), organizations(after), HOSTNAME))
    assert [one[: len(begin)] for one, begin in zip(found, notes, strict=True)] == notes
