from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.connectors import match
from gatepost.policy.connectors.directory import Directory, InboundEntry
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.match import (
    Attribution,
    PartnerMatch,
    attribute,
    attribute_by_address,
    attribute_by_recipient,
    filter_of,
    match_partner,
)
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.tls.facts import ChainVerdict
from gatepost.values import replace

Build = Callable[[str], Directory]
Chain = Callable[..., ChainVerdict]
Session = Callable[..., SessionFacts]
MakePath = Callable[[str], Path]


def accepted(organization: str, *names: str) -> str:
    return "".join(f'[[organization.{organization}.accepted_domain]]\nname = "{name}"\n' for name in names)


def inbound(organization: str, name: str, fields: str) -> str:
    return f'[[organization.{organization}.inbound_connector]]\nname = "{name}"\n{fields}\n'


def on_premises(organization: str, name: str, fields: str) -> str:
    return inbound(organization, name, f'connector_type = "on-premises"\n{fields}')


CERTIFICATE = 'tls_sender_certificate_name = "{}"'
HQ = accepted("contoso", "contoso.example") + on_premises("contoso", "hq", CERTIFICATE.format("*.contoso.example"))
ADDRESS = accepted("contoso", "contoso.example") + on_premises(
    "contoso", "net", 'sender_ip_addresses = ["192.0.2.0/24"]'
)


def test_a1_a_trusted_certificate_with_an_accepted_name_originates(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    found = attribute(directory(HQ), session(chain=chain("mail.contoso.example")), path("anybody@elsewhere.example"))
    assert (found.direction, found.organization, found.basis) == ("originating", "contoso", "certificate")
    assert found.connector is not None
    assert found.connector.name == "hq"
    assert found.reasons == (
        (
            "connector 'hq' of contoso names *.contoso.example, which the client's trusted certificate bears "
            "(mail.contoso.example)"
        ),
    )


def test_a_null_reverse_path_originates_by_certificate(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    assert attribute(directory(HQ), session(chain=chain("mail.contoso.example")), path("")).direction == "originating"


NOT_OWN = accepted("contoso", "contoso.example") + on_premises(
    "contoso", "hq", CERTIFICATE.format("mail.contoso.example")
)


def test_a2_a_name_that_is_no_accepted_domain_needs_a_sender_in_one(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    found = attribute(directory(NOT_OWN), session(chain=chain("mail.contoso.example")), path("x@elsewhere.example"))
    assert (found.direction, found.organization, found.connector) == ("none", None, None)
    assert "neither that name nor the sender's domain elsewhere.example is an accepted domain" in found.reasons[0]
    null = attribute(directory(NOT_OWN), session(chain=chain("mail.contoso.example")), path(""))
    assert "the null reverse-path" in null.reasons[0]


def test_a3_the_senders_domain_makes_up_for_the_name(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    found = attribute(directory(NOT_OWN), session(chain=chain("mail.contoso.example")), path("x@contoso.example"))
    assert (found.direction, found.basis) == ("originating", "certificate-and-sender")
    assert "is not an accepted domain of contoso, but the sender's domain contoso.example is" in found.reasons[-1]


def test_a4_an_incomplete_chain_identifies_nobody_and_says_why(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    leaf_only = chain("mail.contoso.example", status="chain-incomplete", detail="the issuer CN=Middle is missing")
    found = attribute(directory(HQ), session(chain=leaf_only), path("x@elsewhere.example"))
    assert found.direction == "none"
    assert found.reasons[0].endswith("is not trusted: chain-incomplete, the issuer CN=Middle is missing")


def test_a5_between_organizations_the_more_specific_name_wins_whatever_the_priority(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = (
        accepted("wide", "example.net")
        + on_premises("wide", "w", CERTIFICATE.format("*.example.net") + "\npriority = 0")
        + accepted("narrow", "eu.example.net")
        + on_premises("narrow", "n", CERTIFICATE.format("*.eu.example.net"))
    )
    found = attribute(directory(text), session(chain=chain("mail.eu.example.net")), path("x@y.example"))
    assert found.organization == "narrow"


def test_an_equally_specific_name_belongs_to_who_accepts_its_base(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = (
        accepted("below", "eu.example.net")
        + on_premises("below", "b", CERTIFICATE.format("*.example.net"))
        + accepted("owner", "example.net")
        + on_premises("owner", "o", CERTIFICATE.format("*.example.net"))
    )
    assert attribute(directory(text), session(chain=chain("m.example.net")), path("")).organization == "owner"


@pytest.mark.parametrize(("priorities", "winner"), [((100, 100), "exact"), ((5, 100), "wild"), ((5, 5), "exact")])
def test_within_an_organization_priority_goes_before_specificity(
    directory: Build, session: Session, chain: Chain, path: MakePath, priorities: tuple[int, int], winner: str
) -> None:
    text = (
        accepted("o", "o.example", "mail.o.example")
        + on_premises("o", "wild", f"{CERTIFICATE.format('*.o.example')}\npriority = {priorities[0]}")
        + on_premises("o", "exact", f"{CERTIFICATE.format('mail.o.example')}\npriority = {priorities[1]}")
    )
    found = attribute(directory(text), session(chain=chain("mail.o.example")), path(""))
    assert found.connector is not None
    assert found.connector.name == winner


def test_a6_the_certificate_goes_before_the_address(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = (
        HQ + accepted("other", "other.example") + on_premises("other", "net", 'sender_ip_addresses = ["203.0.113.9"]')
    )
    found = attribute(directory(text), session(chain=chain("mx.contoso.example")), path("x@other.example"))
    assert found.organization == "contoso"


def test_an_address_identifies_together_with_a_sender_in_an_accepted_domain(
    directory: Build, session: Session, path: MakePath
) -> None:
    found = attribute(directory(ADDRESS), session("192.0.2.77"), path("x@contoso.example"))
    assert (found.direction, found.organization, found.basis) == ("originating", "contoso", "address")
    assert found.reasons == (
        (
            "connector 'net' of contoso holds the address 192.0.2.77, and the sender's domain contoso.example is an "
            "accepted "
            "domain of contoso"
        ),
    )


@pytest.mark.parametrize(
    ("sender", "said"),
    [
        ("", "the null reverse-path names no accepted domain, and senders_by_address does not take it"),
        (
            "x@elsewhere.example",
            "the sender's domain elsewhere.example is not one of its accepted domains",
        ),
    ],
)
def test_a7_an_address_alone_identifies_nobody(
    directory: Build, session: Session, path: MakePath, sender: str, said: str
) -> None:
    found = attribute(directory(ADDRESS), session("192.0.2.77"), path(sender))
    assert found.direction == "none"
    assert found.reasons[0] == f"connector 'net' of contoso holds the address 192.0.2.77, but {said}"


STRANGERS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "in clear": (None, "it is not encrypted, and it comes from 203.0.113.9"),
    "no certificate": ({}, "it presented no certificate, and it comes from 203.0.113.9"),
    "trusted": (
        {"names": ("mail.elsewhere.example",), "common_name": "elsewhere"},
        (
            "its certificate is trusted, but no connector has a name in it (mail.elsewhere.example (CN "
            "elsewhere)); it "
            "comes from 203.0.113.9"
        ),
    ),
    "expired": (
        {"names": ("mail.elsewhere.example",), "status": "expired", "detail": "on Monday"},
        (
            "its certificate is not trusted: expired, on Monday; no connector has a name in it "
            "(mail.elsewhere.example); "
            "it comes from 203.0.113.9"
        ),
    ),
    "self-signed": (
        {"names": (), "status": "self-signed"},
        (
            "its certificate is not trusted: self-signed; no connector has a name in it (no subjectAltName); it "
            "comes "
            "from 203.0.113.9"
        ),
    ),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_stranger_gets_one_plain_reason(
    directory: Build, session: Session, chain: Chain, path: MakePath, kind: str
) -> None:
    shown, said = STRANGERS[kind]
    facts = session()
    if shown is not None:
        facts = session(chain=chain(*shown.pop("names", ()), **shown))
        facts = facts if shown else replace(facts, client_chain=None)
    for text in (HQ, ADDRESS, ""):
        found = attribute(directory(text), facts, path("x@contoso.example"))
        assert found.reasons == (f"no on-premises connector knows the session: {said}",)
        assert (found.direction, found.claims, found.lack, found.unsure) == ("none", (), None, ())


def test_organizations_that_share_an_address_are_told_apart_by_the_sender(
    directory: Build, session: Session, path: MakePath
) -> None:
    text = ADDRESS + ADDRESS.replace("contoso", "fabrikam")
    found = attribute(directory(text), session("192.0.2.1"), path("x@fabrikam.example"))
    assert found.organization == "fabrikam"


@pytest.mark.parametrize(("priorities", "winner"), [((100, 100), "narrow"), ((5, 100), "wide"), ((100, 5), "narrow")])
def test_the_narrower_network_wins_at_equal_priority(
    directory: Build, session: Session, path: MakePath, priorities: tuple[int, int], winner: str
) -> None:
    text = (
        accepted("o", "o.example")
        + on_premises("o", "wide", f'sender_ip_addresses = ["192.0.2.0/24"]\npriority = {priorities[0]}')
        + on_premises("o", "narrow", f'sender_ip_addresses = ["192.0.2.0/28"]\npriority = {priorities[1]}')
    )
    found = attribute(directory(text), session("192.0.2.1"), path("x@o.example"))
    assert found.connector is not None
    assert found.connector.name == winner


def test_associated_domains_narrow_an_on_premises_connector_to_senders(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = accepted("o", "o.example", "pilot.example") + on_premises(
        "o",
        "pilot",
        CERTIFICATE.format("*.o.example")
        + '\nsender_ip_addresses = ["192.0.2.1"]\nassociated_accepted_domains = ["pilot.example"]',
    )
    for facts in (session("192.0.2.1"), session(chain=chain("mx.o.example"))):
        assert attribute(directory(text), facts, path("x@pilot.example")).direction == "originating"
        assert attribute(directory(text), facts, path("x@o.example")).direction == "none"


def test_a_connector_may_trust_its_own_anchors_only(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = HQ + 'trust_anchors = "/etc/private.pem"\n'
    good, bad = chain("mx.contoso.example"), chain("mx.contoso.example", status="untrusted-root", detail="Private CA")
    private = session(chain=bad, chains={"/etc/private.pem": good})
    assert attribute(directory(text), private, path("")).direction == "originating"
    public = attribute(directory(text), session(chain=good), path(""))
    assert public.direction == "none"
    assert public.reasons[0].endswith("was not checked: its trust_anchors cannot be read (/etc/private.pem)")
    assert [entry.connector.name for entry, _ in public.unsure] == ["hq"]


def test_a_common_name_is_compared_as_names_are(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = accepted("o", "xn--bcher-kva.example") + on_premises(
        "o", "hq", CERTIFICATE.format("mail.xn--bcher-kva.example") + "\nmatch_common_name = true"
    )
    for name in ("mail.bücher.example", "MAIL.xn--bcher-kva.example."):
        found = attribute(directory(text), session(chain=chain(common_name=name)), path("x@xn--bcher-kva.example"))
        assert found.direction == "originating"
    for name in ("mail.xn--bcher-kva.example\0.evil.test", "*.example", "mail.*.example"):
        found = attribute(directory(text), session(chain=chain(common_name=name)), path("x@xn--bcher-kva.example"))
        assert found.direction == "none"


@pytest.mark.parametrize(("asked", "direction"), [("false", "none"), ("true", "originating")])
def test_the_common_name_counts_only_where_it_is_asked_for(
    directory: Build, session: Session, chain: Chain, path: MakePath, asked: str, direction: str
) -> None:
    text = HQ + f"match_common_name = {asked}\n"
    facts = session(chain=chain(common_name="mx.contoso.example"))
    assert attribute(directory(text), facts, path("")).direction == direction


# Partner connectors

BASE = accepted("o", "o.example", "second.example")
LOCKED = inbound(
    "o",
    "gateway",
    'sender_domains = ["*"]\nrestrict_domains_to_certificate = true\n' + CERTIFICATE.format("*.gw.example"),
)
FRIEND = inbound("o", "friend", 'sender_domains = ["friend.example"]\nrequire_tls = false')


def partner(directory: Directory, facts: SessionFacts, sender: Path, recipient: Path) -> str:
    organization = directory.organization("o")
    assert organization is not None
    match = match_partner(directory, organization, facts, sender, recipient)
    assert match is None or match.reasons
    return match.connector.name if match else ""


@pytest.mark.parametrize(
    ("text", "sender", "name"),
    [
        (LOCKED, "x@anybody.example", "gateway"),
        (LOCKED, "", "gateway"),
        (LOCKED + FRIEND, "x@friend.example", "friend"),  # unlike Exchange: the exception works
        (LOCKED + FRIEND, "x@sub.friend.example", "gateway"),
        (LOCKED.replace("name = ", "priority = 5\nname = ", 1) + FRIEND, "x@friend.example", "gateway"),
        (FRIEND, "x@anybody.example", ""),
        (FRIEND, "", ""),
        (FRIEND.replace("require_tls", "enabled = false\nrequire_tls"), "x@friend.example", ""),
        (FRIEND + 'associated_accepted_domains = ["second.example"]', "x@friend.example", ""),
        (FRIEND + 'associated_accepted_domains = ["o.example"]', "x@friend.example", "friend"),
        ("", "x@friend.example", ""),
    ],
)
def test_which_partner_connector_a_sender_meets(
    directory: Build, session: Session, path: MakePath, text: str, sender: str, name: str
) -> None:
    assert partner(directory(BASE + text), session(), path(sender), path("a@o.example")) == name


BY_CERTIFICATE = inbound("o", "z-certificate", 'sender_domains = ["p.example"]\n' + CERTIFICATE.format("*.p.example"))
BY_ADDRESS = inbound(
    "o",
    "y-address",
    'sender_domains = ["p.example"]\nsender_ip_addresses = ["192.0.2.1"]\nrestrict_domains_to_ip_addresses = true',
)
BY_DOMAIN = inbound("o", "a-domain", 'sender_domains = ["p.example"]')


@pytest.mark.parametrize(
    ("proof", "winner"),
    [
        (("mx.p.example", "192.0.2.1"), "z-certificate"),
        (("mx.p.example", "203.0.113.9"), "z-certificate"),
        (("mx.q.example", "192.0.2.1"), "y-address"),
        (("", "192.0.2.1"), "y-address"),
        (("", "203.0.113.9"), "y-address"),  # it restricts, so it goes before one that only names the domain
    ],
)
def test_for_one_domain_the_connector_whose_proof_the_session_has_goes_first(
    directory: Build, session: Session, chain: Chain, path: MakePath, proof: tuple[str, str], winner: str
) -> None:
    name, ip = proof
    facts = session(ip, chain(name) if name else None)
    index = directory(BASE + BY_DOMAIN + BY_ADDRESS + BY_CERTIFICATE)
    assert partner(index, facts, path("x@p.example"), path("a@o.example")) == winner


def test_a_match_says_what_it_proved(directory: Build, session: Session, chain: Chain, path: MakePath) -> None:
    index = directory(BASE + BY_CERTIFICATE)
    organization = index.organization("o")
    assert organization is not None
    envelope = path("x@p.example"), path("a@o.example")
    proved = match_partner(index, organization, session(chain=chain("mx.p.example")), *envelope)
    assert proved is not None
    assert (proved.by_certificate, proved.by_address) == (True, False)
    assert proved.reasons == ("connector 'z-certificate' of o matches sender domain p.example exactly",)
    expired = session(chain=chain("mx.p.example", status="expired", detail="since 2020"))
    unproved = match_partner(index, organization, expired, *envelope)
    assert unproved is not None
    assert not unproved.by_certificate
    assert unproved.reasons[1].endswith("is not trusted: expired, since 2020")


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        ("x@any.example", "connector 'gateway' of o matches sender domain any.example by '*'"),
        ("", "connector 'gateway' of o matches the null reverse-path by '*'"),
    ],
)
def test_a_wildcard_match_is_told(directory: Build, session: Session, path: MakePath, sender: str, reason: str) -> None:
    index = directory(BASE + LOCKED)
    organization = index.organization("o")
    assert organization is not None
    match = match_partner(index, organization, session(), path(sender), path("a@o.example"))
    assert match is not None
    assert match.reasons == (reason,)


# Exchange's last resort: the recipient's domain says whose server it is (exchange.md section 5.1, steps 2b and 3b)


def by_recipient(directory: Directory, facts: SessionFacts, sender: Path, recipient: Path) -> Attribution:
    organization = directory.organization_of(recipient.domain)
    assert organization is not None
    return attribute_by_recipient(attribute(directory, facts, sender), facts, organization, recipient)


@pytest.mark.parametrize(
    "case",
    [
        (ADDRESS, "", "", "a@contoso.example", "address-and-recipient"),
        (ADDRESS, "", "x@elsewhere.example", "a@contoso.example", "address-and-recipient"),
        (NOT_OWN, "mail.contoso.example", "x@elsewhere.example", "a@contoso.example", "certificate-and-recipient"),
        (NOT_OWN, "mail.contoso.example", "", "a@contoso.example", "certificate-and-recipient"),
        (HQ, "mx.contoso.example", "x@elsewhere.example", "a@contoso.example", "certificate"),
        (ADDRESS + accepted("other", "other.example"), "", "", "a@other.example", "none"),
        (HQ, "", "", "a@contoso.example", "none"),
    ],
)
def test_where_nothing_else_does_the_recipient_says_whose_server_it_is(
    directory: Build, session: Session, chain: Chain, path: MakePath, case: tuple[str, str, str, str, str]
) -> None:
    text, certificate, sender, recipient, basis = case
    facts = session("192.0.2.77", chain(certificate) if certificate else None)
    found = by_recipient(directory(text), facts, path(sender), path(recipient))
    assert found.basis == basis
    assert found.direction == ("none" if basis == "none" else "originating")
    if basis.endswith("recipient"):
        assert "the recipient's domain contoso.example is" in found.reasons[-1]
        assert found.organization == "contoso"


def test_by_recipient_a_certificate_goes_before_an_address_and_the_narrower_network_before_the_wider(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    networks = on_premises("o", "wide", 'sender_ip_addresses = ["192.0.2.0/24"]') + on_premises(
        "o", "narrow", 'sender_ip_addresses = ["192.0.2.0/28"]'
    )
    text = accepted("o", "o.example") + networks + on_premises("o", "cloud", CERTIFICATE.format("*.cloud.test"))
    index, ends = directory(text), (path(""), path("a@o.example"))
    narrow = by_recipient(index, session("192.0.2.1"), *ends)
    assert narrow.connector is not None
    assert narrow.connector.name == "narrow"
    cloud = by_recipient(index, session("192.0.2.1", chain("mx.cloud.test")), *ends)
    assert cloud.connector is not None
    assert (cloud.connector.name, cloud.basis) == ("cloud", "certificate-and-recipient")


def test_a_narrowed_connector_claims_only_what_it_is_narrowed_to(
    directory: Build, session: Session, path: MakePath
) -> None:
    text = accepted("o", "o.example", "pilot.example") + on_premises(
        "o", "pilot", 'sender_ip_addresses = ["192.0.2.1"]\nassociated_accepted_domains = ["pilot.example"]'
    )
    index, facts = directory(text), session("192.0.2.1")
    assert by_recipient(index, facts, path(""), path("a@pilot.example")).direction == "originating"
    assert by_recipient(index, facts, path(""), path("a@o.example")).direction == "none"


# Those who were passed over

SHARED = accepted("a", "a.example.net") + accepted("b", "b.example.net")
TIED = (
    SHARED
    + on_premises("a", "a", CERTIFICATE.format("*.example.net"))
    + on_premises("b", "b", CERTIFICATE.format("*.example.net"))
)


def test_organizations_that_name_it_as_specifically_are_told_apart_by_the_sender(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    index, facts = directory(TIED), session(chain=chain("*.example.net"))
    found = attribute(index, facts, path("x@b.example.net"))
    assert (found.organization, found.basis) == ("b", "certificate")
    assert found.passed_over == (
        (
            "connector 'a' of a",
            ("names *.example.net, which the certificate has too, but the sender's domain b.example.net belongs to b"),
        ),
    )
    nobody = attribute(index, facts, path("x@elsewhere.test"))
    assert nobody.direction == "none"
    assert nobody.reasons[0] == (
        "connector 'a' of a names *.example.net, which the client's certificate has, but other organizations name it "
        "as specifically, and the sender's domain elsewhere.test is of none of them"
    )
    recipient = path("x@a.example.net")
    assert by_recipient(index, facts, path(""), recipient).organization == "a"


PASSED_OVER: dict[str, tuple[str, tuple[str, str, str], dict[str, str]]] = {
    "by priority": (
        accepted("o", "mail.o.example")
        + on_premises("o", "first", CERTIFICATE.format("*.o.example") + "\npriority = 5")
        + on_premises("o", "exact", CERTIFICATE.format("mail.o.example")),
        ("mail.o.example", "203.0.113.9", "x@o.example"),
        {
            "connector 'exact' of o": "names mail.o.example, which the certificate has too, but priority 5 of "
            "'first' goes before its 100"
        },
    ),
    "less specific": (
        accepted("o", "mail.o.example")
        + on_premises("o", "wild", CERTIFICATE.format("*.o.example"))
        + on_premises("o", "exact", CERTIFICATE.format("mail.o.example")),
        ("mail.o.example", "203.0.113.9", "x@o.example"),
        {
            "connector 'wild' of o": (
                "names *.o.example, which the certificate has too, but 'exact' names it more specifically"
            ),
        },
    ),
    "by name": (
        on_premises("o", "b", CERTIFICATE.format("*.o.example"))
        + on_premises("o", "a", CERTIFICATE.format("*.o.example")),
        ("mail.o.example", "203.0.113.9", "x@o.example"),
        {"connector 'b' of o": ("names *.o.example, which the certificate has too, but 'a' comes first by its name")},
    ),
    "narrowed": (
        accepted("o", "pilot.example")
        + on_premises("o", "a", CERTIFICATE.format("*.o.example"))
        + on_premises(
            "o", "b", CERTIFICATE.format("*.o.example") + '\nassociated_accepted_domains = ["pilot.example"]'
        ),
        ("mail.o.example", "203.0.113.9", "x@o.example"),
        {"connector 'b' of o": "names *.o.example, which the certificate has too, but it is limited to pilot.example"},
    ),
    "not its own": (
        on_premises("o", "a", CERTIFICATE.format("*.o.example"))
        + accepted("p", "p.example")
        + on_premises("p", "b", CERTIFICATE.format("mail.o.example")),
        ("mail.o.example", "203.0.113.9", "x@o.example"),
        {
            "connector 'b' of p": "names mail.o.example, which the certificate has too, but that is not an accepted "
            "domain of p"
        },
    ),
    "another organization's, less specific": (
        accepted("o", "mail.o.example")
        + on_premises("o", "a", CERTIFICATE.format("mail.o.example"))
        + accepted("p", "p.o.example")
        + on_premises("p", "b", CERTIFICATE.format("*.o.example")),
        ("*.o.example", "203.0.113.9", "x@o.example"),
        {
            "connector 'b' of p": (
                "names *.o.example, which the certificate has too, but that is not an accepted domain of p"
            ),
        },
    ),
    "by address, beside a certificate": (
        on_premises("o", "a", CERTIFICATE.format("*.o.example"))
        + on_premises("o", "b", 'sender_ip_addresses = ["192.0.2.0/24"]'),
        ("mail.o.example", "192.0.2.1", "x@o.example"),
        {"connector 'b' of o": "holds the address 192.0.2.1 too, but a certificate goes before an address"},
    ),
    "untrusted certificate, beside an address": (
        on_premises("o", "b", 'sender_ip_addresses = ["192.0.2.0/24"]')
        + on_premises("o", "a", CERTIFICATE.format("*.o.example") + '\ntrust_anchors = "/a.pem"'),
        ("mail.o.example", "192.0.2.1", "x@o.example"),
        {
            "connector 'a' of o": "names *.o.example, but the client's certificate was not checked: its trust_anchors "
            "cannot be read (/a.pem)"
        },
    ),
    "a certificate for nobody, beside an address": (
        on_premises("o", "b", 'sender_ip_addresses = ["192.0.2.0/24"]')
        + accepted("p", "p.example")
        + on_premises("p", "a", CERTIFICATE.format("*.cloud.test")),
        ("mail.cloud.test", "192.0.2.1", "x@o.example"),
        {
            "connector 'a' of p": "names *.cloud.test, which the client's certificate has, but neither that name nor "
            "the sender's domain o.example is an accepted domain of p"
        },
    ),
    "addresses": (
        accepted("o", "pilot.example")
        + on_premises("o", "a", 'sender_ip_addresses = ["192.0.2.0/24"]\npriority = 5')
        + on_premises("o", "b", 'sender_ip_addresses = ["192.0.2.0/28"]')
        + on_premises("o", "c", 'sender_ip_addresses = ["192.0.2.0/24"]\npriority = 5')
        + on_premises("o", "d", 'sender_ip_addresses = ["192.0.2.1"]\nassociated_accepted_domains = ["pilot.example"]')
        + accepted("p", "p.example")
        + on_premises("p", "e", 'sender_ip_addresses = ["192.0.2.1"]'),
        ("", "192.0.2.1", "x@o.example"),
        {
            "connector 'b' of o": "holds the address 192.0.2.1 too, but priority 5 of 'a' goes before its 100",
            "connector 'c' of o": (
                "holds the address 192.0.2.1 too, but 'a' has the narrower network, or comes first by its name"
            ),
            "connector 'd' of o": "holds the address 192.0.2.1 too, but it is limited to pilot.example",
            "connector 'e' of p": "holds the address 192.0.2.1 too, but the sender's domain o.example belongs to o",
        },
    ),
}


@pytest.mark.parametrize("case", PASSED_OVER)
def test_who_knows_the_session_too_is_told_with_why_it_did_not_count(
    directory: Build, session: Session, chain: Chain, path: MakePath, case: str
) -> None:
    text, (certificate, ip, sender), passed_over = PASSED_OVER[case]
    facts = session(ip, chain(certificate) if certificate else None)
    found = attribute(directory(accepted("o", "o.example") + text), facts, path(sender))
    assert found.direction == "originating"
    assert dict(found.passed_over) == passed_over


def test_of_very_many_only_twenty_are_told(directory: Build, session: Session, path: MakePath) -> None:
    many = "".join(on_premises("o", f"n{one:02}", 'sender_ip_addresses = ["192.0.2.1"]') for one in range(30))
    index = directory(accepted("o", "o.example") + many)
    assert len(attribute(index, session("192.0.2.1"), path("x@o.example")).passed_over) == 20
    nobody = attribute(index, session("192.0.2.1"), path(""))
    assert len(nobody.reasons) == 21
    assert len(nobody.claims) == 30


IN_TRIAL = '\nmode = "rehearse"\npriority = 1'
OWN_NAME, OWN_ADDRESS = CERTIFICATE.format("*.o.example"), 'sender_ip_addresses = ["192.0.2.0/24"]'
FIRST = "would go first, but is in rehearsal"
REHEARSED: dict[str, tuple[str, str, dict[str, str]]] = {
    "by certificate": (
        on_premises("o", "trial", OWN_NAME + IN_TRIAL)
        + on_premises("o", "second", OWN_NAME + IN_TRIAL)
        + on_premises("o", "real", OWN_NAME),
        "x@any.example",
        {
            "connector 'second' of o": FIRST,
            "connector 'trial' of o": "names *.o.example, which the certificate has too, but is in "
            "rehearsal, and 'real' is in force",
        },
    ),
    "by address": (
        on_premises("o", "trial", OWN_ADDRESS + IN_TRIAL)
        + on_premises("o", "second", OWN_ADDRESS + IN_TRIAL)
        + on_premises("o", "real", OWN_ADDRESS),
        "x@o.example",
        {
            "connector 'second' of o": FIRST,
            "connector 'trial' of o": "holds the address 192.0.2.1 too, but is in rehearsal, and 'real' is in force",
        },
    ),
    "by certificate, beside an address": (
        on_premises("o", "trial", OWN_NAME + IN_TRIAL)
        + on_premises("o", "second", OWN_NAME + IN_TRIAL)
        + on_premises("o", "real", OWN_ADDRESS),
        "x@o.example",
        {
            "connector 'second' of o": FIRST,
            "connector 'trial' of o": "names *.o.example, which the certificate has too, but is in "
            "rehearsal, and 'real' is in force",
        },
    ),
    "by its own name, beside another's": (
        on_premises("o", "trial", OWN_NAME + IN_TRIAL)
        + on_premises("o", "real", CERTIFICATE.format("mail.cloud.test")),
        "x@o.example",
        {"connector 'trial' of o": FIRST},
    ),
}


@pytest.mark.parametrize("case", REHEARSED)
def test_an_own_servers_connector_in_rehearsal_never_goes_before_one_in_force(
    directory: Build, session: Session, chain: Chain, path: MakePath, case: str
) -> None:
    text, sender, passed_over = REHEARSED[case]
    certificate = None if case == "by address" else chain("mx.o.example", "mail.cloud.test")
    found = attribute(directory(accepted("o", "o.example") + text), session("192.0.2.1", certificate), path(sender))
    assert found.connector is not None
    assert found.rehearsing is not None
    assert found.connector.name == "real"
    assert dict(found.passed_over) == passed_over


def test_one_in_rehearsal_knows_its_servers_where_no_other_does(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = accepted("o", "o.example") + on_premises("o", "trial", OWN_NAME + IN_TRIAL)
    other = on_premises("o", "real", OWN_ADDRESS)
    for sender in ("", "x@any.example"):
        found = attribute(directory(text + other), session("192.0.2.1", chain("mx.o.example")), path(sender))
        assert found.connector is not None
        assert (found.connector.name, found.rehearsing) == ("trial", None)


def test_by_the_recipient_one_in_force_goes_before_one_in_rehearsal_too(
    directory: Build, session: Session, path: MakePath
) -> None:
    text = on_premises("o", "trial", OWN_ADDRESS + IN_TRIAL) + on_premises("o", "real", OWN_ADDRESS)
    index = directory(accepted("o", "o.example") + text)
    organization = index.organization("o")
    assert organization is not None
    facts = session("192.0.2.1")
    found = attribute_by_recipient(attribute(index, facts, path("")), facts, organization, path("a@o.example"))
    assert found.connector is not None
    assert found.rehearsing is not None
    assert (found.connector.name, found.rehearsing.name) == ("real", "trial")
    assert found.passed_over == (("connector 'trial' of o", FIRST),)


def test_a_name_that_two_share_is_nothing_to_a_third_whose_name_is_wider(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = (
        accepted("o", "a.s.o.example")
        + on_premises("o", "hq", CERTIFICATE.format("*.s.o.example"))
        + accepted("p", "b.s.o.example")
        + on_premises("p", "hq", CERTIFICATE.format("*.s.o.example"))
        + accepted("r", "c.o.example")
        + on_premises("r", "hq", CERTIFICATE.format("*.o.example"))
    )
    facts = session(chain=chain("*.s.o.example"))
    for sender, owner in (("x@a.s.o.example", "o"), ("x@b.s.o.example", "p"), ("x@c.o.example", None), ("", None)):
        assert attribute(directory(text), facts, path(sender)).organization == owner


def test_who_is_not_sure_is_told_with_what_it_lacks_itself(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    """Another connector's certificate that is untrusted for good must not make a passing trouble permanent."""
    text = (
        HQ.replace('"hq"', '"distrusts"')
        + on_premises(
            "contoso", "trial", CERTIFICATE.format("*.contoso.example") + '\ntrust_anchors = "/gone.pem"' + IN_TRIAL
        )
        + on_premises("contoso", "real", CERTIFICATE.format("*.contoso.example") + '\ntrust_anchors = "/gone.pem"')
    )
    found = attribute(directory(text), session(chain=chain("mx.contoso.example", status="untrusted-root")), path(""))
    assert [entry.connector.name for entry, _ in found.unsure] == ["real", "trial"]
    assert found.lack is not None
    assert found.lack.is_ours


def test_a_certificate_in_the_cn_alone_or_untrusted_is_the_reason_of_a_stranger(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    found = attribute(directory(HQ), session(chain=chain("a.test", common_name="mx.contoso.example")), path(""))
    assert "is only in the CN" in found.reasons[0]
    assert found.lack is not None
    assert found.unsure == ()
    revoked = attribute(directory(HQ), session(chain=chain("mx.contoso.example", status="revoked")), path(""))
    assert revoked.lack is not None
    assert revoked.lack.status == "revoked"


def test_a_certificate_whose_revocation_cannot_be_learnt_makes_unsure_where_that_matters(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    facts = session(chain=chain("mx.contoso.example", status="revocation-unknown"))
    unsure = attribute(directory(HQ + 'revocation_check = "hard-fail"\n'), facts, path(""))
    assert [entry.connector.name for entry, _ in unsure.unsure] == ["hq"]
    assert attribute(directory(HQ), facts, path("")).direction == "originating"


def test_a_wildcard_directly_below_a_top_level_domain_is_nobodys_name(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = accepted("o", "example") + on_premises(
        "o", "tld", CERTIFICATE.format("*.example") + '\ntrust_anchors = "/o.pem"'
    )
    found = attribute(directory(text), session(chain=chain("*.example")), path(""))
    assert found.reasons[0].startswith("no on-premises connector knows the session: its certificate is trusted")


# Partners beside each other


def met(directory: Directory, facts: SessionFacts, sender: Path, recipient: Path | None) -> PartnerMatch | None:
    organization = directory.organization("o")
    assert organization is not None
    return match_partner(directory, organization, facts, sender, recipient)


PARTNERS_PASSED_OVER: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "less specific": (
        LOCKED + FRIEND,
        "x@friend.example",
        "friend",
        {
            "connector 'gateway' of o": (
                "matches the sender's domain friend.example by '*', but 'friend' names it "
                "more specifically ('friend.example')"
            ),
        },
    ),
    "priority": (
        LOCKED.replace("name = ", "priority = 5\nname = ", 1) + FRIEND,
        "x@friend.example",
        "gateway",
        {
            "connector 'friend' of o": (
                "matches the sender's domain friend.example by 'friend.example', but "
                "priority 5 of 'gateway' goes before its 100"
            ),
        },
    ),
    "restricting, and by name": (
        BY_DOMAIN + BY_ADDRESS + BY_DOMAIN.replace("a-domain", "b-domain"),
        "x@p.example",
        "y-address",
        {
            "connector 'a-domain' of o": "matches the sender's domain p.example by 'p.example', but 'y-address' "
            "restricts who may send",
            "connector 'b-domain' of o": "matches the sender's domain p.example by 'p.example', but 'y-address' "
            "restricts who may send",
        },
    ),
    "name": (
        BY_DOMAIN + BY_DOMAIN.replace("a-domain", "b-domain"),
        "x@p.example",
        "a-domain",
        {
            "connector 'b-domain' of o": "matches the sender's domain p.example by 'p.example', but 'a-domain' comes "
            "first by its name"
        },
    ),
    "narrowed": (
        FRIEND + FRIEND.replace('"friend"', '"pilot"') + 'associated_accepted_domains = ["second.example"]',
        "x@friend.example",
        "friend",
        {"connector 'pilot' of o": "is limited to second.example, and o.example is none of these"},
    ),
    "null": (
        LOCKED + LOCKED.replace("gateway", "second"),
        "",
        "gateway",
        {"connector 'second' of o": "matches the null reverse-path by '*', but 'gateway' comes first by its name"},
    ),
}


@pytest.mark.parametrize("case", PARTNERS_PASSED_OVER)
def test_partners_that_lost_are_told_with_why(directory: Build, session: Session, path: MakePath, case: str) -> None:
    text, sender, winner, passed_over = PARTNERS_PASSED_OVER[case]
    match = met(directory(BASE + text), session(), path(sender), path("a@o.example"))
    assert match is not None
    assert match.connector.name == winner
    assert dict(match.passed_over) == passed_over
    assert match.rehearsing is None


@pytest.mark.parametrize(
    ("proof", "why"),
    [
        (("mx.p.example", "203.0.113.9"), "'z-certificate' names the client's certificate"),
        (("", "192.0.2.1"), "'y-address' holds the client's address"),
    ],
)
def test_a_proof_is_told_as_the_reason(
    directory: Build, session: Session, chain: Chain, path: MakePath, proof: tuple[str, str], why: str
) -> None:
    name, ip = proof
    index = directory(BASE + BY_DOMAIN + BY_ADDRESS + BY_CERTIFICATE)
    match = met(index, session(ip, chain(name) if name else None), path("x@p.example"), path("a@o.example"))
    assert match is not None
    assert match.is_known
    assert dict(match.passed_over)["connector 'a-domain' of o"].endswith(why)


def test_any_connector_for_the_sender_that_knows_the_session_counts_as_knowing_it(
    directory: Build, session: Session, path: MakePath
) -> None:
    narrow = inbound("o", "narrow", 'sender_domains = ["p.example"]\npriority = 1')
    wide = inbound("o", "wide", 'sender_domains = ["*"]\nsender_ip_addresses = ["192.0.2.1"]')
    for ip, known in {"192.0.2.1": True, "203.0.113.9": False}.items():
        match = met(directory(BASE + narrow + wide), session(ip), path("x@p.example"), path("a@o.example"))
        assert match is not None
        assert (match.connector.name, match.by_address, match.is_known) == ("narrow", False, known)


TRIAL = FRIEND + 'mode = "rehearse"\n'


def test_one_in_rehearsal_never_goes_before_one_in_force(directory: Build, session: Session, path: MakePath) -> None:
    match = met(directory(BASE + LOCKED + TRIAL), session(), path("x@friend.example"), path("a@o.example"))
    assert match is not None
    assert match.connector.name == "gateway"
    assert match.rehearsing is not None
    assert match.rehearsing.connector.name == "friend"
    assert match.passed_over == (("connector 'friend' of o", "would go first, but is in rehearsal"),)
    alone = met(directory(BASE + TRIAL), session(), path("x@friend.example"), path("a@o.example"))
    assert alone is not None
    assert (alone.connector.name, alone.rehearsing) == ("friend", None)


def test_one_in_rehearsal_makes_nobody_known(directory: Build, session: Session, path: MakePath) -> None:
    """What is known of the session may end a refusal of direct send, and a rehearsal changes nothing."""
    text = BASE + FRIEND + 'sender_ip_addresses = ["203.0.113.9"]\n'
    for mode, is_known in (("enforce", True), ("rehearse", False)):
        index = directory(f'{text}mode = "{mode}"\n')
        match = met(index, session("203.0.113.9"), path("x@friend.example"), path("a@o.example"))
        assert match is not None
        assert match.is_known is is_known


def test_several_in_rehearsal_are_told_as_that(directory: Build, session: Session, path: MakePath) -> None:
    trials = TRIAL + TRIAL.replace('"friend"', '"gamma"')
    match = met(directory(BASE + LOCKED + trials), session(), path("x@friend.example"), path("a@o.example"))
    assert match is not None
    assert dict(match.passed_over) == {
        "connector 'friend' of o": "would go first, but is in rehearsal",
        "connector 'gamma' of o": "is in rehearsal",
    }


def test_a_connector_that_takes_the_sender_in_twice_counts_once(
    directory: Build, session: Session, path: MakePath
) -> None:
    both = FRIEND.replace('["friend.example"]', '["friend.example", "*"]')
    match = met(directory(BASE + both), session(), path("x@friend.example"), path("a@o.example"))
    assert match is not None
    assert match.reasons == ("connector 'friend' of o matches sender domain friend.example exactly",)
    assert match.passed_over == ()


def test_whoever_the_recipient_is_only_where_it_makes_no_difference(
    directory: Build, session: Session, path: MakePath
) -> None:
    sure = met(directory(BASE + LOCKED + FRIEND), session(), path("x@friend.example"), None)
    assert sure is not None
    assert sure.connector.name == "friend"
    narrowed = FRIEND + 'associated_accepted_domains = ["second.example"]\n'
    assert met(directory(BASE + LOCKED + narrowed), session(), path("x@friend.example"), None) is None
    trial = met(directory(BASE + LOCKED + narrowed + 'mode = "rehearse"\n'), session(), path("x@friend.example"), None)
    assert trial is not None
    assert trial.connector.name == "gateway"


def test_mail_waits_only_for_an_organization_that_has_to_do_with_it(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    gone = CERTIFICATE.format("mail.partner.test") + '\ntrust_anchors = "/gone.pem"'
    index = directory(accepted("contoso", "contoso.example") + on_premises("contoso", "hq", gone))
    found = attribute(index, session(chain=chain("mail.partner.test")), path("x@partner.test"))
    assert found.awaited({"fabrikam"}) is None
    waiting = found.awaited({"fabrikam", "contoso"})
    assert waiting is not None
    assert waiting[0].name == "hq"
    own = attribute(directory(HQ + 'trust_anchors = "/gone.pem"'), session(chain=chain("mx.contoso.example")), path(""))
    assert own.awaited(()) is not None


@pytest.mark.parametrize(
    ("name", "basis"),
    [
        ("mail.o.example", "certificate"),
        ("mx.mail.o.example", "certificate"),
        ("*.o.example", "certificate"),
        ("other.o.example", "none"),
    ],
)
def test_a_wildcard_above_ones_domains_takes_in_no_other_server(
    directory: Build, session: Session, chain: Chain, path: MakePath, name: str, basis: str
) -> None:
    index = directory(accepted("o", "mail.o.example") + on_premises("o", "hq", CERTIFICATE.format("*.o.example")))
    assert attribute(index, session(chain=chain(name)), path("x@elsewhere.test")).basis == basis
    assert attribute(index, session(chain=chain(name)), path("x@mail.o.example")).organization == "o"


# A server that only its address identifies, and what senders_by_address lets it relay


def by_address(directory: Directory, facts: SessionFacts, sender: Path) -> Attribution:
    return attribute_by_address(directory, attribute(directory, facts, sender), facts, sender.domain)


def opted(value: str, name: str = "net", organization: str = "o", fields: str = "") -> str:
    networks = 'sender_ip_addresses = ["192.0.2.0/24"]'
    return on_premises(organization, name, f'{networks}\nsenders_by_address = "{value}"\n{fields}')


@pytest.mark.parametrize(
    ("value", "sender", "basis"),
    [
        ("accepted-domains", "", "none"),
        ("accepted-domains", "x@elsewhere.test", "none"),
        ("accepted-domains-and-null", "", "address-alone"),
        ("accepted-domains-and-null", "x@elsewhere.test", "none"),
        ("any", "", "address-alone"),
        ("any", "x@elsewhere.test", "address-alone"),
        ("any", "x@o.example", "address"),
        ("any", "x@other.example", "none"),
    ],
)
def test_an_address_alone_relays_what_the_connector_says(
    directory: Build, session: Session, path: MakePath, value: str, sender: str, basis: str
) -> None:
    text = accepted("o", "o.example") + accepted("other", "other.example") + opted(value)
    found = by_address(directory(text), session("192.0.2.7"), path(sender))
    assert found.basis == basis
    if basis == "address-alone":
        said = "the sender's domain elsewhere.test" if sender else "the null reverse-path"
        assert found.reasons == (
            f"connector 'net' of o holds the address 192.0.2.7, and its senders_by_address = '{value}' takes {said}",
        )
        assert (found.organization, found.direction) == ("o", "originating")


@pytest.mark.parametrize("fields", ['senders_by_address = "any"', ""])
def test_an_address_that_two_organizations_name_is_not_enough(
    directory: Build, session: Session, path: MakePath, fields: str
) -> None:
    second = on_premises("other", "theirs", f'sender_ip_addresses = ["192.0.2.7"]\n{fields}')
    text = accepted("o", "o.example") + accepted("other", "other.example") + opted("any") + second
    assert by_address(directory(text), session("192.0.2.7"), path("")).basis == "none"


def test_a_stranger_is_not_let_in_by_somebodys_address(directory: Build, session: Session, path: MakePath) -> None:
    text = accepted("o", "o.example") + opted("any")
    assert by_address(directory(text), session("203.0.113.9"), path("")).basis == "none"


def test_by_address_alone_one_in_rehearsal_goes_behind_one_in_force(
    directory: Build, session: Session, path: MakePath
) -> None:
    trial = opted("any", "a-trial", fields='mode = "rehearse"')
    text = accepted("o", "o.example") + trial
    alone = by_address(directory(text), session("192.0.2.7"), path(""))
    assert alone.connector is not None
    assert (alone.connector.name, alone.rehearsing) == ("a-trial", None)
    both = by_address(directory(text + opted("any")), session("192.0.2.7"), path(""))
    assert both.connector is not None
    assert both.rehearsing is not None
    assert (both.connector.name, both.rehearsing.name) == ("net", "a-trial")
    assert both.passed_over == (("connector 'a-trial' of o", "would go first, but is in rehearsal"),)


def test_a_filter_is_known_by_its_address_or_its_certificate(directory: Build, session: Session, chain: Chain) -> None:
    part = '[[organization.o.inbound_connector]]\nname = "{}"\nsender_domains = ["*"]\n{}\nef_skip_last_ip = true\n'
    text = accepted("o", "o.example") + part.format("address", 'sender_ip_addresses = ["192.0.2.7"]')
    index = directory(text + part.format("named", 'tls_sender_certificate_name = "f.test"'))
    (organization,) = index.organizations
    for facts, name in (
        (session("192.0.2.7"), "address"),
        (session("203.0.113.9", chain("f.test")), "named"),
        (session("203.0.113.9", chain("f.test", status="expired")), None),
        (session("203.0.113.9"), None),
    ):
        found = filter_of(index, organization, facts)
        assert (found.connector.name if found is not None else None) == name


def test_of_many_connectors_that_hold_an_address_few_are_told_and_no_more_looked_at(
    directory: Build, session: Session, path: MakePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another organization may name our servers' address in thousands of connectors, for each of our messages."""
    compared: list[str] = []

    def counted(entry: InboundEntry, *_: object) -> str:
        compared.append(entry.label)
        return "is not the one"

    monkeypatch.setattr(match, "address_loss", counted)
    own, others = "192.0.2.9/32", "192.0.2.8/31"
    text = accepted("contoso", "contoso.example") + on_premises("contoso", "z", f'sender_ip_addresses = ["{own}"]')
    for number in range(60):
        text += on_premises("fabrikam", f"a{number}", f'sender_ip_addresses = ["{others}"]')
    found = attribute(directory(text), session("192.0.2.9"), path("ann@contoso.example"))
    assert (found.organization, len(found.passed_over)) == ("contoso", 20)
    assert len(compared) == 21
