from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.checks import certificate_alarm_texts as texts
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.protocols.tls.facts import CertificateFacts

NOW = 1_800_000_000.0
DAY = 86400.0
HOST = "mx1.contoso.example"


def entry(*names: str, days: float = 6, subject: str = "CN=x", **fields: Any) -> Entry:
    end = NOW + days * DAY
    borne = names or (HOST,)
    leaf = CertificateFacts(subject, "CN=CA", "1", "x", borne, (), "aa" * 32, "b", "cc" * 32, 0, end, "EC-P-256")
    return Entry("a1", leaf, **{"state": State.CURRENT, **fields})


TITLES = [
    (entry(), f"the certificate a1 for {HOST}"),
    (
        entry("a.example", "b.example", "c.example", "d.example"),
        "the certificate a1 for a.example, b.example, c.example and 1 more",
    ),
    (entry(state=State.NEXT), f"the next certificate a1 for {HOST}"),
    (
        entry(purpose=Purpose.CLIENT, organization="contoso", label="bank"),
        "the client certificate 'bank' of contoso (certificate a1)",
    ),
]


@pytest.mark.parametrize(("one", "title"), TITLES)
def test_what_a_certificate_is_called(one, title):
    assert texts.title_of(one) == title


LEFT = [
    (6.5, "expires in 6 days"),
    (2, "expires in 2 days"),
    (1.99, "expires in 47 hours"),
    (1.5 / 24, "expires in 1 hour"),
    (0.5 / 24, "expires within an hour"),
    (0, "has expired"),
]


@pytest.mark.parametrize(("days", "title"), LEFT)
def test_how_long_it_is_left(days, title):
    assert texts.expiry(entry(days=days), NOW).title == f"the certificate a1 for {HOST} {title}"


@pytest.mark.parametrize(
    ("days", "purpose", "detail"),
    [
        (6, Purpose.SERVER, "from then on partners that check it will refuse mail."),
        (6, Purpose.CLIENT, "from then on partners that ask for it will refuse the connection."),
        (0, Purpose.SERVER, "partners that check it refuse mail."),
        (0, Purpose.CLIENT, "the partners that ask for it refuse the connection."),
    ],
)
def test_what_comes_of_an_end(days, purpose, detail):
    assert texts.expiry(entry(days=days, purpose=purpose), NOW).detail.endswith(detail)


FILES = {"chain_file": "/etc/chain.pem", "key_file": "/etc/key.pem"}
FIXES = [
    ({"origin": Origin.SETTINGS, **FILES}, "Renew the files /etc/chain.pem and /etc/key.pem"),
    ({"origin": Origin.FILES, **FILES}, "Renew the files"),
    ({"origin": Origin.FILES}, "gatepost certificate request"),
    ({"origin": Origin.UPLOAD}, "gatepost certificate request"),
    ({"origin": Origin.ACME}, "gatepost certificate acme status"),
    ({"origin": Origin.AUTHORITY}, "gatepost site status"),
]


@pytest.mark.parametrize(("fields", "fix"), FIXES)
def test_what_to_do_is_that_of_where_it_came_from(fields, fix):
    said = texts.expiry(entry(**fields), NOW)
    assert fix in f"{said.fix} {' '.join(said.lines)}"


def test_a_client_identity_is_asked_for_as_one():
    client = entry(purpose=Purpose.CLIENT, organization="contoso", label="the bank")
    assert texts.revoked(client, "x").lines == (
        "gatepost certificate request --client --organization contoso --label 'the bank' -o request.pem",
        "gatepost certificate add ISSUED.pem --client --organization contoso --label 'the bank'",
    )


def test_a_switch_can_be_taken_back_if_there_was_one():
    fresh = entry(current_from=NOW, replaces=("z",))
    *records, last = texts.no_tlsa(HOST, "x", [entry(), fresh]).lines
    assert records == [f"_25._tcp.{HOST}. IN TLSA 3 1 1 {'cc' * 32}"] * 2
    assert last == "gatepost certificate changeover roll-back a1"
    in_files = entry(current_from=NOW, replaces=("z",), origin=Origin.FILES)
    assert len(texts.no_tlsa(HOST, "x", [entry(), in_files]).lines) == 2


def test_a_staged_one_that_can_never_be_presented():
    assert "ends before its planned switch" in texts.next_ended(entry(switch_at=NOW + 9 * DAY), NOW).title
    assert "The switch to it is planned for" in texts.next_ended(entry(switch_at=NOW + 9 * DAY), NOW).detail
    said = texts.next_ended(entry(days=-1), NOW)
    assert "has expired before it was presented" in said.title
    assert said.lines == ("gatepost certificate remove a1",)


EVIL = "a\r\nBcc: x\x1b[31m\u202e" * 200
SAID = [
    texts.revoked(entry(), EVIL),
    texts.incomplete(entry(), EVIL),
    texts.incomplete(entry(**FILES), EVIL),
    texts.changed(entry(), entry(), "root", EVIL, EVIL),
    texts.no_staple(entry()),
    texts.renewal(entry(days=-1), EVIL, NOW + 60, NOW),
    texts.no_tlsa(HOST, EVIL, [entry()]),
    texts.no_tlsa(HOST, EVIL, [], proven=False),
    texts.some_tlsa(HOST, EVIL, []),
    texts.some_tlsa(HOST, EVIL, [entry()]),
    texts.unusable_tlsa(HOST, EVIL, [entry()]),
    texts.bogus(HOST, EVIL),
    texts.not_covered(HOST, "Why.", []),
    texts.not_covered(HOST, EVIL, ["a", "b", "c", "d"]),
    texts.unreachable(EVIL, "CRL", EVIL, NOW),
    texts.next_hardly_later(entry(), entry()),
    texts.next_missing(entry(subject=EVIL), NOW),
]


@pytest.mark.parametrize("said", SAID)
def test_whatever_stands_in_it_is_one_line_of_bounded_length(said):
    parts = (said.title, said.detail, said.fix, *said.lines)
    assert all(part and part.isprintable() and len(part) <= 900 for part in parts)
    assert said.fix[-1] == (":" if said.lines else ".")
    assert said.detail.endswith(".")
    assert said.detail[0].isupper()


@pytest.mark.parametrize(
    ("days", "when"), [(5, "before"), (6, "only a little later than"), (7, "only a little later than")]
)
def test_whether_the_next_one_ends_before_is_said(days, when):
    said = texts.next_hardly_later(entry(days=days, state=State.NEXT), entry())
    assert said.title == f"the next certificate a1 for {HOST} ends {when} the certificate that it will replace"
