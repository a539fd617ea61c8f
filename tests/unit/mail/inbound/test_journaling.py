"""Journal copies of an accepted message: which, as which deliveries, and that nobody else pays for them."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.mail.inbound.journaling import copies_of, journal_deliveries
from gatepost.mail.model.message import Message
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.forwarding import Target
from gatepost.protocols.smtp.grammar import parse_address

KEEP, HOME = "keep@o.example", "home@o.example"
HEADER = b"To: ann@o.example\r\nSubject: x\r\n"


def directory(**fields: Any) -> Directory:
    own = {
        "accepted_domain": [{"name": "o.example"}],
        "mailbox": [
            {"address": KEEP, "forwarding_smtp_address": HOME, "deliver_to_mailbox_and_forward": True},
            {"address": HOME},
            {"address": "ann@o.example"},
        ],
    }
    return Directory(parse({"organization": {"o": own | fields}}))


def mail() -> Any:
    return SimpleNamespace(path=parse_address("s@far.example"))


def accepted(*addresses: str) -> Any:
    verdict = SimpleNamespace(organization="o", direction="incoming")
    return [
        SimpleNamespace(
            event=SimpleNamespace(path=parse_address(address)),
            verdict=verdict,
            targets=(Target(parse_address(address)),),
        )
        for address in addresses
    ]


def test_who_does_not_use_it_pays_nothing() -> None:
    known = directory()
    assert known.journals is None
    assert copies_of(known, mail(), accepted("ann@o.example"), b"") == ((), False)


def test_mail_of_an_organization_that_journals_nothing_is_not_looked_at() -> None:
    known = directory(journal_to=KEEP)
    assert copies_of(known, mail(), accepted("x@far.example"), HEADER) == ((), False)


@pytest.mark.parametrize(
    ("field", "came_back"),
    [
        (b"", False),
        (b"X-Gatepost-Journal: other@o.example\r\n", False),
        (b"x-gatepost-journal:  KEEP@o.example\r\n", True),
        (b"X-MS-Journal-Report:\r\n", False),
    ],
)
def test_only_a_copy_of_this_journal_is_one_that_came_back(field: bytes, came_back: bool) -> None:
    copies, loop = copies_of(directory(journal_to=KEEP), mail(), accepted("ann@o.example"), field + HEADER)
    assert loop is came_back
    assert [copy.lines for copy in copies] == [("To: ann@o.example",)]


def test_a_report_of_a_report_tells_of_the_journals_before_it() -> None:
    known = directory(journal_to=KEEP)
    marks = b"X-Gatepost-Journal: Other@far.example\r\nX-Gatepost-Journal: no address\r\n"
    marks += b"".join(b"X-Gatepost-Journal: z%d@far.example\r\n" % number for number in range(20))
    ((copy,), came_back) = copies_of(known, mail(), accepted("ann@o.example"), marks + HEADER)
    assert not came_back
    assert copy.before[0] == "other@far.example"
    assert len(copy.before) == 10
    numbers = count(10)
    service: Any = SimpleNamespace(store=SimpleNamespace(new_id=lambda: next(numbers)), expiration=lambda _: 60.0)
    message = Message(7, "o", 1000.0, "s@far.example")
    first, _ = journal_deliveries(service, known, message, [copy])
    assert first.journal is not None
    assert first.journal.before == copy.before


def test_a_copy_is_a_delivery_for_each_place_of_the_journal_mailbox() -> None:
    known = directory(journal_to=KEEP)
    numbers = count(10)
    service: Any = SimpleNamespace(store=SimpleNamespace(new_id=lambda: next(numbers)), expiration=lambda _: 60.0)
    copies, _ = copies_of(known, mail(), accepted("ann@o.example"), HEADER)
    message = Message(7, "o", 1000.0, "s@far.example", direction="incoming", smtputf8=True)
    first, second = journal_deliveries(service, known, message, copies)
    assert [(each.id, each.destination, each.expires_at) for each in (first, second)] == [
        (10, "o/o.example", 1060.0),
        (11, "o/o.example", 1060.0),
    ]
    assert [(each.recipients[0].address, each.recipients[0].forwarded_by) for each in (first, second)] == [
        (KEEP, ""),
        (HOME, KEEP),
    ]
    assert first.message.id == 7
    assert (first.message.reverse_path, first.message.direction) == ("", "originating")
    journal = first.journal
    assert journal is not None
    assert (journal.to, journal.sender, journal.utf8, journal.lines) == (
        KEEP,
        "s@far.example",
        True,
        ("To: ann@o.example",),
    )
    assert journal.boundary != (second.journal.boundary if second.journal else "")
