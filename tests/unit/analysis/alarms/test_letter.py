from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.analysis.alarms.letter import Letter, build_letter, subject_of
from gatepost.values import replace

NOW = 1_800_000_000.0
HOST = "mx1.contoso.example"


def alarm(title: str, severity: Severity = Severity.ERROR, **fields: Any) -> Alarm:
    fields = {"lines": (f"_25._tcp.{HOST}. IN TLSA 3 1 1 {'cc' * 32}",), **fields}
    return Alarm(Kind.EXPIRY, severity, title, title, "Detail of it.", "Do this:", **fields)


A, B, C = alarm("first", Severity.CRITICAL, since=NOW - 60), alarm("second"), alarm("third", Severity.WARNING)


def letter(*standing: Alarm, fresh: tuple[Alarm, ...] = (), cleared: tuple[Alarm, ...] = (), **fields: Any) -> Letter:
    keys = frozenset(one.key for one in fresh)
    made = Letter(HOST, ("ops@contoso.example",), f"1@{HOST}", NOW, standing, keys, cleared)
    return replace(made, **fields)


SUBJECTS = [
    (letter(A, B, C, fresh=(B,)), f"[gatepost {HOST}] 1 critical, 1 error, 1 warning: second"),
    (letter(B, replace(B, certificate="z")), f"[gatepost {HOST}] 2 errors: second"),
    (letter(C, replace(C, certificate="z"), fresh=(C,)), f"[gatepost {HOST}] 2 warnings: third"),
    (letter(cleared=(A,)), f"[gatepost {HOST}] all clear again"),
    (letter(B, cleared=(C, A)), f"[gatepost {HOST}] resolved: first"),
    (letter(B, fresh=(B,), cleared=(A,)), f"[gatepost {HOST}] 1 error: second"),
]


@pytest.mark.parametrize(("one", "subject"), SUBJECTS)
def test_what_a_list_of_mails_shows(one, subject):
    assert subject_of(one) == subject
    assert message_from_bytes(build_letter(one), policy=policy.SMTP)["Subject"] == subject


def test_what_a_person_reads():
    content = build_letter(letter(A, B, fresh=(B,), cleared=(C,), to=("ops@contoso.example", "ann@contoso.example")))
    message = message_from_bytes(content, policy=policy.SMTP)
    assert (message["From"], message["Auto-Submitted"]) == (f"gatepost <postmaster@{HOST}>", "auto-generated")
    assert message["To"] == "ops@contoso.example, ann@contoso.example"
    assert (message["Message-ID"], message["Date"]) == (f"<1@{HOST}>", "Fri, 15 Jan 2027 08:00:00 +0000")
    text = message.get_content().replace("\r\n", "\n")
    new, rest = text.split("\nSTILL ACTIVE\n")
    still, over = rest.split("\nRESOLVED\n")
    assert "ERROR: second" in new
    assert "CRITICAL: first" in still
    assert "Since 2027-01-15 07:59Z" in still
    assert f"What to do: Do this:\n    _25._tcp.{HOST}. IN TLSA 3 1 1 {'cc' * 32}\n" in still
    assert over.startswith("  third\n")
    assert "NEW" not in build_letter(letter(A)).decode()


def test_letters_beyond_ascii_survive():
    content = build_letter(letter(alarm("Bäckerei Müller"), fresh=()))
    assert content.isascii()
    assert "ERROR: Bäckerei Müller" in message_from_bytes(content, policy=policy.SMTP).get_content()


@pytest.mark.parametrize(
    ("language", "subject", "texts"),
    [
        ("sv", "1 kritiskt, 2 fel: first", ("E-postgatewayen", "NYA", "KRITISKT: first", "Gör så här:")),
        (
            "de",
            "1 kritischer, 2 Fehler: first",
            ("Das E-Mail-Gateway", "NEU", "KRITISCH: first", "Was zu tun ist:"),
        ),
    ],
)
def test_it_is_written_in_the_language_and_time_zone_of_its_reader(language, subject, texts):
    one = letter(A, B, replace(B, certificate="z"), fresh=(A,), language=language, zone=ZoneInfo("Europe/Stockholm"))
    content = build_letter(one)
    message = message_from_bytes(content, policy=policy.SMTP)
    assert content.isascii()
    assert message["Content-Language"] == language
    assert message["Subject"] == subject_of(one) == f"[gatepost {HOST}] {subject}"
    text = message.get_content()
    assert [part for part in texts if part not in text] == []
    assert "2027-01-15 08:59+01" in text
    assert "What to do" not in text
    over = replace(one, standing=(), cleared=(A,))
    clear = {"sv": "allt är bra igen", "de": "wieder alles in Ordnung"}[language]
    decoded = message_from_bytes(build_letter(over), policy=policy.SMTP)["Subject"]
    assert decoded == f"[gatepost {HOST}] {clear}"


def test_times_within_its_sentences_are_in_the_zone_of_its_reader():
    one = alarm("the certificate a for mx1.contoso.example expires in 14 days", since=NOW)
    one = replace(one, detail="It ends at 2027-01-29 08:00Z; from then on partners that check it will refuse mail.")
    made = letter(one, fresh=(one,), zone=ZoneInfo("Europe/Stockholm"))
    for language, title, detail in (
        ("en", "expires in 14 days", "It ends at 2027-01-29 09:00+01; from"),
        ("sv", "går ut om 14 dagar", "Det går ut 2027-01-29 09:00+01; därefter"),
        ("de", "läuft in 14 Tagen ab", "Es läuft am 2027-01-29 09:00+01 ab; von"),
    ):
        mail = message_from_bytes(build_letter(replace(made, language=language)), policy=policy.SMTP)
        text = " ".join(mail.get_content().split())
        assert title in mail["Subject"]
        assert title in text
        assert detail in text
        assert "08:00Z" not in text


def test_many_are_counted():
    many = tuple(replace(A, certificate=str(number)) for number in range(100))
    text = message_from_bytes(build_letter(letter(*many, cleared=many)), policy=policy.SMTP).get_content()
    assert text.count("CRITICAL: first") == 40
    assert "and 60 more" in text


@given(st.text(max_size=400), st.text(max_size=300), st.booleans())
def test_no_text_opens_another_field_or_a_long_line(text, title, is_fresh):
    one = replace(A, title=title, detail=text, fix=f"x{'y' * 3000}{text}", lines=(text,))
    content = build_letter(letter(one, fresh=(one,) if is_fresh else (), cleared=(one,)))
    assert content.isascii()
    lines = content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
    head = content.partition(b"\r\n\r\n")[0]
    fields = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert len(fields) == 10
    assert fields[:3] == [b"From", b"To", b"Subject"]
