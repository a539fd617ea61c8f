"""The examples of RFC 7208 section 7.4."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from gatepost.protocols.spf.record import MacroError, MacroFacts, check_macros, expand_domain

FACTS = MacroFacts("strong-bad@email.example.com", "email.example.com", ip_address("192.0.2.3"), "mx.example.org")

EXAMPLES = {
    "%{s}": "strong-bad@email.example.com",
    "%{o}": "email.example.com",
    "%{d}": "email.example.com",
    "%{d4}": "email.example.com",
    "%{d1}": "com",
    "%{dr}": "com.example.email",
    "%{d2r}": "example.email",
    "%{l}": "strong-bad",
    "%{l-}": "strong.bad",
    "%{lr}": "strong-bad",
    "%{lr-}": "bad.strong",
    "%{l1r-}": "strong",
    "%{ir}.%{v}._spf.%{d2}": "3.2.0.192.in-addr._spf.example.com",
    "%{lr-}.lp._spf.%{d2}": "bad.strong.lp._spf.example.com",
    "%{d2}.trusted-domains.example.net.": "example.com.trusted-domains.example.net",
    "%{S}%%%_%-": "strong-bad%40email.example.com% %20",
    "%{p}.%{h}": "unknown.mx.example.org",
}


@pytest.mark.parametrize("spec", EXAMPLES)
def test_examples_of_the_rfc(spec: str) -> None:
    check_macros(spec)
    assert expand_domain(spec, FACTS) == EXAMPLES[spec]


def test_an_address_of_version_6_is_nibbles() -> None:
    facts = FACTS._replace(address=ip_address("2001:db8::cb01"))
    expected = "1.0.b.c" + ".0" * 20 + ".8.b.d.0.1.0.0.2.ip6._spf.example.com"
    assert expand_domain("%{ir}.%{v}._spf.%{d2}", facts) == expected


def test_long_names_lose_labels_on_the_left() -> None:
    facts = FACTS._replace(sender=f"{'x' * 200}.{'y' * 60}@b.example")
    assert expand_domain("%{l}.a.example", facts) == f"{'y' * 60}.a.example"
    assert expand_domain("%{l-}", facts._replace(sender=f"{'x' * 300}@b.example")) == "x" * 300


def test_labels_are_left_out_at_once() -> None:
    """Each was left out by a copy of all the rest: 128 addresses of 128 labels took a quarter of a second."""
    facts = FACTS._replace(sender=f"{'a.' * 127}a@b.example")
    began = time.process_time()
    for _ in range(10):
        name = expand_domain("%{l}" * 128 + ".b.example", facts)
    assert time.process_time() - began < 0.05
    assert name == "a." * 122 + "b.example"
    exact = f"{'x' * 9}.{'y' * 253}"
    assert expand_domain(exact, facts) == "y" * 253
    assert expand_domain(f"{exact}z", facts) == "y" * 253 + "z"


@pytest.mark.parametrize("text", ["%", "%{", "%{x}", "%{d0}", "%{c}", "a b", "%{s}\x7f"])
def test_what_is_no_macro(text: str) -> None:
    with pytest.raises(MacroError):
        check_macros(text)
