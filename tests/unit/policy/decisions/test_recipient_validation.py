from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.policy.decisions.recipient_validation import (
    RecipientAnswer,
    RecipientQuestion,
    answer_of_callout,
    answer_of_directory,
    foretell,
    judge_answer,
    judge_by_list,
    judge_unasked,
    no_such_mailbox,
    question_of,
)
from gatepost.protocols.ldap.messages import LdapResult
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.smtp.replies import Reply

Build = Callable[[str], Directory]
MakePath = Callable[[str], Path]

LISTED = """
[organization.o]
subaddress_separator = "+"
[[organization.o.accepted_domain]]
name = "o.example"
type = "internal-relay"
recipient_validation = "list"
recipients = ["Ann@o.example", "\\"b b\\"@o.example"]
[[organization.o.accepted_domain]]
name = "*.sub.example"
type = "internal-relay"
recipient_validation = "list"
recipients = ["c@x.sub.example"]
[[organization.o.accepted_domain]]
name = "open.example"
type = "internal-relay"
[[organization.o.accepted_domain]]
name = "own.example"
[[organization.o.mailbox]]
address = "box@o.example"
"""


@pytest.mark.parametrize(
    ("recipient", "is_unknown"),
    [("nobody@own.example", True), ("me@own.example", False), ("nobody@o.example", False), ("x@y.example", False)],
)
def test_only_an_authoritative_domain_with_mailboxes_knows_all_of_them(
    directory: Build, path: MakePath, recipient: str, is_unknown: bool
) -> None:
    text = LISTED + '[[organization.o.mailbox]]\naddress = "me@own.example"\n'
    assert no_such_mailbox(directory(text), path(recipient)) is is_unknown


@pytest.mark.parametrize(
    "recipient", ["box@o.example", "Box+x@o.example", "x@open.example", "x@own.example", "x@y.example"]
)
def test_nobody_is_asked_about_a_mailbox_or_a_domain_without_validation(
    directory: Build, path: MakePath, recipient: str
) -> None:
    assert question_of(directory(LISTED), path("s@x.example"), path(recipient)) is None


@pytest.mark.parametrize(
    ("recipient", "known"),
    [
        ("ann@o.example", True),
        ("ANN@O.Example", True),
        ('"ann"@o.example', True),
        ("ann+x+y@o.example", True),
        ('"b b"@o.example', True),
        ("+ann@o.example", False),
        ("ann.x@o.example", False),
        ("c@o.example", False),
        ("c@x.sub.example", True),
        ("c@y.sub.example", False),
    ],
)
def test_a_list_knows_its_addresses_and_their_subaddresses(
    directory: Build,
    path: MakePath,
    recipient: str,
    known: bool,
) -> None:
    resources = directory(LISTED)
    question = question_of(resources, path("s@x.example"), path(recipient))
    assert question is not None
    reply, reason = judge_by_list(resources, question)
    assert (reply is None) is known
    assert ("is in the recipient list of" in reason) is known
    if reply is not None:
        assert reply.text == "550 5.1.1 Recipient address rejected: no such mailbox here"


CALLOUT = """
[[organization.o.accepted_domain]]
name = "o.example"
type = "internal-relay"
recipient_validation = "callout"
recipient_validation_unavailable = "{}"
"""


@pytest.mark.parametrize(
    ("reply", "exists"),
    [
        (Reply(250, "2.1.5", ("OK",)), True),
        (Reply(251, "", ("will forward",)), True),
        (Reply(550, "5.1.1", ("User unknown",)), False),
        (Reply(550, "5.1.10", ("RESOLVER.ADR.RecipientNotFound",)), False),
        (Reply(550, "5.2.1", ("Mailbox disabled",)), False),
        (Reply(550, "", ("Unknown user",)), False),
        (Reply(550, "5.7.1", ("RESOLVER.RST.AuthRequired",)), True),
        (Reply(552, "", ("full",)), True),
        (Reply(530, "", ("log in first",)), True),
        (Reply(450, "4.2.0", ("Greylisted",)), None),
        (Reply(421, "", ("going down",)), None),
    ],
)
def test_a_recipient_is_unknown_only_if_the_server_says_that_of_it(reply: Reply, exists: bool | None) -> None:
    answer = answer_of_callout("mx.o.example", reply)
    assert answer.exists is exists
    assert answer.source.startswith(f"callout to mx.o.example, which said {reply.text}")


@pytest.mark.parametrize(
    ("choice", "exists", "code", "reason"),
    [
        ("defer", True, "", "a@o.example exists: S, 2m ago"),
        ("defer", False, "550 5.1.1", "a@o.example does not exist: S, 2m ago"),
        ("defer", None, "451 4.4.3", "it is not known whether a@o.example exists: S"),
        ("accept", None, "", "a@o.example is accepted unchecked: S"),
    ],
)
def test_an_answer_is_judged_by_the_choice_of_the_domain(
    directory: Build, path: MakePath, choice: str, exists: bool | None, code: str, reason: str
) -> None:
    question = question_of(directory(CALLOUT.format(choice)), path("s@x.example"), path("a@o.example"))
    assert question is not None
    reply, said = judge_answer(question, RecipientAnswer(exists, "S"), 120.4)
    assert (f"{reply.code} {reply.enhanced}" if reply else "", said) == (code, reason)
    assert judge_answer(question, RecipientAnswer(exists=True, source="S"), 0.4)[1].endswith("S")


def test_the_question_is_part_of_the_verdict_until_it_is_answered(
    directory: Build, path: MakePath, session: Callable[..., SessionFacts]
) -> None:
    resources, nobody = directory(CALLOUT.format("defer")), path("nobody@o.example")
    verdict = decide_recipient(resources, session("192.0.2.1"), path("s@x.example"), nobody)
    assert verdict.accepted
    assert verdict.question is not None
    assert verdict.question.may_ask
    assert "is asked at RCPT TO (callout)" in foretell(verdict.question)

    notice = decide_recipient(resources, session("192.0.2.1"), path(""), nobody)
    assert notice.question is not None
    assert not notice.question.may_ask
    assert foretell(notice.question) == judge_unasked(notice.question)


@pytest.mark.parametrize(
    ("code", "found", "exists", "said"),
    [
        (0, True, True, "the directory at ldaps://dc has an entry with it"),
        (4, True, True, "has an entry"),
        (0, False, False, "has no entry with it"),
        (32, False, None, "answered noSuchObject (32)"),
        (10, False, None, "answered referral (10)"),
        (51, False, None, "answered busy (51)"),
    ],
)
def test_only_a_search_that_succeeds_says_that_a_recipient_is_unknown(
    code: int, found: bool, exists: bool | None, said: str
) -> None:
    answer = answer_of_directory(LdapResult(code), "ldaps://dc", found=found)
    assert answer.exists is exists
    assert said in answer.source
    assert not answer.is_down


def test_a_directory_that_shows_nobody_says_nothing_of_a_recipient() -> None:
    answer = answer_of_directory(LdapResult(0), "ldaps://dc", found=False, is_empty=True)
    assert answer.exists is None
    assert answer.is_down
    assert "shows no recipient at all" in answer.source


@pytest.mark.parametrize(
    ("reference", "exists"),
    [
        ("ldap://child.o.example/DC=child,DC=o,DC=example", None),
        ("ldap://o.example/CN=ConfigurationOfAll,DC=o", None),
        ("ldap://DomainDnsZones.o.example/DC=DomainDnsZones,DC=o,DC=example", False),
        ("ldaps://forestdnszones.o.example/dc=forestdnszones,dc=o", False),
        ("ldap://o.example/CN=Configuration,DC=o,DC=example", False),
    ],
)
def test_what_may_be_on_another_server_is_not_said_to_be_missing(reference: str, exists: bool | None) -> None:
    harmless = "ldap://DomainDnsZones.o.example/DC=DomainDnsZones,DC=o"
    answer = answer_of_directory(LdapResult(0), "ldaps://dc", found=False, references=(harmless, reference))
    assert answer.exists is exists
    assert (f"refers to {reference}" in answer.source) is (exists is None)
    assert not answer.is_down
    assert answer_of_directory(LdapResult(0), "ldaps://dc", found=True, references=(reference,)).exists


def test_a_source_is_asked_for_the_keys_or_the_recipient(directory: Build, path: MakePath) -> None:
    domain = directory(LISTED).accepted_domain("o.example")
    assert domain is not None
    asked_for = RecipientQuestion("o", domain, path("Ann@o.example"))
    assert asked_for.addresses == ("ann@o.example",)
    assert RecipientQuestion("o", domain, path("Ann@o.example"), keys=("b@o.example",)).addresses == ("b@o.example",)
