from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.values import DkimService
from gatepost.policy.decisions.signing import Provenance, may_sign, sealing, signing
from gatepost.values import replace

Build = Callable[[str], Directory]

DOMAINS = """
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.accepted_domain]]
name = "second.example"
[[organization.p.accepted_domain]]
name = "p.example"
[[organization.p.accepted_domain]]
name = "eu.o.example"
"""
KEYS = """
[[organization.o.dkim_key]]
name = "r._domainkey.o.example"
state = "current"
[[organization.o.dkim_key]]
name = "e._domainkey.o.example"
algorithm = "ed25519-sha256"
state = "current"
[[organization.o.dkim_key]]
name = "s._domainkey.second.example"
state = "current"
"""

ON_PREMISES = Provenance("o", originating=True, basis="certificate")
USER = Provenance("o", originating=True, submitted=True)
NOTICE = Provenance("p", originating=True, own=True)

ORIGINS = [
    (ON_PREMISES, ""),
    (USER, ""),
    (NOTICE, ""),
    (replace(USER, forwarded=True), ""),
    (replace(ON_PREMISES, forwarded=True), "a mailbox forwards it"),
    (replace(ON_PREMISES, basis="address-and-recipient"), "only its recipient identified the"),
    (replace(ON_PREMISES, originating=False), "does not come from the organization's own"),
    (Provenance("p", originating=True), "p has no current DKIM key"),
    (Provenance("", originating=True), "nobody has no current DKIM key"),
]


@pytest.mark.parametrize(("origin", "why"), ORIGINS)
def test_what_is_signed_by_where_it_comes_from(directory: Build, origin: Provenance, why: str) -> None:
    known = directory(DOMAINS + KEYS)
    found = may_sign(known, origin)
    assert found == "" if not why else why in found
    assert bool(signing(known, origin, ["a@o.example"]).keys) == (not why)


@pytest.mark.parametrize("origin", [USER, NOTICE])
def test_without_keys_nothing_is(directory: Build, origin: Provenance) -> None:
    assert may_sign(directory(DOMAINS), origin).endswith("no current DKIM key" if not origin.own else "DKIM key")


BOTH = ["o.example/r rsa-sha256", "o.example/e ed25519-sha256"]
SIGNED = [
    ("Ann <ann@o.example>", BOTH),
    ("ann@News.O.example", BOTH),
    ("ann@o.example, bob@second.example, carl@o.example", [*BOTH, "second.example/s rsa-sha256"]),
]
UNSIGNED: list[tuple[list[str], str]] = [
    ([], "it has no From fields, and exactly one is needed"),
    (["a@o.example", "b@o.example"], "it has 2 From fields"),
    (["Ann"], "names no author that can be read"),
    (["nobody:;"], "names no author that can be read"),
    (["a@other.example"], "there is no current DKIM key for other.example"),
    (["a@p.example"], "its From field names p.example, which belongs to p"),
    (["a@o.example, b@other.example"], "there is no current DKIM key for other.example"),
    (["a@eu.o.example"], "names eu.o.example, which belongs to p"),
    ([", ".join(f"a@x{at}.o.example" for at in range(6))], "of more than 5 domains"),
]


@pytest.mark.parametrize(("value", "names"), SIGNED)
def test_the_keys_of_the_authors_domains_sign(directory: Build, value: str, names: list[str]) -> None:
    found = signing(directory(DOMAINS + KEYS), USER, [value])
    assert found.names == names
    assert found.organization == "o"
    assert found.why.startswith("its From field names ")


@pytest.mark.parametrize(("values", "why"), UNSIGNED)
def test_a_message_of_others_or_of_nobody_is_not_signed(directory: Build, values: list[str], why: str) -> None:
    found = signing(directory(DOMAINS + KEYS), USER, values)
    assert (found.keys, found.names) == ((), [])
    assert why in found.why


def test_one_organization_never_signs_for_another(directory: Build) -> None:
    other = '[[organization.p.dkim_key]]\nname = "p._domainkey.p.example"\nstate = "current"\n'
    known = directory(DOMAINS + KEYS + other)
    assert signing(known, USER, ["a@p.example"]).why.endswith("names p.example, which belongs to p")
    assert signing(known, Provenance("p", originating=True), ["a@p.example"]).organization == "p"
    # nor does it for nobody: mail of nobody's may name a domain that is nobody's, below the domain of an organization
    for origin in (Provenance("", originating=True), Provenance("p", originating=True)):
        assert signing(known, origin, ["a@mx1.o.example"]).keys == ()
        assert signing(known, origin, ["a@o.example"]).keys == ()
    # what the gateway wrote itself is its own, whoever's connectors it goes by
    assert signing(known, NOTICE, ["MAILER-DAEMON@mx1.o.example"]).organization == "o"


def test_keys_for_reports_sign_reports_alone(directory: Build) -> None:
    """Where there are none, those for all mail do (RFC 8460 section 3)."""
    own = '[[organization.o.dkim_key]]\nname = "t._domainkey.o.example"\nstate = "current"\nservice_type = "tlsrpt"\n'
    known = directory(DOMAINS + KEYS + own)
    report = replace(NOTICE, organization="o", service=DkimService.TLS_REPORTS)
    assert signing(known, report, ["tls@o.example"]).names == ["o.example/t rsa-sha256"]
    assert signing(known, report, ["tls@second.example"]).names == ["second.example/s rsa-sha256"]
    assert signing(known, USER, ["tls@o.example"]).names == ["o.example/r rsa-sha256", "o.example/e ed25519-sha256"]


def test_the_key_that_seals(directory: Build) -> None:
    here = directory(DOMAINS + KEYS)

    def name(organization: str, domain: str) -> str:
        chosen = sealing(here, organization, domain)
        assert chosen.organization == (organization if chosen.keys else "")
        return chosen.keys[0].name if chosen.keys else chosen.why

    assert name("o", "o.example") == "r._domainkey.o.example"
    assert name("o", "second.example") == "s._domainkey.second.example"
    assert name("o", "elsewhere.example") == "r._domainkey.o.example"
    assert name("p", "o.example") == "p has no current RSA DKIM key"
    assert name("", "o.example") == "nobody has no current RSA DKIM key"


def test_only_current_rsa_keys_for_all_mail_seal(directory: Build) -> None:
    keys = KEYS.replace('state = "current"', 'state = "next"', 1).replace(
        'name = "s._domainkey.second.example"', 'name = "s._domainkey.second.example"\nservice_type = "tlsrpt"'
    )
    assert sealing(directory(DOMAINS + keys), "o", "o.example").keys == ()
