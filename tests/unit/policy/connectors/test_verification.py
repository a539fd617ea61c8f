"""What counts of accepted domains and of what is in them: nothing that is pending, and nothing that is disputed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import Claim
from gatepost.policy.connectors.publication import publications
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.values import DomainType
from gatepost.policy.connectors.verification import (
    Dispute,
    had_since,
    in_force,
    pend,
    proof_text,
    record_name,
    top_level,
)

KEY = {"algorithm": "ed25519-sha256", "state": "current", "public_key": "MCowBQYDK2VwAyEA" + "A" * 43 + "="}


def resources(document: Mapping[str, Any]) -> Resources:
    return parse({"organization": document})


def domain(name: str, *, verified: bool = True) -> dict[str, Any]:
    return {"name": name, "type": "internal-relay", **({} if verified else {"verified": False})}


OWNER = {"accepted_domain": [domain("b.example")], "mailbox": [{"address": "ann@b.example"}]}


def test_an_organization_of_which_all_counts_stays_the_same() -> None:
    found = resources({"b": OWNER}).organizations
    assert in_force(found, {}).organizations[0] is found[0]


@pytest.mark.parametrize("name", ["b.example", "*.b.example", "*.example"])
def test_a_pending_domain_and_what_is_in_it_have_no_effect(name: str) -> None:
    sts = {} if name.startswith("*.") else {"mta_sts": "testing"}
    thief = {
        "accepted_domain": [domain("a.example"), domain(name, verified=False) | sts],
        "mailbox": [
            {"address": "ann@b.example", "forwarding_smtp_address": "x@a.example"},
            {"address": "a@a.example", "aliases": ["postmaster@b.example", "b@a.example"]},
        ],
        "dkim_key": [{"name": "s._domainkey.b.example", **KEY}, {"name": "s._domainkey.x.a.example", **KEY}],
    }
    directory = Directory(resources({"a": thief, "b": {"accepted_domain": [domain("b.example")]}}))
    owner = directory.organization_of("b.example")
    assert owner is not None
    assert owner.name == "b"
    assert directory.organization_of("other.example") is None
    assert directory.mailbox("ann@b.example") is None
    assert directory.mailbox("postmaster@b.example") is None
    assert not directory.has_mailboxes("b.example")
    assert directory.recipient("b@a.example") is not None
    assert directory.signing_keys.find_for_gateway("b.example") is None
    assert directory.signing_keys.find("x.a.example", "a") is not None
    assert list(publications(directory.organizations, "mx.example")) == []
    assert directory.disputes == ()
    assert len(directory.resources.organizations[0].accepted_domains) == 2


def test_a_dkim_key_below_a_domain_is_its_nearest_owners() -> None:
    """The domain above is another's than the one below: both are verified, and neither covers the other."""
    above = {"accepted_domain": [domain("a.example")], "dkim_key": [{"name": "s._domainkey.b.a.example", **KEY}]}
    alone = Directory(resources({"a": above}))
    assert alone.signing_keys.find("b.a.example", "a") is not None
    both = Directory(resources({"a": above, "b": {"accepted_domain": [domain("b.a.example")]}}))
    assert both.signing_keys.find_for_gateway("b.a.example") is None


STEALING = {"a": {"accepted_domain": [domain("a.example"), domain("*.b.example")]}, "b": OWNER}
WIDE, NARROW = Claim("a", "*.b.example"), Claim("b", "b.example")


def test_of_two_that_overlap_the_first_keeps_its_domain() -> None:
    directory = Directory(resources(STEALING), 9, {("a", "*.b.example"): 7, ("b", "b.example"): 3})
    assert directory.disputes == (Dispute(WIDE, NARROW, kept=True),)
    assert directory.accepts("b", "b.example")
    assert directory.mailbox("ann@b.example") is not None
    assert not directory.is_disputed("b.example")
    assert directory.is_disputed("x.b.example")
    assert not directory.is_disputed("elsewhere.example")


def test_the_first_keeps_it_where_the_narrower_came_later_too() -> None:
    directory = Directory(resources(STEALING), 9, {("a", "*.b.example"): 3, ("b", "b.example"): 7})
    assert directory.disputes == (Dispute(NARROW, WIDE, kept=True),)
    assert directory.accepts("a", "b.example")
    assert directory.mailbox("ann@b.example") is None


@pytest.mark.parametrize("first", [{}, {("a", "*.b.example"): 7}, {("a", "*.b.example"): 7, ("b", "b.example"): 7}])
def test_where_the_history_cannot_tell_neither_has_it(first: dict[tuple[str, str], int]) -> None:
    directory = Directory(resources(STEALING), 9, first)
    assert set(directory.disputes) == {Dispute(WIDE, NARROW, kept=False), Dispute(NARROW, WIDE, kept=False)}
    assert directory.organization_of("b.example") is None
    assert directory.is_disputed("b.example")
    assert directory.accepts("a", "a.example")
    assert directory.with_resources(resources({"b": OWNER})).accepts("b", "b.example")


def table(*names: str) -> dict[str, Any]:
    return {"accepted_domain": [{"name": one} for one in names]}


@pytest.mark.parametrize(
    ("history", "since"),
    [
        ([], 0),
        ([(5, table("b.example"))], 5),
        ([(5, table("b.example", "x.example")), (3, table("b.example")), (1, table("a.example"))], 3),
        ([(5, table("b.example")), (3, table()), (1, table("b.example"))], 5),
        ([(5, table("b.example")), (3, None), (1, table("b.example"))], 5),
        ([(5, {}), (3, table("b.example"))], 0),
        ([(5, table("b.example")), (3, {"accepted_domain": [{"name": "b.example", "verified": False}]})], 5),
    ],
)
def test_since_when_an_organization_has_had_a_domain(history: list[tuple[int, Any]], since: int) -> None:
    assert had_since(history, "b.example") == since


@pytest.mark.parametrize(
    ("before", "written", "proven", "left", "new"),
    [
        ([], {"name": "B.example."}, (), False, ["b.example"]),
        ([], {"name": "b.example", "verified": True}, (), False, ["b.example"]),
        ([], {"name": "b.example"}, ("b.example",), None, []),
        ([domain("b.example")], {"name": "b.example"}, (), None, []),
        ([domain("b.example")], {"name": "b.example", "verified": False}, (), None, []),
        ([domain("b.example")], {"name": "*.b.example"}, (), False, ["*.b.example"]),
        ([domain("*.b.example")], {"name": "x.b.example"}, (), None, []),
        ([domain("*.b.example")], {"name": "b.example"}, (), None, []),
        ([domain("b.example")], {"name": "x.b.example"}, (), False, ["x.b.example"]),
        ([domain("b.example", verified=False)], {"name": "b.example", "verified": True}, (), False, []),
    ],
)
def test_what_a_tenant_writes_is_pending_until_it_is_proven(
    before: list[Any], written: dict[str, Any], proven: tuple[str, ...], *, left: bool | None, new: list[str]
) -> None:
    stored = resources({"a": {"accepted_domain": before}}).organization("a")
    draft = {"accepted_domain": [written]}
    assert pend(draft, stored, proven) == new
    assert written.get("verified") is left


@pytest.mark.parametrize(
    "draft",
    [
        {},
        {"accepted_domain": "b.example"},
        {"accepted_domain": ["b.example", 3]},
        {"accepted_domain": [{"name": "a b"}, {"name": 5}, {}, {"name": "b.example", "verified": "yes"}]},
    ],
)
def test_what_is_wrong_is_left_for_parsing(draft: dict[str, Any]) -> None:
    written = repr(draft)
    assert pend(draft, None) == []
    assert repr(draft) == written


def test_the_record_that_proves_a_domain() -> None:
    assert record_name("b.example") == record_name("*.b.example") == "_gatepost.b.example"
    text = proof_text(b"secret of a", "b.example")
    assert re.fullmatch(r"gatepost-verification=[a-z2-7]{32}", text)
    assert text == proof_text(b"secret of a", "*.b.example")
    assert len({text, proof_text(b"secret of b", "b.example"), proof_text(b"secret of a", "c.example")}) == 3


def test_top_level_domains() -> None:
    assert [top_level(one) for one in ("com", "*.com", "b.com", "*.b.com")] == [True, True, False, False]


# Whatever an organization writes, without proof it changes nothing of another's.

NAMES = ["b.example", "x.b.example", "a.example", "x.a.example", "example", "gmail.test"]
OTHERS = {
    "b": {
        "accepted_domain": [
            domain("b.example") | {"type": "authoritative", "mta_sts": "testing"},
            domain("*.w.example"),
        ],
        "mailbox": [{"address": "ann@b.example", "aliases": ["info@b.example"]}],
        "dkim_key": [{"name": "s._domainkey.b.example", **KEY}],
    },
    "c": {"accepted_domain": [domain("c.b.example")]},
}
HAD = {"accepted_domain": [domain("a.example")]}
addresses = st.builds("{}@{}".format, st.sampled_from(["ann", "info", "admin"]), st.sampled_from(NAMES))
drafts = st.fixed_dictionaries(
    {
        "accepted_domain": st.lists(
            st.builds(
                lambda wide, name, verified: {
                    "name": wide + name,
                    "type": str(DomainType.INTERNAL_RELAY),
                    "mta_sts": "testing" if not wide and "." in name else "not-published",
                    **({} if verified is None else {"verified": verified}),
                },
                st.sampled_from(["", "*."]),
                st.sampled_from(NAMES),
                st.sampled_from([None, True, False]),
            ),
            max_size=6,
            unique_by=lambda one: one["name"],
        ),
        "mailbox": st.lists(
            st.fixed_dictionaries(
                {"address": addresses, "forwarding_smtp_address": st.sampled_from(["x@a.example", "ann@b.example"])}
            ),
            max_size=4,
            unique_by=lambda one: one["address"],
        ),
        "dkim_key": st.lists(
            st.sampled_from(NAMES).map(lambda one: {"name": f"t._domainkey.{one}", **KEY}),
            max_size=3,
            unique_by=lambda one: one["name"],
        ),
        "inbound_connector": st.lists(
            st.sampled_from(["b.example", "*.b.example", "mail.b.example"]).map(
                lambda name: {
                    "name": name,
                    "connector_type": "on-premises",
                    "tls_sender_certificate_name": name,
                }
            ),
            max_size=2,
            unique_by=lambda one: one["name"],
        ),
    }
)


def decisions(directory: Directory) -> list[object]:
    """All that is decided by names of the others."""
    found: list[object] = []
    for name in ("b.example", "x.w.example", "c.b.example"):
        owner, accepted, keys = (
            directory.organization_of(name),
            directory.accepted_domain(name),
            directory.signing_keys.find_for_gateway(name),
        )
        found += [owner and owner.name, accepted and accepted.name, directory.has_mailboxes(name), keys]
        found.append(directory.is_disputed(name))
        for local_part in ("ann", "info", "admin", "postmaster"):
            found.append(directory.recipient(f"{local_part}@{name}"))
    found += [host for host in publications(directory.organizations, "mx.example") if host.endswith(".b.example")]
    return found


@given(drafts)
def test_nothing_that_a_tenant_writes_changes_a_decision_about_others(draft: dict[str, Any]) -> None:
    before = resources({"a": HAD} | OTHERS)
    expected = decisions(Directory(before))
    pend(draft, before.organization("a"))
    names = [one["name"] for one in draft["accepted_domain"]]
    # What is not in one of its domains is refused when it is saved.
    draft["mailbox"] = [one for one in draft["mailbox"] if _accepted(names, one["address"].rpartition("@")[2])]
    draft["dkim_key"] = [one for one in draft["dkim_key"] if _over(names, one["name"].removeprefix("t._domainkey."))]
    circles = [one for one in draft["mailbox"] if one["address"] == one["forwarding_smtp_address"]]
    draft["mailbox"] = [one for one in draft["mailbox"] if one not in circles]
    directory = Directory(resources({"a": draft} | OTHERS))
    assert decisions(directory) == expected
    for entries in directory._by_certificate._entries.values():
        for entry in entries:
            assert entry.organization.name != "a" or entry.ownership == 0


def _accepted(patterns: list[str], name: str) -> bool:
    return any(name == one or (one.startswith("*.") and f".{name}".endswith(one[1:])) for one in patterns)


def _over(patterns: list[str], name: str) -> bool:
    return _accepted(patterns, name) or any(f".{name}".endswith(f".{one}") for one in patterns)
