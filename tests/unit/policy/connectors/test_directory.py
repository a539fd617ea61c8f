from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.directory import Directory, address_key
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.protocols.tls.names import matches

Build = Callable[[str], Directory]
Leaf = Callable[..., CertificateFacts]

DOMAINS = """
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.accepted_domain]]
name = "*.relay.example"
type = "internal-relay"
[[organization.a.mailbox]]
address = "Ann@a.example"
[[organization.a.mailbox]]
address = '"two words"@a.example'
[[organization.b.accepted_domain]]
name = "b.elsewhere.example"
[[organization.b.accepted_domain]]
name = "bücher.example"
[[organization.b.mailbox]]
address = "leser@bücher.example"
"""

CONNECTORS = """
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.accepted_domain]]
name = "*.relay.example"
type = "internal-relay"
[[organization.a.inbound_connector]]
name = "wild"
connector_type = "on-premises"
tls_sender_certificate_name = "*.a.example"
[[organization.a.inbound_connector]]
name = "exact"
connector_type = "on-premises"
tls_sender_certificate_name = "mail.a.example"
trust_anchors = "/etc/own.pem"
[[organization.a.inbound_connector]]
name = "above"
connector_type = "on-premises"
tls_sender_certificate_name = "*.example"
trust_anchors = "/o.pem"
[[organization.a.inbound_connector]]
name = "foreign"
connector_type = "on-premises"
tls_sender_certificate_name = "mx.provider.test"
[[organization.a.inbound_connector]]
name = "net"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.0/24", "192.0.2.9", "2001:db8::/48"]
[[organization.a.inbound_connector]]
name = "off"
enabled = false
connector_type = "on-premises"
tls_sender_certificate_name = "*.a.example"
sender_ip_addresses = ["192.0.2.0/24"]
trust_anchors = "/etc/off.pem"
[[organization.a.inbound_connector]]
name = "partner"
sender_domains = ["p.example", "*.p.example", "*"]
sender_ip_addresses = ["198.51.100.0/24"]
associated_accepted_domains = ["a.example"]
trust_anchors = "system"
[[organization.b.accepted_domain]]
name = "b.example"
"""


@pytest.mark.parametrize(
    ("domain", "owner"),
    [
        ("a.example", "a"),
        ("x.a.example", ""),
        ("relay.example", "a"),
        ("x.relay.example", "a"),
        ("x.y.relay.example", "a"),
        ("b.elsewhere.example", "b"),
        ("x.b.elsewhere.example", ""),
        ("xn--bcher-kva.example", "b"),
        ("[192.0.2.1]", ""),
        ("", ""),
    ],
)
def test_who_accepts_a_domain(directory: Build, domain: str, owner: str) -> None:
    found = directory(DOMAINS).organization_of(domain)
    assert (found.name if found else "") == owner


@pytest.mark.parametrize(
    ("domain", "organization", "owned"),
    [
        ("a.example", "a", True),
        ("a.example", "b", False),
        ("x.a.example", "a", True),
        ("x.relay.example", "a", True),
        ("x.b.elsewhere.example", "b", True),
        ("elsewhere.example", "b", False),
        ("", "a", False),
    ],
)
def test_whose_a_domain_is_or_the_nearest_above(
    directory: Build, domain: str, organization: str, *, owned: bool
) -> None:
    assert directory(DOMAINS).owns(organization, domain) is owned


def test_the_accepted_domain_itself_and_the_organizations_by_name(directory: Build) -> None:
    index = directory(DOMAINS)
    domain = index.accepted_domain("x.relay.example")
    assert domain is not None
    assert (domain.name, domain.type) == ("*.relay.example", "internal-relay")
    assert index.accepted_domain("elsewhere.example") is None
    assert index.organization("a") is index.organization_of("a.example")
    assert index.organization("nobody") is None


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("ann@a.example", True),
        ("ANN@A.EXAMPLE", True),
        ("bob@a.example", False),
        ('"two words"@a.example', True),
        ("two words@a.example", True),
        ("leser@xn--bcher-kva.example", True),
        ("Leser@bücher.example", True),
        ("leser@büch\u200d er.example", False),
        ('"ann"@a.example', True),
        ('"broken@a.example', False),
        ("", False),
    ],
)
def test_mailboxes_are_found_whatever_the_writing(directory: Build, address: str, *, known: bool) -> None:
    index = directory(DOMAINS)
    assert (index.mailbox(address) is not None) is known
    assert index.without_detail(address) == index.without_detail(address.upper())


def test_an_alias_is_found_and_known_as_one(directory: Build) -> None:
    index = directory(
        DOMAINS.replace('address = "Ann@a.example"', 'address = "Ann@a.example"\naliases = ["i@a.example"]')
    )
    found = index.recipient("I@a.example")
    assert found is not None
    assert found.mailbox is index.mailbox("ann@a.example")
    assert found.is_alias


def test_domains_with_mailboxes(directory: Build) -> None:
    index = directory(DOMAINS)
    assert index.has_mailboxes("a.example")
    assert index.has_mailboxes("xn--bcher-kva.example")
    assert not index.has_mailboxes("b.elsewhere.example")


@pytest.mark.parametrize(
    ("names", "common_name", "found"),
    [
        (["mail.a.example"], "", {"wild", "exact", "above"}),
        (["other.a.example"], "", {"wild", "above"}),
        (["*.a.example"], "", {"wild", "exact", "above"}),
        (["mx.provider.test"], "", {"foreign"}),
        ([], "mx.provider.test", {"foreign"}),
        (["elsewhere.test"], "", set()),
        ([], "", set()),
    ],
)
def test_candidates_for_a_certificate(
    directory: Build, leaf: Leaf, names: list[str], common_name: str, found: set[str]
) -> None:
    entries = directory(CONNECTORS).on_premises_by_certificate(leaf(*names, common_name=common_name))
    assert {entry.connector.name for entry in entries} == found
    assert len(entries) == len(found)


def test_without_certificate_names_there_are_no_candidates(directory: Build, leaf: Leaf) -> None:
    assert directory(DOMAINS).on_premises_by_certificate(leaf("mail.a.example")) == []


def test_how_much_a_certificate_name_is_the_organizations_own(directory: Build, leaf: Leaf) -> None:
    entries = directory(CONNECTORS).on_premises_by_certificate(leaf("mail.a.example", "mx.provider.test"))
    assert {entry.connector.name: entry.ownership for entry in entries} == {
        "wild": 2,
        "exact": 0,
        "above": 1,
        "foreign": 0,
    }


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("192.0.2.1", ["net"]),
        ("192.0.2.9", ["net"]),
        ("::ffff:192.0.2.1", ["net"]),
        ("192.0.3.1", []),
        ("2001:db8:0:1::1", ["net"]),
        ("2001:db8:1::1", []),
        ("198.51.100.1", []),
        ("", []),
        ("not an address", []),
    ],
)
def test_on_premises_connectors_at_an_address(directory: Build, address: str, found: list[str]) -> None:
    found_by = directory(CONNECTORS).on_premises_by_address(address_key(address))
    assert [entry.connector.name for entry in found_by.entries] == found


def test_addresses_of_both_kinds_do_not_meet() -> None:
    assert address_key("0.0.0.1") != address_key("::1")


def test_partners_by_sender_domain_the_most_specific_first(directory: Build) -> None:
    index = directory(CONNECTORS).partners("a")
    assert index is not None
    assert [(rank, pattern) for rank, pattern, _ in index.candidates("p.example")] == [
        (0, "p.example"),
        (1, "*.p.example"),
        (3, "*"),
    ]
    assert [pattern for _, pattern, _ in index.candidates("x.y.p.example")] == ["*.p.example", "*"]
    assert [pattern for _, pattern, _ in index.candidates("")] == ["*"]
    assert directory(CONNECTORS).partners("b") is None


def test_what_an_entry_says_of_itself(directory: Build) -> None:
    index = directory(CONNECTORS).partners("a")
    assert index is not None
    entry = next(entry for _, _, entry in index.candidates("p.example"))
    assert entry.label == "connector 'partner' of a"
    assert entry.holds(address_key("198.51.100.77"))
    assert not entry.holds(address_key("198.51.101.77"))
    assert not entry.holds(None)
    assert entry.associated("a.example")
    assert not entry.associated("x.relay.example")


def test_an_entry_is_limited_to_a_domain_with_all_names_below_it(directory: Build) -> None:
    limited = 'associated_accepted_domains = ["a.example"]'
    index = directory(CONNECTORS.replace(limited, limited.replace("a.example", "*.relay.example"))).partners("a")
    assert index is not None
    entry = next(entry for _, _, entry in index.candidates("p.example"))
    assert [entry.associated(name) for name in ("relay.example", "x.relay.example", "a.example")] == [True, True, False]


def test_the_connectors_of_a_certificate_are_kept_for_a_few(directory: Build, leaf: Leaf) -> None:
    index = directory(CONNECTORS)
    first = index.on_premises_by_certificate(leaf("mail.a.example"))
    assert index.on_premises_by_certificate(leaf("mail.a.example")) is first
    for number in range(64):
        index.on_premises_by_certificate(leaf(f"mx{number}.test"))
    again = index.on_premises_by_certificate(leaf("mail.a.example"))
    assert again == first
    assert again is not first


def test_disabled_connectors_are_not_indexed(directory: Build) -> None:
    assert directory(CONNECTORS).client_anchors(None) == {"/etc/own.pem", "/o.pem", "system"}


OUTBOUND = """
[[organization.a.outbound_connector]]
name = "second"
recipient_domains = ["p.example"]
[[organization.a.outbound_connector]]
name = "first"
recipient_domains = ["p.example", "*"]
[[organization.a.outbound_connector]]
name = "preferred"
priority = 5
recipient_domains = ["*.p.example"]
[[organization.a.outbound_connector]]
name = "off"
enabled = false
recipient_domains = ["q.example"]
[[organization.a.outbound_connector]]
name = "scoped"
is_transport_rule_scoped = true
[[organization.a.outbound_connector]]
name = "home"
connector_type = "on-premises"
all_accepted_domains = true
[[organization.a.outbound_connector]]
name = "central"
connector_type = "on-premises"
route_all_messages_via_on_premises = true
"""


def test_outbound_connectors_by_place(directory: Build) -> None:
    index = directory(OUTBOUND).outbound("a")
    assert index is not None
    assert [(pattern, one.name) for pattern, one in index.candidates("p.example")] == [
        ("p.example", "first"),
        ("p.example", "second"),
        ("*.p.example", "preferred"),
        ("*", "first"),
    ]
    assert [one.name for _, one in index.candidates("q.example")] == ["first"]
    assert index.everything is not None
    assert index.everything.name == "central"
    assert [[one.name for one in place] for place in (index.accepted, index.central)] == [["home"], ["central"]]
    assert directory(OUTBOUND).outbound("nobody") is None


@pytest.mark.parametrize(("name", "found"), [("SCOPED", "scoped"), ("off", "off"), ("First", "first"), ("none", "")])
def test_an_outbound_connector_by_name(directory: Build, name: str, found: str) -> None:
    index = directory(OUTBOUND).outbound("a")
    assert index is not None
    connector = index.named(name)
    assert (connector.name if connector else "") == found


def test_a_rule_scoped_connector_stands_at_no_place(directory: Build) -> None:
    scoped = '[[organization.a.outbound_connector]]\nname = "scoped"\nis_transport_rule_scoped = true\n'
    index = directory(scoped + 'recipient_domains = ["p.example"]\nconnector_type = "on-premises"').outbound("a")
    assert index is not None
    assert not list(index.candidates("p.example"))
    assert (index.accepted, index.central, index.everything) == ((), (), None)


def test_a_narrower_certificate_name_is_more_specific(directory: Build, leaf: Leaf) -> None:
    entries = directory(CONNECTORS).on_premises_by_certificate(leaf("mail.a.example"))
    ordered = sorted(entries, key=lambda entry: entry.specificity, reverse=True)
    assert [entry.connector.name for entry in ordered] == ["exact", "wild", "above"]


REVOCATION = """
[[organization.a.accepted_domain]]
name = "a.example"
[[organization.a.inbound_connector]]
name = "own"
connector_type = "on-premises"
tls_sender_certificate_name = "mail.a.example"
[[organization.a.inbound_connector]]
name = "unchecked"
connector_type = "on-premises"
tls_sender_certificate_name = "old.a.example"
revocation_check = "none"
[[organization.a.inbound_connector]]
name = "disabled"
enabled = false
connector_type = "on-premises"
tls_sender_certificate_name = "gone.a.example"
[[organization.a.inbound_connector]]
name = "partner"
sender_domains = ["partner.example"]
tls_sender_certificate_name = "*.partner.example"
trust_anchors = "/etc/partner.pem"
revocation_check = "hard-fail"
[[organization.a.inbound_connector]]
name = "no certificate"
sender_domains = ["other.example"]
[[organization.a.inbound_connector]]
name = "common name"
sender_domains = ["cn.example"]
tls_sender_certificate_name = "mx.cn.example"
match_common_name = true
"""


@pytest.mark.parametrize(
    ("names", "common_name", "anchors"),
    [
        (["mail.a.example"], "", {""}),
        (["*.a.example"], "", {""}),
        (["mail.b.example"], "", set()),
        (["old.a.example"], "", set()),
        (["gone.a.example"], "", set()),
        (["mx.partner.example"], "", {"/etc/partner.pem"}),
        (["mx.partner.example", "mail.a.example"], "", {"", "/etc/partner.pem"}),
        ([], "mail.a.example", set()),
        ([], "mx.cn.example", {""}),
    ],
)
def test_for_which_certificates_revocation_matters(
    directory: Build, leaf: Leaf, names: list[str], common_name: str, anchors: set[str]
) -> None:
    assert directory(REVOCATION).revocation_anchors(leaf(*names, common_name=common_name)) == anchors


def test_a_certificate_with_the_names_of_all_partners_is_compared_once_for_each_set_of_anchors(
    directory: Build, leaf: Leaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    connectors = "".join(
        f"""
        [[organization.a.inbound_connector]]
        name = "p{number}"
        sender_domains = ["p{number}.example"]
        tls_sender_certificate_name = "mail.p{number}.example"
        """
        for number in range(50)
    )
    asked: list[str] = []

    def compared(reference: str, presented: CertificateFacts, *, common_name: bool = False) -> bool:
        asked.append(reference)
        return matches(reference, presented, common_name=common_name)

    monkeypatch.setattr("gatepost.policy.connectors.directory.matches", compared)
    everybody = leaf(*(f"mail.p{number}.example" for number in range(50)))
    assert directory("[organization.a]" + connectors).revocation_anchors(everybody) == {""}
    assert len(asked) == 1


ISSUER = '[[organization.{}.oauth_issuer]]\nname = "{}"\nissuer = "https://{}.example"\naudiences = ["smtp"]\n'


def test_issuers_and_passwords(directory: Build) -> None:
    text = ISSUER.format("a", "one", "idp") + ISSUER.format("b", "two", "idp")
    both = directory(text + ISSUER.format("b", "off", "other") + "enabled = false\n")
    found = [(owner.name, issuer.name) for owner, issuer in both.oauth_issuers("https://idp.example")]
    assert found == [("a", "one"), ("b", "two")]
    assert not both.oauth_issuers("https://other.example")
    assert both.takes_tokens
    assert both.takes_passwords
    assert not directory("[organization.a]").takes_tokens
    assert not directory("[organization.a]\nallow_basic_auth_smtp = false").takes_passwords


def test_disputed_names_and_other_resources_of_the_same_version(directory: Build) -> None:
    wide = '[[organization.c.accepted_domain]]\nname = "*.a.example"\ntype = "internal-relay"\n'
    index = directory(DOMAINS + wide)
    found = {one: index.is_disputed(one) for one in ("a.example", "x.a.example", "relay.example", "", "d.example")}
    assert [one for one, disputed in found.items() if disputed] == ["a.example", "x.a.example"]
    assert not index.accepts("a", "a.example")
    other = index.with_resources(directory(DOMAINS).resources)
    assert (other.version, other.first) == (index.version, index.first)
    assert other.accepts("a", "a.example")
    assert not other.accepts("b", "a.example")
    assert not other.is_disputed("x.a.example")


def test_a_certificate_name_of_another_organization_is_not_ones_own(directory: Build, leaf: Leaf) -> None:
    above = (
        '[[organization.a.inbound_connector]]\nname = "above"\nconnector_type = "on-premises"\n'
        'tls_sender_certificate_name = "*.o.example"\n[[organization.a.accepted_domain]]\nname = "a.o.example"\n'
    )
    theirs = '[[organization.b.accepted_domain]]\nname = "o.example"\n'
    found = {
        (borne, text == above): directory(text).on_premises_by_certificate(leaf(borne))[0].ownership
        for borne in ("mail.a.o.example", "*.o.example", "mail.o.example")
        for text in (above, above + theirs)
    }
    assert [key for key, ownership in found.items() if ownership] == [("mail.a.o.example", True), ("*.o.example", True)]


def test_the_recipients_that_a_relayed_domain_lists(directory: Build, path: Callable[[str], Path]) -> None:
    text = (
        '[[organization.o.accepted_domain]]\nname = "o.example"\ntype = "internal-relay"\nrecipients = ["a@o.example"]'
    )
    resources = directory(text)
    domain = resources.accepted_domain("o.example")
    assert domain is not None
    assert resources.lists_recipient(domain, path("A@o.example"))
    assert not resources.lists_recipient(domain, path("b@o.example"))
    assert resources.recipient_keys(domain, path("A@o.example")) == ("a@o.example",)


def test_filters_are_partner_connectors_in_force_that_skip_hops_in_their_order(
    directory: Callable[[str], Directory],
) -> None:
    part = (
        '[[organization.o.inbound_connector]]\nname = "{}"\nsender_domains = ["*"]\n'
        'sender_ip_addresses = ["192.0.2.1"]\n{}\n'
    )
    index = directory(
        '[[organization.o.accepted_domain]]\nname = "o.example"\n'
        + part.format("b", "ef_skip_last_ip = true")
        + part.format("a", 'ef_skip_ips = ["192.0.2.1"]')
        + part.format("first", "ef_skip_last_ip = true\npriority = 1")
        + part.format("plain", "")
        + part.format("trial", 'ef_skip_last_ip = true\nmode = "rehearse"')
        + part.format("off", "ef_skip_last_ip = true\nenabled = false")
    )
    assert [entry.connector.name for entry in index.filters("o")] == ["first", "a", "b"]
    assert list(index.filters("p")) == []
