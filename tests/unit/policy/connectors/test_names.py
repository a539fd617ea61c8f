from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.names import (
    SmartHost,
    address_pattern,
    addresses_without_lookup,
    circle_from,
    covers,
    domain_name,
    domain_pattern,
    host_port,
    https_issuer,
    https_url,
    is_this_machine,
    mail_address,
    network,
    parents,
    patterns,
    resource_label,
    socket_path,
)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True).filter(lambda label: label[2:4] != "--")
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("kind", "organization", "label"),
    [
        ("outbound_connector", "contoso", "outbound connector 'bank' of contoso"),
        ("oauth_issuer", "", "OAuth issuer 'bank'"),
        ("something_new", "", "something_new 'bank'"),
    ],
)
def test_sentences_name_a_resource_by_its_kind(kind: str, organization: str, label: str) -> None:
    assert resource_label(kind, "bank", organization) == label


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("b.example", "b.example"),
        ("B.Example.", "b.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
    ],
)
def test_a_domain_has_one_form(written: str, name: str) -> None:
    assert domain_name(written) == name


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("*.b.example", "has a wildcard, and one domain is needed here"),
        ("[192.0.2.1]", "is an address literal, and a domain is needed here"),
        ("", "is not a domain"),
        ("a b.example", "is not a domain"),
        ("-a.example", "is not a domain"),
        ("a..example", "is not a domain"),
        ("a\n.example", "is not a domain"),
        ("a" * 64 + ".example", "is not a domain"),
        ("a@b.example", "is not a domain"),
        ("x\u200d\u00e9.example", "is not a domain"),
    ],
)
def test_what_is_no_domain_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"is not a domain|is needed here") as refused:
        domain_name(written)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("written", "pattern"), [("*", "*"), ("*.B.example", "*.b.example"), ("b.example", "b.example")]
)
def test_a_pattern_has_one_form(written: str, pattern: str) -> None:
    assert domain_pattern(written) == pattern


@pytest.mark.parametrize("written", ["a.*.b.example", "*b.example", "**", "*.*.example", "*."])
def test_a_wildcard_stands_only_first(written: str) -> None:
    with pytest.raises(ValueError, match=r"wildcard|is not a domain"):
        domain_pattern(written)


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("Ann@B.Example", "ann@b.example"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ('"b ob"@b.example', "b ob@b.example"),
        ("B.example", "b.example"),
        ("*.b.example", "*.b.example"),
        ("*", "*"),
    ],
)
def test_a_pattern_of_addresses_has_one_form(written: str, pattern: str) -> None:
    assert address_pattern(written) == pattern


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("@b.example", "write the domain alone, as 'b.example'"),
        ("*@b.example", "write the domain alone, as 'b.example'"),
        ("a b@b.example", "is not a mail address: the local-part is neither"),
        ("ann@[192.0.2.1]", "is an address literal"),
        ("ann@-", "is not a mail address"),
    ],
)
def test_what_is_no_pattern_of_addresses_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"'.*'") as refused:
        address_pattern(written)
    assert why in str(refused.value)


def test_every_domain_can_be_ruled_out() -> None:
    with pytest.raises(ValueError, match="would match every domain"):
        domain_pattern("*", every=False)
    assert domain_pattern("*.b.example", every=False) == "*.b.example"


@pytest.mark.parametrize(
    ("pattern", "domain", "taken"),
    [
        ("b.example", "b.example", True),
        ("b.example", "a.b.example", False),
        ("*.b.example", "a.b.example", True),
        ("*.b.example", "x.a.b.example", True),
        ("*.b.example", "b.example", True),
        ("*.b.example", "bb.example", False),
        ("*.b.example", "evilb.example", False),
        ("*", "anything.example", True),
        ("*", "", True),
        ("b.example", "", False),
        ("*.b.example", "", False),
    ],
)
def test_what_a_pattern_takes_in(pattern: str, domain: str, *, taken: bool) -> None:
    assert covers(pattern, domain) is taken


@given(DOMAINS, DOMAINS)
def test_a_wildcard_takes_in_exactly_the_domains_that_have_its_base_as_a_parent(base: str, domain: str) -> None:
    assert covers(f"*.{base}", domain) == (base in list(parents(domain)))
    assert covers(f"*.{base}", f"{domain}.{base}")


def test_parents_end_with_the_last_label() -> None:
    assert list(parents("a.b.example")) == ["a.b.example", "b.example", "example"]
    assert list(parents("")) == []


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.168.0.1/25", "192.168.0.0/25"),
        ("2001:db8::1/48", "2001:db8::/48"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),  # as programs with one socket for both families log it
        ("::ffff:192.0.2.9/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/80", "::/80"),
    ],
)
def test_networks_may_have_host_bits(written: str, shown: str) -> None:
    assert str(network(written)) == shown


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("192.0.2.300", "not an address or a network"),
        ("mail.example", "not an address"),
        ("fe80::1%eth0", "has a zone"),
    ],
)
def test_what_is_no_network_is_refused(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        network(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("mail.B.example", ("mail.b.example", 25)),
        ("mail.b.example:2525", ("mail.b.example", 2525)),
        ("192.0.2.1", ("192.0.2.1", 25)),
        ("192.0.2.1:26", ("192.0.2.1", 26)),
        ("2001:DB8::1", ("2001:db8::1", 25)),
        ("[2001:db8::1]", ("2001:db8::1", 25)),
        ("[2001:db8::1]:587", ("2001:db8::1", 587)),
    ],
)
def test_host_and_port(written: str, expected: tuple[str, int]) -> None:
    assert host_port(written, 25) == expected
    assert SmartHost.parse(written) == SmartHost(*expected)
    assert SmartHost.parse(str(SmartHost(*expected))) == SmartHost(*expected)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("mail.example:0", "from 1 to 65535"),
        ("mail.example:65536", "from 1 to 65535"),
        ("mail.example:smtp", "from 1 to 65535"),
        ("mail.example:\u0661", "from 1 to 65535"),
        ("mail.example:", "a port must follow the colon"),
        ("[2001:db8::1", "in brackets"),
        ("[2001:db8::1]25", "in brackets"),
        ("[2001:db8::1]:", "in brackets"),
        ("192.0.2.300", "neither an IPv4 address nor a host name"),
        ("mail_host!:25", "is not a domain"),
        ("", "is not a domain"),
    ],
)
def test_a_wrong_host_or_port_is_refused(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        host_port(written, 25)


def test_a_port_can_be_obligatory_or_left_to_the_system() -> None:
    with pytest.raises(ValueError, match="needs a port"):
        host_port("mail.example", None)
    assert host_port("127.0.0.1:0", None, lowest=0) == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("host", "is_address"), [("192.0.2.1", True), ("2001:db8::1", True), ("mail.b.example", False), ("b.4com", False)]
)
def test_a_smart_host_knows_whether_it_has_a_name(host: str, *, is_address: bool) -> None:
    assert SmartHost(host).is_address is is_address


@pytest.mark.parametrize(
    ("smart_host", "shown"),
    [
        (SmartHost("mail.example"), "mail.example"),
        (SmartHost("mail.example", 26), "mail.example:26"),
        (SmartHost("::1", 26), "[::1]:26"),
        (SmartHost("::1"), "[::1]"),
    ],
)
def test_a_smart_host_is_written_as_it_is_read(smart_host: SmartHost, shown: str) -> None:
    assert str(smart_host) == shown


@pytest.mark.parametrize("text", ["/run/dovecot/lmtp", "/a b", "/" + "x" * 106])
def test_paths_of_sockets(text):
    assert socket_path(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [("lmtp", "absolute path"), ("", "absolute path"), ("/a\n", "not the path"), ("/" + "é" * 54, "longer")],
)
def test_what_is_no_path_of_a_socket(text, why):
    with pytest.raises(ValueError, match=why):
        socket_path(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("/run/lmtp", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("store.example", False),
    ],
)
def test_what_cannot_leave_this_machine(host, expected):
    assert is_this_machine(host) is expected


def test_addresses_that_need_no_lookup():
    hosts = ("localhost", "192.0.2.1", "2001:db8::1", "mx.a.example")
    known = [[str(address) for address in addresses_without_lookup(host)] for host in hosts]
    assert known == [["127.0.0.1", "::1"], ["192.0.2.1"], ["2001:db8::1"], []]


def test_a_mail_address_keeps_its_local_part() -> None:
    assert mail_address("Ann.B@B\u00fccher.Example") == "Ann.B@xn--bcher-kva.example"
    with pytest.raises(ValueError, match="'ann' is not a mail address"):
        mail_address("ann")


@pytest.mark.parametrize("url", ["https://login.example", "https://login.example:8443/realms/staff"])
def test_an_issuer_has_an_https_address(url: str) -> None:
    assert https_issuer(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://login.example", "is not an https address"),
        ("https://", "is not an https address"),
        ("https://user@login.example", "is not an https address"),
        ("https://login.example/#x", "is not an https address"),
        ("https://login.example:port", "is not an https address"),
        ("https://login.example/a b", "is not an https address"),
        ("https://bücher.example", "is not an https address"),
        ("https://login.example/?a=b", "has a query"),
        ("https://login.microsoftonline.com/common/v2.0", "each names its tenant's own issuer"),
    ],
)
def test_what_is_none(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        https_issuer(url)


def test_keys_may_have_a_query() -> None:
    assert https_url("https://login.example/keys?v=2") == "https://login.example/keys?v=2"


@given(st.sampled_from(["*", "b.example", "*.b.example", "*.example", "a.b.example", "*.a.b.example", "*.c.example"]))
def test_patterns_are_those_that_cover(pattern: str) -> None:
    for domain in ("", "example", "b.example", "a.b.example", "x.a.b.example", "xb.example"):
        assert (pattern in patterns(domain)) == covers(pattern, domain)


@pytest.mark.parametrize(
    ("addresses", "place", "most", "circle"), [("a", 0, 3, "aa"), ("abc", 1, 3, "bcab"), ("abcd", 2, 2, "cd…c")]
)
def test_a_circle_is_named_from_one_address_to_it_again(addresses: str, place: int, most: int, circle: str) -> None:
    assert "".join(circle_from([*addresses], place, most)) == circle
