from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from gatepost.analysis.checks.tasks import HostReport, Task, TaskStatus
from gatepost.language import in_language
from gatepost.manage.pages.explain_story import SHOWN, Failure, story
from gatepost.manage.use_cases.explain import ExplainAssumption, ExplainCertificates, ExplainResult, ExplainSession
from gatepost.manage.use_cases.explain_live import ExplainLogin
from gatepost.manage.use_cases.explain_text import KINDS
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.explain import explain
from gatepost.policy.decisions.failures import FailureOutcome
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

ANN, BANK, STRANGER = "ann@contoso.example", "x@bank.example", "eve@elsewhere.example"
BASE = {
    "accepted_domain": [{"name": "contoso.example"}],
    "mailbox": [{"address": ANN}],
    "inbound_connector": [{"name": "bank-in", "sender_domains": ["bank.example"], "require_tls": True}],
    "outbound_connector": [
        {"name": "bank-out", "recipient_domains": ["bank.example"], "tls_settings": "encryption-only"}
    ],
}
IN_CLEAR = ExplainSession("203.0.113.1", "", certificate=False, assumed=(ExplainAssumption("ip", "from nowhere"),))


def answer(sender=STRANGER, recipient=ANN, asked=IN_CLEAR, *, of=None, tls=None, **fields):
    directory = Directory(parse({"organization": {"contoso": BASE | (of or {})}}), 7)
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in (sender, recipient))
    explanation = explain(directory, SessionFacts("", asked.ip, tls=tls), *ends)
    return replace(ExplainResult(explanation, asked, None, 86400.0, None, empty=False), **fields)


def leaving(*, of=None, **fields):
    """Mail of a server of the organization's own, for the bank."""
    own = {"name": "hq", "connector_type": "on-premises", "sender_ip_addresses": ["203.0.113.0/24"]}
    return answer(ANN, BANK, of={"inbound_connector": [own]} | (of or {}), **fields)


def test_mail_for_a_mailbox():
    told = story(answer())
    assert (told.level, told.headline) == (
        "pass",
        f"The gateway accepts the message and delivers it to the mailbox {ANN}.",
    )
    assert told.channel == "from 203.0.113.1 unencrypted"
    assert (told.assumed, told.expires, told.hosts) == (("from nowhere",), "24h", None)
    assert told.failures == ()
    assert (told.outbound.level, told.outbound.others) == ("pass", ())
    assert told.outbound.reasons[-1].text.startswith(
        "the recipient has a mailbox on this gateway, so no outbound connector"
    )


@pytest.mark.parametrize(
    ("asked", "channel"),
    [
        (ExplainSession("2001:db8::1", "TLSv1.2", False, ()), "from 2001:db8::1 over TLSv1.2, without a certificate"),
        (ExplainSession("192.0.2.1", "TLSv1.3", True, ()), "from 192.0.2.1 over TLSv1.3, with a certificate"),
    ],
)
def test_how_it_comes(asked, channel):
    assert story(answer(asked=asked)).channel == channel


def test_what_a_connector_refuses(tls):
    told = story(answer(BANK))
    assert (told.level, told.headline) == ("fail", "The gateway refuses the message at MAIL FROM.")
    assert told.inbound.level == "fail"
    assert dict(told.inbound.facts)["Connector"] == "bank-in"
    assert told.inbound.reasons[-1].level == "fail", "what decided stands last"
    assert told.outbound.said.startswith("If accepted: ")
    assert story(answer(BANK, tls=tls)).level == "pass"


def test_what_is_only_deferred_is_no_refusal():
    one = answer(BANK)
    later = replace(one.explanation.inbound, reply=Reply(450, "4.7.1", "later"))
    told = story(replace(one, explanation=replace(one.explanation, inbound=later)))
    assert told.headline == "The gateway defers the message at MAIL FROM."
    assert told.inbound.level == "warn"


def test_a_recipient_of_whom_a_server_is_asked_is_not_said_to_be_accepted():
    domain = {"name": "contoso.example", "type": "internal-relay", "recipient_validation": "callout"}
    relay = {"name": "inside", "recipient_domains": ["contoso.example"], "smart_hosts": ["192.0.2.5"]}
    of = {"accepted_domain": [domain], "mailbox": [], "outbound_connector": [relay]}
    told = story(answer(of=of))
    assert told.headline.startswith("If the recipient exists, the gateway accepts the message and delivers it ")
    assert told.inbound.said == "Accepted if the recipient exists"


def test_nobodys_mail_and_no_such_mailbox():
    told = story(answer(STRANGER, "y@internet.test"))
    assert (told.level, told.outbound.level) == ("fail", "waiting")
    assert told.outbound.said == "No organization handles this mail"
    told = story(answer(STRANGER, "nobody@contoso.example"))
    assert told.level == "fail"
    assert told.outbound.level == "fail"
    assert "550 5.1.1" in told.outbound.said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("opportunistic", ", over TLS if the next hop offers it."),
        ("encryption-only", ", over TLS."),
        ("certificate-validation", ", over TLS with a verified certificate."),
    ],
)
def test_where_it_goes_and_how_it_is_protected(settings, said):
    out = {"outbound_connector": [BASE["outbound_connector"][0] | {"tls_settings": settings}]}
    told = story(leaving(of=out))
    assert (told.level, told.headline.endswith(f"to the MX hosts of bank.example{said}")) == ("pass", True)
    assert dict(told.outbound.facts)["Connector"] == "bank-out"
    assert any("DANE and MTA-STS" in note for note in told.notes)
    assert [one.kind for one in told.failures] == [
        KINDS[failure.kind][:1].upper() + KINDS[failure.kind][1:] for failure in leaving(of=out).explanation.failures
    ]


def test_what_waits_for_a_certificate_of_the_recipient():
    told = story(leaving(certificates=ExplainCertificates("none", "there is none for x@bank.example")))
    assert (told.level, "must be encrypted" in told.headline) == ("warn", True)
    assert dict(told.outbound.facts)["S/MIME certificates"] == "there is none for x@bank.example"
    told = story(leaving(certificates=ExplainCertificates("encrypted to 1 certificate", "")))
    assert (told.level, dict(told.outbound.facts)["S/MIME certificates"]) == ("pass", "encrypted to 1 certificate")


def test_how_it_logs_in_and_what_keeps_it_from_that():
    told = story(leaving(login=ExplainLogin("gate@contoso.example", "with a password, by PLAIN", "")))
    assert (told.level, dict(told.outbound.facts)["Log-in"]) == (
        "pass",
        "as gate@contoso.example with a password, by PLAIN",
    )
    told = story(leaving(login=ExplainLogin("gate", "with a password, by PLAIN", "no secret is stored")))
    assert (told.level, "cannot log in to the smart hosts" in told.headline) == ("warn", True)
    assert dict(told.outbound.facts)["Log-in"].endswith("by PLAIN. Now it fails: no secret is stored")


def test_by_which_key_it_is_sealed():
    box = {"address": ANN, "forwarding_smtp_address": BANK}
    away = {"mailbox": [box], "authentication_results": "gateway"}
    key = {"name": "s._domainkey.contoso.example", "state": "current"}
    sealed = story(answer(of=away | {"dkim_key": [key]}))
    assert dict(sealed.outbound.facts)["ARC"].startswith("Sealed by contoso.example/s rsa-sha256: ")
    assert dict(story(answer(of=away)).outbound.facts)["ARC"] == "Not sealed: contoso has no current RSA DKIM key"
    assert "ARC" not in dict(story(answer()).outbound.facts)


def host(*statuses, address="192.0.2.1:25", usable=True):
    tasks = tuple(Task(f"t{at}", one, "a\nb", "do", 0.5 * at) for at, one in enumerate(statuses))
    return SimpleNamespace(host="mx.bank.example", address=address, tasks=tasks, usable=usable)


def test_what_the_next_hops_present():
    both = (host(*ENDED, usable=False), host(address=""))
    told = story(leaving(reports=both))
    assert told.level == "pass", "one of them will do"
    first, second = told.hosts
    assert (first.place, first.level) == ("mx.bank.example (192.0.2.1:25)", "fail")
    assert [one["level"] for one in first.tasks] == ["pass", "fail", "warn", "waiting"]
    assert (first.tasks[0]["took"], first.tasks[1]["took"]) == (None, 0.5)
    assert first.tasks[0]["text"] == "a; b"
    assert len({one["key"] for one in first.tasks}) == 4
    assert (second.place, second.level, second.tasks) == ("mx.bank.example", "pass", [])
    told = story(leaving(reports=both[:1]))
    assert (told.level, "no next hop meets the requirement now" in told.headline) == ("warn", True)
    assert story(leaving(reports=())).hosts == ()


ENDED = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.WARNING, TaskStatus.SKIPPED)


def test_a_real_report_has_what_is_asked_of_it():
    """The stand-in above has no more than a report has."""
    report = HostReport("mx", "192.0.2.1:25", (Task("Connect", TaskStatus.FAILED, "refused"),))
    assert story(leaving(reports=(report,))).hosts[0].level == "fail"


WITHHELD = [
    ({"inbound"}, "unknown", "Another organization receives this message"),
    ({"outbound"}, "pass", "Another organization decides how to deliver it"),
    ({"inbound", "outbound"}, "unknown", "Another organization receives this message"),
]


@pytest.mark.parametrize(("withheld", "level", "headline"), WITHHELD)
def test_what_others_decide_is_not_told(withheld, level, headline):
    told = story(answer(withheld=frozenset(withheld)))
    assert told.level == level
    assert headline in told.headline
    for name, chapter in (("inbound", told.inbound), ("outbound", told.outbound)):
        assert chapter.withheld is (name in withheld)
        if chapter.withheld:
            assert (chapter.facts, chapter.reasons, chapter.others) == ((), (), ())


def test_of_very_many_others_the_rest_is_counted():
    many = [{"name": f"n{one:03}", "sender_domains": [f"n{one}.test"]} for one in range(SHOWN + 17)]
    told = story(answer(of={"inbound_connector": many}))
    (others,) = told.inbound.others
    assert (len(others.rows), others.more, others.total) == (SHOWN, 17, SHOWN + 17)
    assert others.title == "Connectors that do not apply"
    assert others.rows[0][0].startswith("'n000'"), "without the word that the heading has"


def test_what_a_connector_in_rehearsal_would_do():
    trial = BASE["inbound_connector"][0] | {"mode": "rehearse"}
    out = BASE["outbound_connector"][0] | {"mode": "rehearse"}
    told = story(answer(BANK, of={"inbound_connector": [trial]}))
    assert (told.level, told.inbound.level) == ("pass", "pass")
    facts = dict(told.inbound.facts)
    assert facts["In rehearsal"].startswith("bank-in would refuse with 5")
    assert facts["Requires"] == "Opportunistic TLS; in rehearsal: TLS with any certificate"
    told = story(leaving(of={"outbound_connector": [out]}))
    said = "Would require TLS with any certificate (required by connector bank-out)"
    assert dict(told.outbound.facts)["In rehearsal"] == said
    assert any("if enforced it would wait: 4" in one.result for one in told.failures)


REPLY, FINAL = Reply(450, "4.4.317", "x"), Reply(550, "5.4.317", "x")
FAILURES = [
    (FailureOutcome("expired", "waits", REPLY, FINAL, "Bad"), ("hold", "waits", "450 4.4.317 Bad", "550 5.4.317")),
    (FailureOutcome("expired", "fails", REPLY, FINAL, "Bad"), ("fail", "returned at once", "550 5.4.317 Bad", "")),
    (FailureOutcome("expired", "delivered"), ("pass", "delivered", "", "")),
    (FailureOutcome("expired", "delivered-in-clear"), ("warn", "delivered unencrypted", "", "")),
    (
        FailureOutcome("expired", "delivered", rehearsed=REPLY),
        ("pass", "delivered; if enforced it would wait: 450 4.4.317", "", ""),
    ),
]


@pytest.mark.parametrize(("outcome", "told"), FAILURES)
def test_what_a_failure_does(outcome, told):
    one = leaving()
    explained = replace(one.explanation, failures=(outcome,))
    assert story(replace(one, explanation=explained)).failures == (Failure("Expired", *told),)


def test_mail_that_memory_may_hold_is_said_to_be():
    one = leaving(of={"protection_drop": "hold"})
    assert any("protection_drop" in note for note in story(one).notes)
    assert not any("protection_drop" in note for note in story(leaving()).notes)


def test_only_what_speaks_for_the_connector_is_marked_so(tls):
    one = answer(BANK, tls=tls)
    lacks = "connector 'bank-in' of contoso names a.test, but the client's certificate is not trusted"
    applied = "connector 'bank-in' of contoso matches what is written, but rarely"
    inbound = replace(one.explanation.inbound, reasons=(applied, lacks, "also"), applied_by=applied)
    told = story(replace(one, explanation=replace(one.explanation, inbound=inbound)))
    assert [reason.level for reason in told.inbound.reasons] == ["pass", "info", "info"]


def every_text(value):
    """All texts of a story, wherever they stand in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from every_text(part)


ENGLISH_WORDS = re.compile(r"\b(?:the|which|does|and|its|with|is|not|of|message|mail)\b")
RULE = {"name": "far", "recipients": ["far.example"], "require_tls": True}
OTHER = {"name": "bank-in", "sender_domains": ["bank.example"], "tls_sender_certificate_name": "*.bank.example"}
CASES = [
    {},
    {"sender": BANK},
    {"sender": BANK, "of": {"inbound_connector": [OTHER]}},
    {"recipient": "nobody@contoso.example"},
    {"recipient": "x@elsewhere.example"},
    {"sender": ANN, "recipient": BANK, "of": {"inbound_connector": [{"name": "hq", "connector_type": "on-premises",
                                                                    "sender_ip_addresses": ["203.0.113.0/24"]}]}},
    {"sender": ANN, "recipient": BANK, "of": {"mail_flow_rule": [RULE]}},
]  # fmt: skip


@pytest.mark.parametrize("language", ["sv", "de"])
@pytest.mark.parametrize("case", CASES)
def test_a_story_is_told_in_the_language_of_the_page(case, language):
    def told(language):
        with in_language(language):
            shown = story(answer(**case))
        return [
            text for part in (shown.inbound.reasons, shown.inbound.others, shown.outbound) for text in every_text(part)
        ]

    english = set(told("en"))
    left = [text for text in told(language) if text in english and " " in text and ENGLISH_WORDS.search(text)]
    assert left == []
