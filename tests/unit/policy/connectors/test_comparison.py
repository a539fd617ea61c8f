from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.comparison import (
    address_claim,
    address_loss,
    certificate_claim,
    certificate_loss,
    other_inbound,
    other_outbound,
    partner_loss,
)
from gatepost.policy.connectors.directory import Directory, InboundEntry
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.tls.facts import ChainVerdict

Build = Callable[[str], Directory]
Chain = Callable[..., ChainVerdict]
Session = Callable[..., SessionFacts]
MakePath = Callable[[str], Path]

# Names of connectors say what they are; o.example and mail.o.example are o's, p.example is p's.
CONNECTORS = """
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.accepted_domain]]
name = "mail.o.example"
[[organization.p.accepted_domain]]
name = "p.example"
[[organization.o.inbound_connector]]
name = "exact"
connector_type = "on-premises"
tls_sender_certificate_name = "mail.o.example"
[[organization.o.inbound_connector]]
name = "wild"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
[[organization.o.inbound_connector]]
name = "first"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
priority = 5
[[organization.o.inbound_connector]]
name = "narrow"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
sender_ip_addresses = ["192.0.2.1"]
associated_accepted_domains = ["mail.o.example"]
[[organization.o.inbound_connector]]
name = "zz"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
sender_ip_addresses = ["192.0.2.0/24"]
[[organization.o.inbound_connector]]
name = "cloud"
connector_type = "on-premises"
tls_sender_certificate_name = "*.cloud.test"
[[organization.o.inbound_connector]]
name = "off"
enabled = false
sender_domains = ["*"]
[[organization.o.inbound_connector]]
name = "partner"
sender_domains = ["a.test", "*.b.test"]
[[organization.o.inbound_connector]]
name = "pilot"
sender_domains = ["*"]
associated_accepted_domains = ["mail.o.example"]
[[organization.o.inbound_connector]]
name = "trial"
mode = "rehearse"
priority = 1
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
sender_ip_addresses = ["192.0.2.0/24"]
[[organization.p.inbound_connector]]
name = "theirs"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
sender_ip_addresses = ["192.0.2.0/24"]
[[organization.p.inbound_connector]]
name = "their pattern"
connector_type = "on-premises"
tls_sender_certificate_name = "*.example"
trust_anchors = "/o.pem"
"""


@pytest.fixture
def entry(directory: Build) -> Callable[[str], InboundEntry]:
    index = directory(CONNECTORS)
    found = {
        connector.name: index.entry(organization, connector)
        for organization in index.resources.organizations
        for connector in organization.inbound_connectors
    }
    return lambda name: found[name]


@pytest.mark.parametrize(
    ("loser", "winner", "sender", "end"),
    [
        ("wild", "first", "o.example", "but priority 5 of 'first' goes before its 100"),
        ("wild", "exact", "o.example", "but 'exact' names it more specifically"),
        ("zz", "wild", "o.example", "but 'wild' comes first by its name"),
        ("narrow", "wild", "o.example", "but it is limited to mail.o.example"),
        ("trial", "wild", "o.example", "but is in rehearsal, and 'wild' is in force"),
        ("theirs", "wild", "o.example", "but that is not an accepted domain of p"),
        ("their pattern", "exact", "o.example", "but connector 'exact' of o names it more specifically"),
        ("exact", "their pattern", "p.example", "but the sender's domain p.example belongs to p"),
    ],
)
def test_why_a_name_that_the_certificate_bears_did_not_count(
    entry: Callable[[str], InboundEntry], loser: str, winner: str, sender: str, end: str
) -> None:
    said = certificate_loss(entry(loser), entry(winner), sender)
    name = entry(loser).connector.tls_sender_certificate_name
    assert said == f"names {name}, which the certificate has too, {end}"


@pytest.mark.parametrize(
    ("loser", "winner", "basis", "end"),
    [
        ("zz", "wild", "certificate", "but a certificate goes before an address"),
        ("theirs", "zz", "address", "but the sender's domain o.example belongs to o"),
        ("narrow", "zz", "address", "but it is limited to mail.o.example"),
        ("zz", "first", "address", "but priority 5 of 'first' goes before its 100"),
        ("trial", "zz", "address", "but is in rehearsal, and 'zz' is in force"),
        ("zz", "wild", "address", "but 'wild' has the narrower network, or comes first by its name"),
    ],
)
def test_why_an_address_did_not_count(
    entry: Callable[[str], InboundEntry], session: Session, loser: str, winner: str, basis: str, end: str
) -> None:
    said = address_loss(entry(loser), entry(winner), basis, session("192.0.2.1"), "o.example")
    assert said == f"holds the address 192.0.2.1 too, {end}"


@pytest.mark.parametrize(
    ("name", "sender", "end"),
    [
        ("cloud", "x.test", "neither that name nor the sender's domain x.test is an accepted domain of o"),
        ("cloud", "", "neither that name nor the null reverse-path is an accepted domain of o"),
        ("narrow", "o.example", "it is limited to mail.o.example, and the sender's domain o.example is none of these"),
        (
            "wild",
            "x.test",
            "other organizations name it as specifically, and the sender's domain x.test is of none of them",
        ),
    ],
)
def test_why_a_certificate_does_not_say_whose_mail_it_is(
    entry: Callable[[str], InboundEntry], name: str, sender: str, end: str
) -> None:
    pattern = entry(name).connector.tls_sender_certificate_name
    said = certificate_claim(entry(name), sender)
    assert said == f"names {pattern}, which the client's certificate has, but {end}"


@pytest.mark.parametrize(
    ("name", "sender", "end"),
    [
        ("zz", "", "the null reverse-path names no accepted domain, and senders_by_address does not take it"),
        ("zz", "x.test", "the sender's domain x.test is not one of its accepted domains"),
        (
            "narrow",
            "o.example",
            "it is limited to mail.o.example, and the sender's domain o.example is none of these",
        ),
    ],
)
def test_why_an_address_does_not_say_whose_mail_it_is(
    entry: Callable[[str], InboundEntry], session: Session, name: str, sender: str, end: str
) -> None:
    said = address_claim(entry(name), session("192.0.2.1"), sender)
    assert said == f"holds the address 192.0.2.1, but {end}"


@pytest.mark.parametrize(
    ("loser", "winner", "end"),
    [
        ((100, 0, 3, "a"), (5, 1, 3, "b"), "priority 5 of 'b' goes before its 100"),
        ((100, 1, 0, "a"), (100, 0, 3, "b"), "'b' names it more specifically ('x.test')"),
        ((100, 0, 1, "a"), (100, 0, 0, "b"), "'b' names the client's certificate"),
        ((100, 0, 2, "a"), (100, 0, 1, "b"), "'b' holds the client's address"),
        ((100, 0, 3, "a"), (100, 0, 2, "b"), "'b' restricts who may send"),
        ((100, 0, 3, "b"), (100, 0, 3, "a"), "'a' comes first by its name"),
    ],
)
def test_why_a_partner_connector_did_not_count(
    loser: tuple[int, int, int, str], winner: tuple[int, int, int, str], end: str
) -> None:
    said = partner_loss(loser, winner, ("*", "x.test"), "x.test")
    assert said == f"matches the sender's domain x.test by '*', but {end}"


def others(
    index: Directory, facts: SessionFacts, envelope: tuple[Path, Path], decided: dict[str, str] | None = None
) -> dict[str, str]:
    organization = index.organization("o")
    assert organization is not None
    return dict(other_inbound(index, organization, facts, envelope, decided or {}))


def test_every_other_inbound_connector_has_its_reason(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    index, ends = directory(CONNECTORS), (path("x@c.test"), path("a@o.example"))
    found = others(index, session("198.51.100.1", chain("mx.cloud.test")), ends)
    other = "and the client's certificate has other names (mx.cloud.test)"
    elsewhere = "and 198.51.100.1 is not among these"
    assert found == {
        "connector 'exact' of o": f"names mail.o.example, {other}",
        "connector 'wild' of o": f"names *.o.example, {other}",
        "connector 'first' of o": f"names *.o.example, {other}",
        "connector 'narrow' of o": f"names *.o.example, {other}; holds 192.0.2.1, {elsewhere}",
        "connector 'zz' of o": f"names *.o.example, {other}; holds 192.0.2.0/24, {elsewhere}",
        "connector 'trial' of o": f"names *.o.example, {other}; holds 192.0.2.0/24, {elsewhere}",
        "connector 'cloud' of o": "names *.cloud.test, which the client's certificate has, but neither that name nor "
        "the sender's domain c.test is an accepted domain of o",
        "connector 'off' of o": "is disabled",
        "connector 'partner' of o": "is for mail of a.test, *.b.test, and the sender's domain c.test is not among them",
        "connector 'pilot' of o": "is limited to mail.o.example, and o.example is none of these",
    }


def test_what_was_decided_goes_before_and_the_one_that_applied_is_left_out(
    directory: Build, session: Session, path: MakePath
) -> None:
    index, ends = directory(CONNECTORS), (path("x@a.test"), path("a@mail.o.example"))
    decided = {"connector 'pilot' of o": "", "connector 'partner' of o": "lost"}
    found = others(index, session("192.0.2.1"), ends, decided)
    assert "connector 'pilot' of o" not in found
    assert found["connector 'partner' of o"] == "lost"
    assert found["connector 'zz' of o"].endswith(
        "; holds the address 192.0.2.1, but the sender's domain a.test is not one of its accepted domains"
    )


@pytest.mark.parametrize(
    ("recipient", "why"),
    [
        ("a@mail.o.example", "is for mail from others, and this comes from an own server"),
        ("a@p.example", "is for mail to o, and p.example is none of its domains"),
        ("postmaster", "is for mail to o, and postmaster is none of its domains"),
    ],
)
def test_a_partner_connector_has_no_part_in_mail_of_ones_own(
    directory: Build, session: Session, path: MakePath, recipient: str, why: str
) -> None:
    found = others(directory(CONNECTORS), session(), (path("x@a.test"), path(recipient)))
    assert found["connector 'partner' of o"] == why


def test_an_on_premises_connector_that_names_nothing_says_so(
    directory: Build, session: Session, path: MakePath
) -> None:
    index = directory(CONNECTORS)
    organization = index.organization("o")
    assert organization is not None
    blank = organization.inbound_connectors[0].model_copy(update={"tls_sender_certificate_name": None})
    only = organization.model_copy(update={"inbound_connectors": (blank,)})
    ((_, why),) = other_inbound(index, only, session(), (path(""), path("a@o.example")), {})
    assert why == "names neither a certificate nor an address"


def test_a_partner_connector_of_no_domain_says_so(directory: Build, session: Session, path: MakePath) -> None:
    index = directory(CONNECTORS)
    organization = index.organization("o")
    assert organization is not None
    blank = organization.inbound_connectors[-2].model_copy(update={"sender_domains": ()})
    only = organization.model_copy(update={"inbound_connectors": (blank,)})
    ((_, why),) = other_inbound(index, only, session(), (path(""), path("a@o.example")), {})
    assert why == "is for mail of none, and the null reverse-path is not among them"


OUTBOUND = """
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.outbound_connector]]
name = "chosen"
recipient_domains = ["x.test"]
[[organization.o.outbound_connector]]
name = "off"
enabled = false
recipient_domains = ["x.test"]
[[organization.o.outbound_connector]]
name = "rule"
is_transport_rule_scoped = true
[[organization.o.outbound_connector]]
name = "many"
recipient_domains = ["1.test", "2.test", "3.test", "4.test", "5.test", "6.test", "7.test", "8.test", "9.test", "a.test"]
[[organization.o.outbound_connector]]
name = "home"
connector_type = "on-premises"
all_accepted_domains = true
[[organization.o.outbound_connector]]
name = "lost"
recipient_domains = ["*"]
"""


def test_every_other_outbound_connector_has_its_reason(directory: Build) -> None:
    organization = directory(OUTBOUND).organization("o")
    assert organization is not None
    chosen = organization.outbound_connectors[0]
    found = dict(other_outbound(organization, "x.test", chosen, {"connector 'lost' of o": "is less specific"}))
    assert found == {
        "connector 'off' of o": "is disabled",
        "connector 'rule' of o": "is used where a mail flow rule names it, and none does for this message",
        "connector 'many' of o": (
            "is for 1.test, 2.test, 3.test, 4.test, 5.test, 6.test, 7.test, 8.test and 2 more, "
            "and x.test is not among them"
        ),
        "connector 'home' of o": "takes all accepted domains, and x.test is none",
        "connector 'lost' of o": "is less specific",
    }
    assert "connector 'chosen' of o" in dict(other_outbound(organization, "y.test", None, {}))


def test_an_outbound_connector_of_no_domain_says_so(directory: Build) -> None:
    organization = directory(OUTBOUND).organization("o")
    assert organization is not None
    blank = organization.outbound_connectors[0].model_copy(update={"recipient_domains": ()})
    only = organization.model_copy(update={"outbound_connectors": (blank,)})
    assert list(other_outbound(only, "x.test", None, {})) == [("connector 'chosen' of o", "is for no domain")]
