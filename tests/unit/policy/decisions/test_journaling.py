from __future__ import annotations

from typing import Any

from gatepost.policy.connectors.journal_index import OrganizationJournal, journals
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import JournalForm
from gatepost.policy.decisions.journaling import (
    JournalCopy,
    JournaledMail,
    JournaledRecipient,
    header_names,
    journal_copies,
    journal_sentences,
)

KEEP, OTHER, PKEEP = "keep@o.example", "other@o.example", "keep@p.example"
ANN, BEN = JournaledRecipient("ann@o.example", "o"), JournaledRecipient("Ben@o.example", "o")
DAN, FAR = JournaledRecipient("dan@p.example", "p"), JournaledRecipient("x@far.example", "")
HEADER = Content({"to": ('"Ann, A." <ANN@o.example>, x@far.example',), "cc": ("dan@p.example (Dan)",)})


def index(o: dict[str, Any], p: dict[str, Any] | None = None) -> dict[str, OrganizationJournal]:
    document = {
        "o": {"accepted_domain": [{"name": "o.example"}], "mailbox": [{"address": KEEP}, {"address": OTHER}]} | o,
        "p": {"accepted_domain": [{"name": "p.example"}], "mailbox": [{"address": PKEEP}]} | (p or {}),
    }
    return journals(parse({"organization": document}).organizations) or {}


def mail(sender: str, *recipients: JournaledRecipient) -> JournaledMail:
    return JournaledMail(sender, "s@o.example", recipients)


def test_mail_of_others_asks_for_no_header() -> None:
    known = index({"journal_to": KEEP})
    assert header_names(known, mail("", FAR)) == frozenset()
    assert header_names(known, mail("p", DAN)) == frozenset()
    assert header_names(known, mail("", ANN)) == {"to", "cc"}
    ruled = index({"mail_flow_rule": [{"name": "r", "header_name": "X-A", "journal_to": KEEP}]})
    assert header_names(ruled, mail("", ANN)) == {"to", "cc", "x-a"}


def test_the_senders_report_names_all_recipients_and_anothers_its_own() -> None:
    known = index({"journal_to": KEEP}, {"journal_to": PKEEP})
    own, others = journal_copies(known, mail("o", ANN, BEN, DAN, FAR), HEADER)
    assert (own.organization, own.address, own.form, own.rules) == ("o", KEEP, JournalForm.REPORT, ())
    assert own.lines == ("To: ann@o.example", "Bcc: Ben@o.example", "Cc: dan@p.example", "To: x@far.example")
    assert (others.organization, others.address, others.lines) == ("p", PKEEP, ("Cc: dan@p.example",))
    assert others.author == "postmaster@p.example"
    incoming = journal_copies(known, mail("", ANN, DAN), HEADER)
    assert [copy.lines for copy in incoming] == [("To: ann@o.example",), ("Cc: dan@p.example",)]


def test_directions_are_those_of_each_organization() -> None:
    only = {way: index({"journal_to": KEEP, "journal_direction": way}) for way in ("incoming", "outgoing", "internal")}
    cases = {"incoming": mail("", ANN), "outgoing": mail("o", FAR), "internal": mail("o", ANN)}
    for way, known in only.items():
        assert [name for name, case in cases.items() if journal_copies(known, case, Content())] == [way]


def test_one_copy_goes_to_an_address_whatever_recipients_and_rules_say() -> None:
    rules = [
        {"name": "copy", "journal_to": KEEP.upper().replace("O.EXAMPLE", "o.example"), "journal_form": "copy"},
        {"name": "other", "journal_to": OTHER, "journal_form": "copy", "recipients": ["ann@o.example"]},
        {"name": "more", "journal_to": OTHER, "journal_form": "copy"},
    ]
    first, second = journal_copies(index({"journal_to": KEEP, "mail_flow_rule": rules}), mail("", ANN, BEN), Content())
    assert (first.form, first.rules) == (JournalForm.REPORT, ("copy",))
    assert first.lines == ("Bcc: ann@o.example", "Bcc: Ben@o.example")
    assert (second.address, second.form, second.rules, second.lines) == (OTHER, JournalForm.COPY, ("more", "other"), ())
    assert first.record() == {"to": KEEP, "form": "report", "rules": ["copy"]}
    assert JournalCopy("o", KEEP, JournalForm.COPY, (), "").record() == {"to": KEEP, "form": "copy"}


def test_the_journal_mailbox_itself_is_no_reason_for_a_copy() -> None:
    known = index({"journal_to": KEEP})
    journal = JournaledRecipient("Keep@o.example", "o")
    assert journal_copies(known, mail("", journal), Content()) == ()
    (copy,) = journal_copies(known, mail("", journal, ANN), Content())
    assert copy.lines == ("Bcc: Keep@o.example", "Bcc: ann@o.example")


def test_where_a_mailbox_forwards_is_named_to_its_own_organization_alone() -> None:
    known = index({"journal_to": KEEP}, {"journal_to": PKEEP})
    forwards = JournaledRecipient("dan@p.example", "p", ("home@far.example",))
    own, others = journal_copies(known, mail("o", forwards), Content())
    assert own.lines == ("Bcc: dan@p.example",)
    assert others.lines == ("Bcc: dan@p.example", "Bcc: home@far.example, Forwarded: dan@p.example")


def test_copies_are_explained_in_a_sentence_each() -> None:
    rules = [{"name": "r", "journal_to": OTHER, "journal_form": "copy"}]
    copies = journal_copies(index({"journal_to": KEEP, "mail_flow_rule": rules}), mail("", ANN), Content())
    assert journal_sentences(copies) == (
        "o journals it to keep@o.example as a report",
        "o journals it to other@o.example as a copy, by mail flow rule 'r'",
    )
