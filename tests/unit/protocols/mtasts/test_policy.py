from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.mtasts.policy import (
    MAX_AGE,
    MAX_BYTES,
    MAX_PATTERNS,
    PolicyError,
    Reason,
    StsMode,
    StsPolicy,
    parse_policy,
)

PLAIN = "version: STSv1\r\nmode: enforce\r\nmx: mail.b.example\r\nmx: *.b.example\r\nmax_age: 604800\r\n"
POLICY = StsPolicy(StsMode.ENFORCE, ("mail.b.example", "*.b.example"), 604800)


def policy(*mx: str, mode: StsMode = StsMode.ENFORCE, max_age: int = 604800, **extensions: str) -> StsPolicy:
    return StsPolicy(mode, mx, max_age, tuple(extensions.items()))


ONE = policy("mail.b.example")
HEAD = "version: STSv1\nmode: enforce\n"

GOOD: dict[str, tuple[str, StsPolicy]] = {
    "crlf": (PLAIN, POLICY),
    "lf": (PLAIN.replace("\r\n", "\n"), POLICY),
    "both": (PLAIN.replace("\r\n", "\n", 2), POLICY),
    "no end of the last line": (PLAIN.removesuffix("\r\n"), POLICY),
    "empty lines": ("\n\r\n" + PLAIN.replace("\r\n", "\r\n \r\n\n") + "\n\n", POLICY),
    "another order": ("max_age: 604800\nmx: mail.b.example\nmode: enforce\nversion: STSv1\n", ONE),
    "no space": (f"{HEAD}mx:mail.b.example\nmax_age:604800".replace(": ", ":"), ONE),
    "much space": (f"{HEAD}mx: \t  mail.b.example \t\nmax_age: 604800  \n", ONE),
    "capitals": (f"{HEAD}mx: Mail.B.Example\nmax_age: 604800", ONE),
    "a dot at the end": (f"{HEAD}mx: mail.b.example.\nmax_age: 604800", ONE),
    "an age beyond the longest": (PLAIN.replace("604800", "9999999999"), policy(*POLICY.mx, max_age=9_999_999_999)),
    "an mx twice": (f"{HEAD}mx: mail.b.example\nmx: MAIL.b.example\nmax_age: 604800", ONE),
    "a-label": (f"{HEAD}mx: xn--bcher-kva.example\nmax_age: 604800", policy("xn--bcher-kva.example")),
    "the first of a field counts": (
        PLAIN + "max_age: 1\nmode: none\nversion: STSv2\nmode: bad\nmax_age: -1\n",
        POLICY,
    ),
    "unknown fields": (
        PLAIN + "x_y-z.0: \u00fcber: alles\r\nempty:\r\nx_y-z.0: second\n",
        StsPolicy(POLICY.mode, POLICY.mx, POLICY.max_age, (("x_y-z.0", "\u00fcber: alles"), ("empty", ""))),
    ),
    "testing": (PLAIN.replace("enforce", "testing"), StsPolicy(StsMode.TESTING, POLICY.mx, 604800)),
    "none": ("version: STSv1\nmode: none\nmax_age: 86400", policy(mode=StsMode.NONE, max_age=86400)),
    "none with mx": (PLAIN.replace("enforce", "none"), StsPolicy(StsMode.NONE, POLICY.mx, 604800)),
    "age 0": (PLAIN.replace("604800", "0"), StsPolicy(StsMode.ENFORCE, POLICY.mx, 0)),
    "a year": (PLAIN.replace("604800", "0031557600"), StsPolicy(StsMode.ENFORCE, POLICY.mx, MAX_AGE)),
    "an address that is no literal": (f"{HEAD}mx: 192.0.2.1\nmax_age: 604800", policy("192.0.2.1")),
    "as many bytes as there may be": (
        PLAIN + "x: " + "y" * (MAX_BYTES - len(PLAIN) - 3),
        StsPolicy(POLICY.mode, POLICY.mx, POLICY.max_age, (("x", "y" * (MAX_BYTES - len(PLAIN) - 3)),)),
    ),
    "as many mx as there may be": (
        HEAD + "".join(f"mx: m{n}.example\n" for n in range(MAX_PATTERNS)) + "max_age: 604800",
        policy(*(f"m{n}.example" for n in range(MAX_PATTERNS))),
    ),
}

BAD: dict[str, tuple[str | bytes, Reason, str]] = {
    "empty": ("", Reason.VERSION, "version is missing"),
    "no version": (PLAIN.removeprefix("version: STSv1\r\n"), Reason.VERSION, "version is missing"),
    "version to come": (PLAIN.replace("STSv1", "STSv2"), Reason.VERSION, "'STSv2' is not STSv1"),
    "version in small letters": (PLAIN.replace("STSv1", "stsv1"), Reason.VERSION, "'stsv1' is not STSv1"),
    "names in capitals": (PLAIN.replace("version", "Version"), Reason.VERSION, "version is missing"),
    "no mode": (PLAIN.replace("mode: enforce\r\n", ""), Reason.MODE, "mode is missing"),
    "another mode": (PLAIN.replace("enforce", "report"), Reason.MODE, "'report' is not enforce, testing or none"),
    "mode in capitals": (PLAIN.replace("enforce", "Enforce"), Reason.MODE, "'Enforce' is not"),
    "the first mode is bad": ("mode: bad\n" + PLAIN, Reason.MODE, "'bad'"),
    "no age": (PLAIN.replace("max_age: 604800\r\n", ""), Reason.MAX_AGE, "max_age is missing"),
    "age of 11 digits": (
        PLAIN.replace("604800", "00000604800"),
        Reason.MAX_AGE,
        "'00000604800' is not 0 to 31557600 seconds",
    ),
    "negative age": (PLAIN.replace("604800", "-1"), Reason.MAX_AGE, "'-1'"),
    "age with a unit": (PLAIN.replace("604800", "7d"), Reason.MAX_AGE, "'7d'"),
    "age in other digits": (PLAIN.replace("604800", "\u0661"), Reason.MAX_AGE, "'\\u0661'"),
    "empty age": (PLAIN.replace("604800", ""), Reason.MAX_AGE, "max_age ''"),
    "no mx": ("version: STSv1\nmode: testing\nmax_age: 1", Reason.MX, "mode testing without an mx"),
    "u-label": (f"{HEAD}mx: b\u00fccher.example", Reason.MX, "line 3: mx 'b\\xfccher.example' is not written in A-la"),
    "u-label, advice": (f"{HEAD}mx: *.b\u00fccher.example", Reason.MX, "which is *.xn--bcher-kva.example"),
    "u-label that is none": (f"{HEAD}mx: \u2603..example", Reason.MX, "is not written in A-labels"),
    "a list": (f"{HEAD}mx: a.example, b.example", Reason.MX, "is neither a host name nor *.domain"),
    "a dot first": (f"{HEAD}mx: .b.example", Reason.MX, "'.b.example' is neither"),
    "a star within": (f"{HEAD}mx: mail.*.example", Reason.MX, "is neither"),
    "a star and more": (f"{HEAD}mx: m*.b.example", Reason.MX, "is neither"),
    "a star alone": (f"{HEAD}mx: *", Reason.MX, "is neither"),
    "a literal": (f"{HEAD}mx: [192.0.2.1]", Reason.MX, "is neither"),
    "empty mx": (f"{HEAD}mx:", Reason.MX, "mx '' is neither"),
    "no colon": (f"{HEAD}hello", Reason.SYNTAX, "line 3: 'hello' is not of the form name: value"),
    "html": ("<html>\n<body>\n", Reason.SYNTAX, "line 1: '<html>'"),
    "json": ('{"version": "STSv1"}', Reason.SYNTAX, "is not of the form name: value"),
    "space before the name": (" version: STSv1", Reason.SYNTAX, "line 1"),
    "space before the colon": ("version : STSv1", Reason.SYNTAX, "line 1"),
    "byte order mark": ("\ufeff" + PLAIN, Reason.SYNTAX, "'\\ufeffversion: STSv1'"),
    "no name": (": STSv1", Reason.SYNTAX, "line 1"),
    "name too long": (f"{'n' * 33}: 1", Reason.SYNTAX, "is not of the form name: value"),
    "nul": (PLAIN.replace("enforce", "en\x00force"), Reason.NOT_TEXT, "line 2: a control character (U+0000)"),
    "nul alone": (b"\x00" * 500, Reason.NOT_TEXT, "(U+0000)"),
    "cr alone": (PLAIN.replace("\r\n", "\r"), Reason.NOT_TEXT, "line 1: a control character (U+000D)"),
    "two cr": (PLAIN.replace("\r\n", "\r\r\n"), Reason.NOT_TEXT, "U+000D"),
    "escape": (PLAIN + "x: \x1b[31m", Reason.NOT_TEXT, "line 6: a control character (U+001B)"),
    "latin-1": (PLAIN.encode() + "x: \u00fc".encode("latin-1"), Reason.NOT_TEXT, "not UTF-8 from byte "),
    "utf-16": (PLAIN.encode("utf-16"), Reason.NOT_TEXT, "not UTF-8 from byte 0 on"),
    "10 MB": (b"mx: a.example\n" * 750_000, Reason.TOO_LARGE, "has 10500000 bytes, and more than 65536"),
    "one byte too many": (b"x" * 65537, Reason.TOO_LARGE, "65537"),
    "too many lines": ("\n" * 1000, Reason.TOO_LARGE, "more than 1000 lines"),
    "too many mx": (
        HEAD + "".join(f"mx: m{n}.example\n" for n in range(MAX_PATTERNS + 1)),
        Reason.TOO_LARGE,
        "line 503: more than 500 mx",
    ),
    "too many fields": ("".join(f"f{n}: 1\n" for n in range(51)), Reason.TOO_LARGE, "line 51: more than 50 unknown"),
    "a long line": ("x" * 60_000, Reason.SYNTAX, "..."),
}


@pytest.mark.parametrize("name", GOOD)
def test_policies_that_can_be_used(name: str) -> None:
    text, expected = GOOD[name]
    assert parse_policy(text.encode()) == expected


@pytest.mark.parametrize("name", BAD)
def test_policies_that_cannot(name: str) -> None:
    body, reason, words = BAD[name]
    begin = time.process_time()
    found = parse_policy(body if isinstance(body, bytes) else body.encode())
    assert time.process_time() - begin < 1
    assert isinstance(found, PolicyError), found
    assert found.reason is reason, found
    assert words in found.detail
    assert len(found.detail) < 250
    assert found.detail.isprintable()


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("mail.b.example", "mail.b.example", True),
        ("mail.b.example", "MAIL.b.Example.", True),
        ("mail.b.example", "other.b.example", False),
        ("mail.b.example", "mail.b.example.evil.example", False),
        ("mail.b.example", "x.mail.b.example", False),
        ("*.b.example", "mail.b.example", True),
        ("*.b.example", "mail.b.example.", True),
        ("*.b.example", "b.example", False),
        ("*.b.example", "a.mail.b.example", False),
        ("*.b.example", ".b.example", False),
        ("*.b.example", "evilb.example", False),
        ("*.b.example", "*.b.example", False),
        ("*.mx.microsoft", "icewolf-li.h-v1.mx.microsoft", False),
        ("*.h-v1.mx.microsoft", "icewolf-li.h-v1.mx.microsoft", True),
        ("*.xn--bcher-kva.example", "mail.b\u00fccher.example", True),
        ("xn--bcher-kva.example", "XN--bcher-kva.example", True),
        ("mail.b.example", "", False),
        ("mail.b.example", "[192.0.2.1]", False),
        ("mail.b.example", "mail.b.example\x00", False),
        ("mail.b.example", "mail." * 1000, False),
        ("*.example", "mail.example", True),
    ],
)
def test_which_hosts_it_allows(pattern: str, host: str, expected: bool) -> None:
    assert policy(pattern).matches(host) is expected
    assert policy("another.example", pattern).matches(host) is expected


def test_no_mx_allows_no_host() -> None:
    assert not policy(mode=StsMode.NONE).matches("mail.b.example")


def test_how_it_is_printed() -> None:
    assert POLICY.text == PLAIN
    assert policy("a.example", max_age=1, mode=StsMode.TESTING, x="y").lines == (
        "version: STSv1",
        "mode: testing",
        "mx: a.example",
        "max_age: 1",
        "x: y",
    )


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.tuples(st.sampled_from(["", "*."]), st.lists(LABEL, min_size=1, max_size=4).map(".".join)).map("".join)
EXTENSIONS = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", fullmatch=True).filter(
        lambda name: name not in {"version", "mode", "max_age", "mx"}
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20).map(
        lambda text: text.strip(" \t")
    ),
    max_size=3,
)
POLICIES = st.builds(
    StsPolicy,
    st.sampled_from([StsMode.ENFORCE, StsMode.TESTING]),
    st.lists(NAMES, min_size=1, max_size=5, unique=True).map(tuple),
    st.integers(0, MAX_AGE),
    EXTENSIONS.map(lambda fields: tuple(fields.items())),
)


@given(POLICIES)
def test_what_is_printed_is_read(value: StsPolicy) -> None:
    assert parse_policy(value.text.encode()) == value
    assert parse_policy("\n".join(value.lines).encode()) == value


@given(NAMES)
def test_a_wildcard_stands_for_one_label(pattern: str) -> None:
    only = policy(pattern)
    assert only.matches(pattern.replace("*", "any") + ".")
    assert not only.matches("a.b." + pattern.removeprefix("*."))
    assert not only.matches(pattern.removeprefix("*.") + ".evil.example")


PIECES = st.sampled_from(["version", "mode", "mx", "max_age", ": ", ":", "\n", "\r\n", "STSv1", "enforce", "*.", "1"])


@given(
    st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, st.text(max_size=5))).map("".join).map(str.encode))
)
def test_nothing_breaks_it(body: bytes) -> None:
    found = parse_policy(body)
    if isinstance(found, StsPolicy):
        assert parse_policy(found.text.encode()) == found
    else:
        assert found.detail.isprintable()
