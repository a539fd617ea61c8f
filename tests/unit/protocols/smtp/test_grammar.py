from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.grammar import (
    AddressFault,
    GrammarError,
    Path,
    is_clean,
    parse_address,
    parse_domain,
    parse_hello_domain,
    parse_path,
    xtext_decode,
    xtext_encode,
)

CONTROLS = ["\0", "\x01", "\t", "\r", "\n", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff"]


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("", "", ""),
        ("user@example.com", "user", "example.com"),
        ("User.Name+tag=x/y@EXAMPLE.Com", "User.Name+tag=x/y", "example.com"),
        ("!#$%&'*+-/=?^_`{|}~@a.b", "!#$%&'*+-/=?^_`{|}~", "a.b"),
        ("a@localhost", "a", "localhost"),
        ("a@x_y.example", "a", "x_y.example"),
        ("a@1.2.3.example", "a", "1.2.3.example"),
        ("a@xn--bcher-kva.example", "a", "xn--bcher-kva.example"),
        ('"john smith"@a.b', "john smith", "a.b"),
        (r'"a\"b\\c"@a.b', r"a\c".replace("\\", '"b\\'), "a.b"),
        ('"a@b"@c.d', "a@b", "c.d"),
        ('"<>"@c.d', "<>", "c.d"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[IPv6:2001:DB8::1]", "a", "[IPv6:2001:db8::1]"),
        ("a@[ipv6:::1]", "a", "[IPv6:::1]"),
        ('"q q"@[192.0.2.1]', "q q", "[192.0.2.1]"),
        ("postmaster", "postmaster", ""),
        ("PostMaster", "PostMaster", ""),
        ("a" * 256 + "@b.c", "a" * 256, "b.c"),
        ("a@" + ".".join(["b" * 63] * 4)[:255], "a", ".".join(["b" * 63] * 4)[:255]),
    ],
)
@pytest.mark.parametrize("smtputf8", [False, True])
def test_paths(text, local_part, domain, smtputf8):
    assert parse_path(f"<{text}>", smtputf8=smtputf8) == Path(text, local_part, domain)


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("用户@example.com", "用户", "example.com"),
        ("jörg.müller@BÜCHER.example", "jörg.müller", "xn--bcher-kva.example"),
        ('"jörg müller"@a.b', "jörg müller", "a.b"),
        ("a@例え。テスト", "a", "xn--r8jz45g.xn--zckzah"),
        ("a\u200db@c.d", "a\u200db", "c.d"),
    ],
)
def test_internationalised_paths(text, local_part, domain):
    assert parse_path(f"<{text}>", smtputf8=True) == Path(text, local_part, domain)
    with pytest.raises(GrammarError) as caught:
        parse_path(f"<{text}>", smtputf8=False)
    assert caught.value.fault is AddressFault.NEEDS_SMTPUTF8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user@example.com",
        "<user@example.com",
        "user@example.com>",
        "<",
        ">",
        "<user>",
        "<user@>",
        "<@>",
        "<user@.example>",
        "<user@example..com>",
        "<user@example.com.>",
        "<user@-example.com>",
        "<user@example-.com>",
        "<user@exa mple.com>",
        "<user@example.com/x>",
        "<us er@example.com>",
        "<.user@example.com>",
        "<user.@example.com>",
        "<us..er@example.com>",
        "<us@er@example.com>",
        "<us(er)@example.com>",
        "<us,er@example.com>",
        "<us\\er@example.com>",
        "<<user@example.com>>",
        '<""@example.com>',
        '<"us"er"@example.com>',
        '<"user@example.com>',
        '<user"@example.com>',
        '<"user\\"@example.com>',
        '<"us"er@example.com>',
        "<user@[192.0.2.1>",
        "<user@[192.0.2]>",
        "<user@[192.0.2.256]>",
        "<user@[]>",
        "<user@[IPv6:]>",
        "<user@[IPv6:192.0.2.1]>",
        "<user@[2001:db8::1]>",
        "<user@[IPv6:fe80::1%eth0]>",
        '<user@[IPv6:::1%"> SIZE=1 X "]>',
        "<user@[tag:content]>",
        f"<{'a' * 257}@example.com>",
        f"<{'ä' * 129}@example.com>",
        f"<a@{'b' * 64}.example>",
        f"<a@{'.'.join(['b' * 50] * 6)}>",
        f"<ä@{'.'.join(['b' * 50] * 6)}>",
        f'<"q"@{".".join(["b" * 60] * 5)}>',
        f"<a@{'ä' * 300}.example>",
        f"<a@{'.'.join(['ä' * 20] * 11)}>",
        "<a@xn--ä.example>",
        "<a@\u0300a.example>",
        "<a@ä..example>",
    ],
)
def test_what_is_no_path(text):
    with pytest.raises(GrammarError) as caught:
        parse_path(text, smtputf8=True)
    assert caught.value.fault in {AddressFault.SYNTAX, AddressFault.SOURCE_ROUTE}
    assert caught.value.why


@pytest.mark.parametrize("text", ["<@a.example:user@b.example>", "<@a,@b:user@c>", "<@a.example>"])
def test_source_routes_have_a_fault_of_their_own(text):
    with pytest.raises(GrammarError, match="source route") as caught:
        parse_path(text, smtputf8=False)
    assert caught.value.fault is AddressFault.SOURCE_ROUTE


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("pattern", ["<{}user@a.b>", "<us{}er@a.b>", '<"us{}er"@a.b>', "<user@a{}.b>", "<user@a.b{}>"])
def test_control_characters_are_refused(control, pattern):
    with pytest.raises(GrammarError):
        parse_path(pattern.format(control), smtputf8=True)
    assert not is_clean(control)


@pytest.mark.parametrize("text", ["a b", "äöü", "a\u200db", "~!@#", ""])
def test_clean_text(text):
    assert is_clean(text)


def test_an_address_for_configuration_is_bare_and_may_be_internationalised():
    assert parse_address("jörg@Example.COM") == Path("jörg@Example.COM", "jörg", "example.com")
    for text in ["", "postmaster", "<a@b.c>", "@a:b@c", "a@b c"]:
        with pytest.raises(GrammarError):
            parse_address(text)


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_a_grammar_error(text):
    for candidate in (text, f"<{text}>", f"<{text}@a.b>", f"<a@{text}>", f'<"{text}"@a.b>'):
        try:
            path = parse_path(candidate, smtputf8=True)
        except GrammarError:
            continue
        assert f"<{path.text}>" == candidate
        assert path.domain.isascii()
        assert is_clean(path.local_part)
        assert bool(path.domain) or path.text.lower() in {"", "postmaster"}


@given(st.text(alphabet='ab.@"\\<>[]:, \0é', max_size=24))
def test_ascii_paths_are_the_same_with_and_without_smtputf8(text):
    def outcome(*, smtputf8):
        try:
            return parse_path(f"<{text}>", smtputf8=smtputf8)
        except GrammarError as error:
            return error.why

    if text.isascii():
        assert outcome(smtputf8=True) == outcome(smtputf8=False)
    else:
        assert isinstance(outcome(smtputf8=False), str)


@pytest.mark.parametrize(
    ("text", "domain"), [("EXAMPLE.com", "example.com"), ("bücher.example", "xn--bcher-kva.example"), ("[::1]", None)]
)
def test_domains(text, domain):
    if domain is None:
        with pytest.raises(GrammarError):
            parse_domain(text)
    else:
        assert parse_domain(text) == domain


@pytest.mark.parametrize("text", ["c.example", "MY_PC", "localhost.", "[192.0.2.1]", "[192.0.2.1", "a..b", "x" * 255])
def test_hello_domains_are_taken_as_they_are(text):
    assert parse_hello_domain(text) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a\tb", "a\0", "bücher.example", "x" * 256])
def test_what_is_no_hello_domain(text):
    with pytest.raises(GrammarError):
        parse_hello_domain(text)


@pytest.mark.parametrize(
    ("encoded", "decoded"), [("", ""), ("abc", "abc"), ("a+2Bb+3Dc", "a+b=c"), ("+20", " "), ("+C3+A9", "é")]
)
def test_xtext(encoded, decoded):
    assert xtext_decode(encoded) == decoded
    assert xtext_encode(decoded) == encoded


@pytest.mark.parametrize(
    "text", ["+", "+2", "+2b", "+GG", "a=b", "a b", "é", "+00", "a+0D+0A", "+7F", "+C3", "+E2+80+A8", "a\0"]
)
def test_what_is_no_xtext_or_hides_a_control(text):
    with pytest.raises(GrammarError):
        xtext_decode(text)


@given(st.text())
def test_xtext_round_trip(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    encoded = xtext_encode(text)
    assert encoded.isascii()
    assert not set(encoded) & set(" =\r\n\0")
    if is_clean(text):
        assert xtext_decode(encoded) == text
    else:
        with pytest.raises(GrammarError):
            xtext_decode(encoded)
