from __future__ import annotations

import time

import pytest

from gatepost.protocols.spf.record import Directive, SpfError, chosen_record, parse_spf


def test_the_record_is_chosen_by_its_version() -> None:
    assert chosen_record([b"v=spf10", b"v=spf1", b"x"]) == b"v=spf1"
    assert chosen_record([b"V=SPF1 -all"]) == b"V=SPF1 -all"
    assert chosen_record([]) is None
    with pytest.raises(SpfError, match="2 SPF records"):
        chosen_record([b"v=spf1 ", b"v=spf1 -all"])


def test_directives_and_redirect() -> None:
    record = parse_spf(
        b"v=spf1  a mx:b.example/24//64 ~IP6:2001:db8::/32 ?exists:%{i}._spf.%{d2} other=%{d} redirect=c.example -all"
    )
    assert [directive.name for directive in record.directives] == ["a", "mx", "ip6", "exists", "all"]
    assert record.directives[0] == Directive("+", "a")
    assert record.directives[1] == Directive("+", "mx", "b.example", ip4_length=24, ip6_length=64)
    assert str(record.directives[2].network) == "2001:db8::/32"
    assert record.directives[3].domain == "%{i}._spf.%{d2}"
    assert record.redirect == "c.example"


def test_a_domain_may_have_a_slash() -> None:
    found = parse_spf(b"v=spf1 a:x/y.example/24 exists:%{l}/x.example include:a/b.example").directives
    assert [(directive.domain, directive.ip4_length) for directive in found] == [
        ("x/y.example", 24),
        ("%{l}/x.example", 32),
        ("a/b.example", 32),
    ]


@pytest.mark.parametrize(
    ("term", "why"),
    [
        ("\xe4", "is not ASCII"),
        ("foo", "no SPF mechanism"),
        ("-", "no SPF mechanism"),
        ("include", "has no domain"),
        ("all:x.example", "has a domain"),
        ("a:", "has no domain"),
        ("ptr/24", "has no prefix length"),
        ("a/33", "too large"),
        ("a//129", "too large"),
        ("a/x", "no prefix length"),
        ("a:b.example/24/5", "is not a domain"),
        ("ip4:x", "is not a network"),
        ("ip4:1.2.3.4/024", "is not a network"),
        ("ip4:1.2.3.4/", "is not a network"),
        ("ip6:fe80::1%eth0", "is not a network"),
        ("a:b", "is not a domain"),
        ("a:b.-x", "is not a domain"),
        ("a:%{x}.example", "is no macro"),
        ("a:x.%%", "is not a domain"),
        ("redirect=a.example redirect=b.example", "has redirect= twice"),
        ("exp=x", "is not a domain"),
        ("other=%{", "is no macro"),
        (f"a:b.{'c' * 500}_", "is not a domain"),
        (f"exists:{'%{l}' * 128}.b.example", "more than 512 characters"),
        (f"x={'y' * 513}", "more than 512 characters"),
        ("a " * 4096, "more than 8192 octets"),
    ],
)
def test_errors(term: str, why: str) -> None:
    with pytest.raises(SpfError, match=why):
        parse_spf(f"v=spf1 {term}".encode())


def test_no_record_takes_long() -> None:
    """A label of 20,000 letters and a sign that no label has took four seconds."""
    began = time.process_time()
    for length in (500, 8000, 20_000):
        with pytest.raises(SpfError):
            parse_spf(f"v=spf1 a:b.{'c' * length}_".encode())
    assert time.process_time() - began < 0.2
