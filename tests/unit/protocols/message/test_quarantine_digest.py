from __future__ import annotations

from email import message_from_bytes, policy
from zoneinfo import ZoneInfo

import pytest

from gatepost.protocols.message.quarantine_digest import DigestEntry, QuarantineDigest, build_digest, digest_subject
from gatepost.values import replace

ENTRY = DigestEntry("eve@else.example", "Offer", "content hook 'av'", "clamav: X", 1_790_000_000, 1_790_086_400, "0cb1")
DIGEST = QuarantineDigest("ann@a.example", "a.example", "mx.a.example", "1@mx.a.example", 1_790_000_000, (ENTRY,))


def body_of(digest: QuarantineDigest) -> str:
    parsed = message_from_bytes(build_digest(digest), policy=policy.default)
    assert parsed["From"] == "Mail gateway <postmaster@a.example>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    return str(parsed.get_content())


def test_the_list_says_what_is_held_and_how_long() -> None:
    text = body_of(DIGEST)
    for line in ("From:     eve@else.example", "Subject:  Offer", "ID:       0cb1"):
        assert line in text.splitlines()
    assert digest_subject(DIGEST) == "1 message in quarantine"
    more = replace(DIGEST, more=3)
    assert digest_subject(more) == "4 messages in quarantine"
    assert "and 3 more" in body_of(more)


@pytest.mark.parametrize(
    ("language", "sender", "subject", "lines"),
    [
        (
            "sv",
            "E-postgateway",
            "1 meddelande i karantän",
            ("Skäl:     innehållskontroll 'av': clamav: X", "Tas bort: 2026-09-22 16:13+02"),
        ),
        ("de", "E-Mail-Gateway", "1 Nachricht in Quarantäne", ("Grund:     Inhaltsprüfung 'av': clamav: X",)),
    ],
)
def test_it_is_written_in_the_language_of_the_organization(
    language: str, sender: str, subject: str, lines: tuple[str, ...]
) -> None:
    digest = replace(DIGEST, language=language, zone=ZoneInfo("Europe/Berlin"))
    made = build_digest(digest)
    parsed = message_from_bytes(made, policy=policy.default)
    assert made.isascii()
    assert parsed["From"] == f"{sender} <postmaster@a.example>"
    assert parsed["Subject"] == digest_subject(digest) == subject
    assert parsed["Content-Language"] == language
    assert [line for line in lines if line not in parsed.get_content().splitlines()] == []


def test_no_text_of_others_opens_a_line_a_field_or_a_link() -> None:
    evil = replace(ENTRY, sender="", subject="x\r\nFrom: y http://evil.example/ www.evil.example " + "z" * 9000)
    made = build_digest(replace(DIGEST, entries=(evil,)))
    assert b"http://" not in made
    assert b"www.evil" not in made
    assert b"\r\nFrom: y" not in made
    assert b"From:     <>" in made
    assert len(made) < 3000
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))


def test_letters_beyond_ascii_and_nothing_at_all() -> None:
    made = build_digest(replace(DIGEST, entries=(replace(ENTRY, subject="Grüße", reason=""),)))
    assert b"quoted-printable" in made
    assert made.isascii()
    assert "Grüße" in body_of(replace(DIGEST, entries=(replace(ENTRY, subject="Grüße", reason=""),)))
