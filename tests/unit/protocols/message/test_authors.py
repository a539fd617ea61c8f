from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.authors import addresses, author_domains

LONG = ", ".join(f"a{at}@contoso.example" for at in range(1000))

FOUND: dict[str, tuple[str, ...] | None] = {
    "ann@contoso.example": ("contoso.example",),
    "<ann@CONTOSO.example>": ("contoso.example",),
    "Ann <ann@contoso.example>": ("contoso.example",),
    '"Ann, the <boss@evil.example>" <ann@contoso.example>': ("contoso.example",),
    "=?utf-8?q?boss=40evil=2Eexample_=3Cx=40y=3E?= <ann@contoso.example>": ("contoso.example",),
    "boss@evil.example <ann@contoso.example>": ("contoso.example",),
    'ann@contoso.example (Ann (the \\) "boss) <boss@evil.example>)': ("contoso.example",),
    "(x)ann(y)@(z)contoso.example(w)": ("contoso.example",),
    '"a \\"b\\" @ c"@contoso.example': ("contoso.example",),
    "ann @ contoso . example": ("contoso.example",),
    "<@a.example,@b.example:ann@contoso.example>": ("contoso.example",),
    "ann@contoso.example, Bob <bob@b.example>,, carl@contoso.example": ("contoso.example", "b.example"),
    "staff: ann@contoso.example, bob@b.example;": ("contoso.example", "b.example"),
    "staff: ann@contoso.example;, bob@b.example": ("contoso.example", "b.example"),
    "ann@b\u00fccher.example": ("xn--bcher-kva.example",),
    "ann@[192.0.2.1]": ("[192.0.2.1]",),
    "undisclosed:;": (),
    "": (),
    " (nobody) ": (),
    "Ann": None,
    "Ann ann@contoso.example": None,
    "<>": None,
    "<@contoso.example>": None,
    "@contoso.example": None,
    "ann@": None,
    "ann@evil.example@contoso.example": None,
    "ann@contoso.example <bob@b.example> <carl@c.example>": None,
    "<ann@contoso.example> Ann": None,
    "<ann@contoso.example": None,
    "ann@contoso.example>": None,
    '"ann@contoso.example': None,
    'x "ann@contoso.example': None,
    "(ann@contoso.example": None,
    "ann)@contoso.example": None,
    "a: b: ann@contoso.example;": None,
    "a: ann@contoso.example": None,
    "ann@contoso.example;": None,
    "a\\": None,
    "ann@no-domain-": None,
    "\ufffd@contoso.example, x": None,
    LONG: None,
}


@pytest.mark.parametrize("value", FOUND, ids=lambda value: repr(value[:40]))
def test_the_domains_of_authors(value: str) -> None:
    assert author_domains(value) == FOUND[value]


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        ('"Ann, B" <Ann@CONTOSO.example>, (x) "a b"@b.example', ("Ann@contoso.example", '"a b"@b.example')),
        ("=?utf-8?q?boss=40evil=2Eexample=2C?= <ann@contoso.example>", ("ann@contoso.example",)),
        ("ann@contoso.example, nobody", None),
        ("", ()),
    ],
)
def test_the_addresses_of_a_field(value: str, listed: tuple[str, ...] | None) -> None:
    assert addresses(value) == listed


def test_how_much_of_a_field_is_read() -> None:
    assert addresses(LONG, most=len(LONG)) is not None
    assert addresses(LONG, most=len(LONG) - 1) is None


@given(st.text('ab@.,;:<>()"\\ \u00fc', max_size=30))
def test_any_text_gives_domains_or_none(value: str) -> None:
    found = author_domains(value)
    assert found is None or all(domain and domain == domain.lower() for domain in found)


@pytest.mark.parametrize("value", ["<{}>", '"{}"', "{}", "<a@b.example{}>", "a{},"])
@pytest.mark.parametrize("piece", ["@", " ", "@a ", '""', ",", ",@", "\\a", "(a)"])
def test_a_long_field_is_read_in_linear_time(value: str, piece: str) -> None:
    long = value.format(piece * (32_768 // len(piece)))
    begun = time.thread_time()
    addresses(long, most=len(long))
    assert time.thread_time() - begun < 1.0  # by the square of its characters it took 7 s


def test_a_route_stands_before_its_address() -> None:
    assert addresses("<ann @relay.example: eve@elsewhere.example>") is None
