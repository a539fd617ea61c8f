from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatepost.connectors.match import attribute, match_partner, partner_connector, select_outbound

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.connectors.facts import SessionFacts
    from gatepost.connectors.match import Directory
    from gatepost.smtp.grammar import Path
    from gatepost.tls.facts import ChainVerdict

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


def outbound(name: str, fields: str) -> str:
    return f'[[organization.o.outbound_connector]]\nname = "{name}"\n{fields}\n'


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
    assert "neither that name nor the sender's domain (elsewhere.example) is an accepted domain" in found.reasons[0]
    null = attribute(directory(NOT_OWN), session(chain=chain("mail.contoso.example")), path(""))
    assert "the null reverse-path" in null.reasons[0]


def test_a3_the_senders_domain_makes_up_for_the_name(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    found = attribute(directory(NOT_OWN), session(chain=chain("mail.contoso.example")), path("x@contoso.example"))
    assert (found.direction, found.basis) == ("originating", "certificate-and-sender")
    assert "no accepted domain of contoso, but the sender's domain is" in found.reasons[-1]


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
        "connector 'net' of contoso holds the address 192.0.2.77, and the sender's domain contoso.example is its own",
    )


@pytest.mark.parametrize(
    ("sender", "said"),
    [("", "the null reverse-path"), ("x@elsewhere.example", "the sender's domain elsewhere.example")],
)
def test_a7_an_address_alone_identifies_nobody(
    directory: Build, session: Session, path: MakePath, sender: str, said: str
) -> None:
    found = attribute(directory(ADDRESS), session("192.0.2.77"), path(sender))
    assert found.direction == "none"
    assert f"but {said} is no accepted domain" in found.reasons[0]


def test_a_stranger_gets_one_plain_reason(directory: Build, session: Session, chain: Chain, path: MakePath) -> None:
    for facts in (session(), session(chain=chain("mail.elsewhere.example"))):
        found = attribute(directory(HQ), facts, path("x@contoso.example"))
        assert found.reasons == ("no on-premises connector knows the session",)


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
    assert "it was not judged by the connector's trust_anchors" in public.reasons[0]


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
    connector, reasons = partner_connector(directory, organization, facts, sender, recipient)
    assert reasons
    return connector.name if connector else ""


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
    _, reasons = partner_connector(index, organization, session(), path(sender), path("a@o.example"))
    assert reasons == (reason,)


@pytest.mark.parametrize(("sender", "said"), [("x@q.example", "q.example"), ("", "the null reverse-path")])
def test_no_match_is_told(directory: Build, session: Session, path: MakePath, sender: str, said: str) -> None:
    index = directory(BASE + FRIEND)
    organization = index.organization("o")
    assert organization is not None
    _, reasons = partner_connector(index, organization, session(), path(sender), path("a@o.example"))
    assert reasons == (f"no partner connector of o holds for {said}",)


# Outbound connectors

EXACT = outbound("exact", 'recipient_domains = ["sales.o.example"]')
WILD = outbound("wild", 'recipient_domains = ["*.o.example"]')
WIDER = outbound("wider", 'recipient_domains = ["*.example"]')
ALL = outbound("all", 'recipient_domains = ["*"]')
HOME = outbound("home", 'connector_type = "on-premises"\nall_accepted_domains = true')
CENTRAL = outbound("central", 'connector_type = "on-premises"\nroute_all_messages_via_on_premises = true')
SALES = accepted("o", "sales.o.example")


@pytest.mark.parametrize(
    ("text", "domain", "name", "reason"),
    [
        # O6: exact, then the longest wildcard, then all accepted domains, then "*"
        (
            ALL + HOME + WIDER + WILD + EXACT,
            "sales.o.example",
            "exact",
            "connector 'exact' of o matches recipient domain sales.o.example exactly",
        ),
        (
            ALL + HOME + WIDER + WILD,
            "sales.o.example",
            "wild",
            "connector 'wild' of o matches recipient domain sales.o.example by '*.o.example'",
        ),
        (ALL + HOME + WIDER, "sales.o.example", "wider", "by '*.example'"),
        (ALL + HOME, "sales.o.example", "home", "takes all accepted domains, and sales.o.example is one"),
        (HOME, "sales.o.example", "home", "takes all accepted domains"),
        (ALL + HOME, "elsewhere.test", "all", "matches recipient domain elsewhere.test by '*'"),
        (HOME, "elsewhere.test", "", "no outbound connector of o matches recipient domain elsewhere.test"),
        ("", "elsewhere.test", "", "no outbound connector of o"),
        (WILD, "o.example", "wild", "by '*.o.example'"),
        (EXACT.replace('"exact"', '"exact"\nenabled = false'), "sales.o.example", "", "no outbound connector"),
        (CENTRAL + EXACT, "sales.o.example", "central", "takes all messages first"),
    ],
)
def test_which_outbound_connector_takes_a_domain(
    directory: Build, text: str, domain: str, name: str, reason: str
) -> None:
    index = directory(SALES + text)
    organization = index.organization("o")
    assert organization is not None
    connector, reasons = select_outbound(index, organization, domain)
    assert (connector.name if connector else "") == name
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_a_priority_goes_before_specificity_and_says_so(directory: Build) -> None:
    index = directory(SALES + ALL + "priority = 7\n" + EXACT)
    organization = index.organization("o")
    assert organization is not None
    connector, reasons = select_outbound(index, organization, "sales.o.example")
    assert connector is not None
    assert connector.name == "all"
    assert reasons[1] == "its priority 7 goes before the more specific connector 'exact' of o"


def test_o8_mail_that_came_from_on_premises_is_not_sent_back(directory: Build) -> None:
    index = directory(SALES + CENTRAL + WILD)
    organization = index.organization("o")
    assert organization is not None
    connector, _ = select_outbound(index, organization, "sales.o.example", from_on_premises=True)
    assert connector is not None
    assert connector.name == "wild"


def test_an_organization_of_another_version_is_not_known(directory: Build) -> None:
    stranger = directory("[organization.gone]").organization("gone")
    assert stranger is not None
    connector, reasons = select_outbound(directory(SALES), stranger, "a.example")
    assert connector is None
    assert reasons == ("organization gone is not known",)
