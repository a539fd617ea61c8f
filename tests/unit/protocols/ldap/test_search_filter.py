from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.recipient_directory import DEFAULT_FILTER
from gatepost.protocols.ldap.ber import OCTET_STRING, SEQUENCE, Element, decode, encode
from gatepost.protocols.ldap.search_filter import FilterError, parse_filter

ADDRESS = "ann@b.example"


def octets(text: str, tag: int = OCTET_STRING) -> bytes:
    return encode(tag, text.encode())


def compared(attribute: str, value: str, tag: int = 0xA3) -> bytes:
    return encode(tag, octets(attribute), octets(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(mail={address})", compared("mail", ADDRESS)),
        ("(uid={local})", compared("uid", "ann")),
        ("(o>={domain})", compared("o", "b.example", 0xA5)),
        ("(o<=b)", compared("o", "b", 0xA6)),
        ("(cn~=ann)", compared("cn", "ann", 0xA8)),
        ("(cn;lang-de=a\\2ab\\28\\29\\5c\\00\\7b)", compared("cn;lang-de", "a*b()\\\0{")),
        ("(mail=)", compared("mail", "")),
        ("(mail=*)", octets("mail", 0x87)),
        (
            "(mail=a*b**c)",
            encode(0xA4, octets("mail"), encode(SEQUENCE, octets("a", 0x80), octets("b", 0x81), octets("c", 0x82))),
        ),
        ("(mail=*b*)", encode(0xA4, octets("mail"), encode(SEQUENCE, octets("b", 0x81)))),
        ("(!(a=b))", encode(0xA2, compared("a", "b"))),
        (
            "(&(a=b)(|(c=d)(e=f)))",
            encode(0xA0, compared("a", "b"), encode(0xA1, compared("c", "d"), compared("e", "f"))),
        ),
        ("(cn:=a)", encode(0xA9, octets("cn", 0x82), octets("a", 0x83))),
        (
            "(cn:dn:2.4.6.8.10:=a)",
            encode(0xA9, octets("2.4.6.8.10", 0x81), octets("cn", 0x82), octets("a", 0x83), encode(0x84, b"\xff")),
        ),
        ("(:rule:=a)", encode(0xA9, octets("rule", 0x81), octets("a", 0x83))),
    ],
)
def test_filters_are_encoded_as_rfc_4511_has_them(text: str, expected: bytes) -> None:
    assert parse_filter(text).encoded([ADDRESS]) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("mail=a", "begins with a parenthesis"),
        ("(mail=a", "no closing"),
        ("(&(a=b)", "no closing"),
        ("(&(a=b)x)", "no closing"),
        ("(mail=a)(b=c)", "behind the filter's last"),
        ("(&)", "needs a filter"),
        ("(!)", "needs exactly one"),
        ("(!(a=b)(c=d))", "needs exactly one"),
        ("((a=b))", "no comparison"),
        ("(mail)", "no comparison"),
        ("(:=a)", "no comparison"),
        ("(ma il=a)", "no comparison"),
        ("(mail=**)", "write one"),
        ("(mail={foo})", "not a placeholder; there are"),
        ("(mail={address)", r"write '\{' as"),
        ("(mail=a\\zz)", "as "),
        ("(mail=a(b)", "write '\\(' as"),
        ("(!" * 20 + "(a=b)" + ")" * 20, "more than 16"),
    ],
)
def test_what_is_no_filter_is_named(text: str, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        parse_filter(text)


def test_placeholders_are_known_and_several_addresses_are_asked_at_once() -> None:
    found = parse_filter("(&(mail={local}*@{domain})(x=y))")
    assert found.placeholders == {"local", "domain"}
    assert parse_filter("(mail={address})").encoded(["a@b", "c@d"]) == encode(
        0xA1, compared("mail", "a@b"), compared("mail", "c@d")
    )


def shape(element: Element) -> object:
    """The tags of a filter without its values."""
    return element.tag, tuple(map(shape, element.elements())) if element.tag & 0x20 else ()


@given(st.text(alphabet=st.one_of(st.sampled_from("*()\\\0&|!=@~<>{}"), st.characters(codec="utf-8")), min_size=1))
def test_no_address_changes_the_shape_of_the_filter_and_each_is_in_it_to_the_octet(address: str) -> None:
    for text in (DEFAULT_FILTER, "(&(objectClass=*)(!(mail=x{address}*y))(:rule:={address}))"):
        made = decode(parse_filter(text).encoded([address]))
        assert shape(made) == shape(decode(parse_filter(text).encoded([ADDRESS])))
        assert address.encode() in made.content


@pytest.mark.parametrize(
    ("text", "others"),
    [
        (DEFAULT_FILTER, "(|(mail=*)(proxyAddresses=*))"),
        ("(&(objectClass=person)(|(mail={address})(uid={local})))", "(&(objectClass=person)(|(mail=*)(uid=*)))"),
        ("(&(mail=*{address})(!(off={address})))", f"(&(mail=*)(!(off={ADDRESS})))"),
        ("(o=x*{domain})", "(o=*)"),
        ("(o=x*y)", "(o=x*y)"),
        ("(mail=*)", "(mail=*)"),
        ("(mail:caseIgnoreMatch:={address})", "(mail=*)"),
        ("(:caseIgnoreMatch:={address})", f"(:caseIgnoreMatch:={ADDRESS})"),
    ],
)
def test_a_filter_for_whatever_address_asks_for_the_attributes_alone(text: str, others: str) -> None:
    assert parse_filter(text).encoded_for_others(ADDRESS) == parse_filter(others).encoded(["a@b"])
