from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.protocols.tls.names import describe_names, is_address_literal, is_ip_address, matches, node_uri, normalise


def certificate(*dns_names, common_name="", ip_addresses=(), uris=()):
    return CertificateFacts(
        subject=f"CN={common_name}",
        issuer="CN=ca",
        serial="1",
        common_name=common_name,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        sha256="",
        sha1="",
        spki_sha256="",
        not_before=0.0,
        not_after=0.0,
        key="EC-P-256",
        uris=uris,
    )


URI = "spiffe://contoso-site/node/mx2.contoso.example"


@pytest.mark.parametrize(
    ("uris", "answer"),
    [
        ((URI,), True),
        ((), False),
        ((URI.upper(),), False),
        ((URI + "/",), False),
        ((URI, "spiffe://contoso-site/node/mx1.contoso.example"), False),  # SPIFFE: exactly one
    ],
)
def test_a_node_is_named_by_its_only_uri(uris, answer):
    assert node_uri("contoso-site", "mx2.contoso.example") == URI
    assert matches(URI, certificate("mx2.contoso.example", uris=uris)) is answer


def test_a_host_name_is_no_uri_and_a_uri_no_host_name():
    assert not matches("mx2.contoso.example", certificate(uris=(URI,)))
    assert describe_names(certificate(uris=(URI,))) == URI


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail.B.Example", "mail.b.example"),
        ("mail.b.example.", "mail.b.example"),
        ("*.B.example", "*.b.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("*.MÜNCHEN.example.", "*.xn--mnchen-3ya.example"),
        ("_25._tcp.b.example", "_25._tcp.b.example"),
        ("", ""),
        (".", ""),
        ("a..b", ""),
        ("f*.b.example", ""),
        ("mail.*.example", ""),
        ("*.*.example", ""),
        ("*", ""),
        ("b.example\x00.evil.example", ""),
        ("a b.example", ""),
        ("ü" * 70 + ".example", ""),
        ("a" * 64 + ".example", ""),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 50] * 6), ""),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


HOST = [
    # reference, names in the certificate, expected (RFC 9525 section 6.3)
    ("mail.b.example", ["mail.b.example"], True),
    ("MAIL.b.example.", ["mail.B.example."], True),
    ("mail.b.example", ["other.example", "mail.b.example"], True),
    ("mail.b.example", ["b.example"], False),
    ("b.example", ["mail.b.example"], False),
    ("mail.b.example", ["*.b.example"], True),
    ("b.example", ["*.b.example"], False),
    ("x.mail.b.example", ["*.b.example"], False),
    ("xn--mnchen-3ya.b.example", ["*.b.example"], True),
    ("mail.b.example", ["m*.b.example"], False),
    ("mail.b.example", ["mail.*.example"], False),
    ("mail.b.example", ["*.*.example"], False),
    ("b.example", ["*.example"], False),
    ("example", ["*."], False),
    ("example", ["*"], False),
    ("localhost", ["localhost"], True),
    ("münchen.example", ["xn--mnchen-3ya.example"], True),
    ("xn--mnchen-3ya.example", ["münchen.example"], True),
    ("mail.b.example", [], False),
    ("mail.b.example", ["", "not a name"], False),
    ("", [""], False),
    ("not a name", ["not a name"], False),
]


@pytest.mark.parametrize(("reference", "names", "expected"), HOST)
def test_a_host_name(reference, names, expected):
    assert matches(reference, certificate(*names)) is expected


PATTERN = [
    # exchange.md section 2.2: the domain, all below it, and a certificate's own wildcard
    ("*.b.example", ["mail.b.example"], True),
    ("*.b.example", ["b.example"], True),
    ("*.b.example", ["x.y.b.example"], True),
    ("*.b.example", ["*.b.example"], True),
    ("*.b.example", ["*.sub.b.example"], True),
    ("*.B.EXAMPLE.", ["MAIL.b.example"], True),
    ("*.b.example", ["*.example"], False),
    ("*.example", ["*.example"], False),
    ("*.b.example", ["ab.example"], False),
    ("*.b.example", ["mailb.example", "b.example.evil"], False),
    ("*.b.example", ["*"], False),
    ("*.b.example", [], False),
]


@pytest.mark.parametrize(("reference", "names", "expected"), PATTERN)
def test_a_connector_pattern(reference, names, expected):
    assert matches(reference, certificate(*names)) is expected


@pytest.mark.parametrize(
    ("reference", "addresses", "expected"),
    [
        ("192.0.2.1", ["192.0.2.1"], True),
        ("[192.0.2.1]", ["192.0.2.1"], True),
        ("[IPv6:2001:DB8::1]", ["2001:db8::1"], True),
        ("2001:db8:0::1", ["2001:db8::1"], True),
        ("192.0.2.1", ["192.0.2.2"], False),
        ("192.0.2.1", [], False),
    ],
)
def test_an_address(reference, addresses, expected):
    presented = certificate("192.0.2.1", common_name="192.0.2.1", ip_addresses=tuple(addresses))
    assert matches(reference, presented, common_name=True) is expected


@pytest.mark.parametrize(
    ("names", "allowed", "expected"),
    [((), True, True), ((), False, False), (("other.example",), True, True), (("other.example",), False, False)],
)
def test_the_common_name_counts_only_where_it_is_asked_for(names, allowed, expected):
    presented = certificate(*names, common_name="Mail.b.example")
    assert matches("mail.b.example", presented, common_name=allowed) is expected


def test_without_a_common_name_nothing_is_made_up():
    assert not matches("mail.b.example", certificate(common_name=""), common_name=True)


@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=4), st.text(max_size=60))
def test_no_text_raises_and_only_equal_names_match_without_a_wildcard(reference, names, common_name):
    presented = certificate(*names, common_name=common_name)
    got = matches(reference, presented, common_name=True)
    if got and "*" not in "".join((reference, *names, common_name)):
        assert normalise(reference) in {normalise(name) for name in (*names, common_name)}


@given(st.text(alphabet="abAB.-*_xn", max_size=30))
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("presented", "expected"),
    [
        (certificate("a.example", "*.a.example", common_name="a.example"), "a.example, *.a.example (CN a.example)"),
        (certificate("a.example", ip_addresses=("192.0.2.1",)), "a.example, 192.0.2.1"),
        (certificate(common_name="only"), "no subjectAltName (CN only)"),
        (
            certificate(*(f"{i}.example" for i in range(12))),
            ", ".join(f"{i}.example" for i in range(10)) + " and 2 more",
        ),
    ],
)
def test_names_are_described_for_people(presented, expected):
    assert describe_names(presented) == expected


@pytest.mark.parametrize(
    ("text", "is_address", "is_literal"),
    [
        ("192.0.2.1", True, True),
        ("2001:db8::1", True, True),
        ("[192.0.2.1]", False, True),
        ("[IPv6:2001:db8::1]", False, True),
        ("mail.b.example", False, False),
        ("", False, False),
    ],
)
def test_what_is_an_address(text, is_address, is_literal):
    assert is_ip_address(text) is is_address
    assert is_address_literal(text) is is_literal
