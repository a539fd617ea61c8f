from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gatepost.protocols.message.srs import MAX_KEYS, NO_KEYS, SrsKeys, SrsRefused, is_srs
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_address

KEYS = SrsKeys((b"k" * 32,))
OTHER = SrsKeys((b"o" * 32,))
DAY = 20000
OURS = "contoso.example"
NULL = Path("", "", "")


def rewritten(address: str, keys: SrsKeys = KEYS, day: int = DAY, domain: str = OURS) -> Path:
    found = keys.rewritten(parse_address(address), domain, day)
    assert found is not None
    return parse_address(found)


def test_what_it_looks_like() -> None:
    found = rewritten("bob@fabrikam.example")
    kind, hashed, day, rest = found.local_part.split("=", 3)
    assert (kind, len(hashed), len(day), rest) == ("SRS0", 8, 2, "fabrikam.example=bob")
    assert found.domain == OURS


@pytest.mark.parametrize(
    "address",
    [
        "bob@fabrikam.example",
        "Bob.B=x+y@fabrikam.example",
        '"two words"@fabrikam.example',
        '"a\\"b\\\\c"@fabrikam.example',
        "bob@[192.0.2.1]",
        "böb@fabrikam.example",
        "SRS0x=y@fabrikam.example",
        "SRS1=broken@fabrikam.example",
    ],
)
def test_there_and_back(address: str) -> None:
    path = parse_address(address)
    back = KEYS.original(rewritten(address).local_part, DAY)
    assert (back.local_part, back.domain) == (path.local_part, path.domain)


@given(
    st.text(alphabet='aB=+-._ "\\@<>é,', min_size=1, max_size=20),
    st.integers(0, 40000),
    st.integers(0, 30),
    st.sampled_from([str, str.lower, str.upper]),
)
def test_round_trip(local_part, day, age, case):
    quoted = '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"'
    try:
        path = parse_address(f"{quoted}@fabrikam.example")
    except GrammarError:
        assume(False)
    back = KEYS.original(rewritten(path.text, day=day).local_part, day + age)
    assert (back.local_part, back.domain) == (path.local_part, "fabrikam.example")
    if path.local_part.isascii() and case(path.local_part).isascii():
        again = KEYS.original(case(rewritten(path.text, day=day).local_part), day + age)
        assert again.local_part.lower() == path.local_part.lower()


@given(st.text(alphabet="SRS01=+-AB2c.x", max_size=40))
def test_what_is_made_up_is_never_taken(text):
    for local_part in (text, f"SRS0={text}", f"SRS1={text}", f"SRS0=AAAAAAAA=AA=b.example={text}"):
        with pytest.raises(SrsRefused):
            KEYS.original(local_part, DAY)


@given(st.integers(0, 60), st.sampled_from("ABC=x2@."))
def test_a_changed_octet_is_seen(place, octet):
    for made in (rewritten("bob@fabrikam.example"), rewritten("SRS0=ABCD=XY=b.example=bob@fabrikam.example")):
        local_part = made.local_part
        at = place % len(local_part)
        changed = local_part[:at] + octet + local_part[at + 1 :]
        if changed.lower() != local_part.lower() and not _separator_only(at):
            with pytest.raises(SrsRefused):
                KEYS.original(changed, DAY)


def _separator_only(at: int) -> bool:
    return at == 4  # SRS0=, SRS0- and SRS0+ are the same


def test_a_message_sent_on_twice_names_the_first_forwarder() -> None:
    first = rewritten("bob@fabrikam.example", OTHER, domain="first.example")
    second = rewritten(first.text)
    assert second.local_part.startswith("SRS1=")
    assert second.local_part.split("=", 3)[2:] == ["first.example", first.local_part[4:]]
    assert KEYS.original(second.local_part, DAY + 5000).text == first.text

    third = rewritten(second.text, OTHER, domain="third.example")
    assert third.local_part.count("SRS1") == 1
    assert OTHER.original(third.local_part, DAY).text == first.text


@pytest.mark.parametrize(
    ("age", "taken"), [(0, True), (30, True), (31, False), (1022, False), (1023, True), (1024, True), (512, False)]
)
def test_old_ones_are_not_taken_back(age: int, taken: bool) -> None:
    local_part = rewritten("bob@fabrikam.example").local_part
    if taken:
        assert KEYS.original(local_part, DAY + age).text == "bob@fabrikam.example"
    else:
        with pytest.raises(SrsRefused, match=r"days? old"):
            KEYS.original(local_part, DAY + age)


@pytest.mark.parametrize(
    ("local_part", "why"),
    [
        ("ann", "no SRS address"),
        ("SRS0", "no SRS address"),
        ("SRS0=", "not have the form of an SRS0"),
        ("SRS0=AAAAAAAA=AA=b.example", "not have the form of an SRS0"),
        ("SRS0=AAAAAAAA=AAA=b.example=bob", "not have the form of an SRS0"),
        ("SRS0=AAAAAAAA=AA=b.example=bob", "forged"),
        ("SRS0=ÄÄÄÄÄÄÄÄ=AA=b.example=bob", "forged"),
        ("SRS1=AAAAAAAA==x", "not have the form of an SRS1"),
        ("SRS1=AAAAAAAA=b.example=x", "not have the form of an SRS1"),
        ("SRS1=AAAAAAAA=b.example==x", "forged"),
    ],
)
def test_what_is_refused(local_part: str, why: str) -> None:
    with pytest.raises(SrsRefused, match=why):
        KEYS.original(local_part, DAY)


@pytest.mark.parametrize(
    ("kind", "signed", "why"),
    [
        ("0", "A1=b.example=bob", "base32"),
        ("0", "UA=b..example=bob", "is invalid"),
        ("1", "b..example==x", "is invalid"),
    ],
)
def test_what_only_we_could_have_signed_and_would_not(kind: str, signed: str, why: str) -> None:
    given_hash = SrsKeys._hash(KEYS.keys[0], kind, signed)
    day = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".index("U") * 32
    with pytest.raises(SrsRefused, match=why):
        KEYS.original(f"SRS{kind}={given_hash}={signed}", day)


def test_a_key_is_changed_while_mail_is_on_its_way() -> None:
    both = SrsKeys((*OTHER.keys, *KEYS.keys))
    assert both.original(rewritten("bob@fabrikam.example").local_part, DAY).text == "bob@fabrikam.example"
    assert rewritten("bob@fabrikam.example", both) == rewritten("bob@fabrikam.example", OTHER)
    with pytest.raises(SrsRefused, match="forged"):
        OTHER.original(rewritten("bob@fabrikam.example").local_part, DAY)


def test_where_there_is_nothing_to_rewrite() -> None:
    assert KEYS.rewritten(NULL, OURS, DAY) is None
    assert NO_KEYS.rewritten(parse_address("bob@fabrikam.example"), OURS, DAY) is None
    assert KEYS.rewritten(parse_address(f"{'x' * 240}@fabrikam.example"), OURS, DAY) is None
    with pytest.raises(SrsRefused):
        NO_KEYS.original(rewritten("bob@fabrikam.example").local_part, DAY)


@pytest.mark.parametrize(
    ("local_part", "expected"),
    [("SRS0=x", True), ("srs1+x", True), ("SRS0-x", True), ("SRS0x", False), ("SRS2=x", False), ("", False)],
)
def test_what_looks_rewritten(local_part: str, expected: bool) -> None:
    assert is_srs(local_part) is expected


def test_keys_are_not_shown() -> None:
    assert "kkk" not in repr(KEYS)


def test_a_new_key_signs_and_all_verify() -> None:
    newer = KEYS.with_new(b"n" * 32)
    local_part = rewritten("mallory@elsewhere.example", newer).local_part
    assert local_part != rewritten("mallory@elsewhere.example").local_part
    assert newer.original(local_part, DAY) == newer.original(rewritten("mallory@elsewhere.example").local_part, DAY)
    with pytest.raises(SrsRefused, match="forged, or the key was changed"):
        KEYS.original(local_part, DAY)
    full = SrsKeys(tuple(bytes([number]) * 32 for number in range(MAX_KEYS)))
    with pytest.raises(ValueError, match="more are not kept"):
        full.with_new(b"n" * 32)


def test_an_old_key_is_taken_out_by_its_name() -> None:
    newer = KEYS.with_new(b"n" * 32)
    signing, old = newer.names
    assert newer.without(old) == SrsKeys((b"n" * 32,))
    with pytest.raises(ValueError, match=f"{signing} signs"):
        newer.without(signing)
    with pytest.raises(KeyError):
        newer.without("0" * 16)
    assert "k" * 8 not in repr(newer), "keys are shown nowhere"


@pytest.mark.parametrize(
    ("now", "stored", "expected"),
    [
        ((b"a",), (b"b", b"a"), (b"a", b"b")),
        ((b"a", b"c"), (b"b", b"a"), (b"a", b"b")),
        ((b"a",), (b"b",), (b"b",)),
        ((), (b"b",), (b"b",)),
    ],
)
def test_a_key_that_still_verifies_goes_on_signing_for_a_while(
    now: tuple[bytes, ...], stored: tuple[bytes, ...], expected: tuple[bytes, ...]
) -> None:
    assert SrsKeys(now).before_signing(SrsKeys(stored)).keys == expected
