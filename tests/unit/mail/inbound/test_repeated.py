from __future__ import annotations

import pytest

from gatepost.mail.inbound import repeated
from gatepost.mail.inbound.repeated import RepeatedDecisions
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.header_trust import header_trust
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.values import replace

PARTNER = {"name": "partner", "sender_domains": ["p.example"], "require_tls": True}
OWN = {"name": "servers", "connector_type": "on-premises", "sender_ip_addresses": ["10.0.0.7"]}
DIRECTORY = Directory(
    parse({"organization": {"o": {"accepted_domain": [{"name": "o.example"}], "inbound_connector": [PARTNER, OWN]}}}),
    1,
)
TLS = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "ed25519", resumed=False, server_name="")
CLEAR = SessionFacts("s", "192.0.2.1", "c.example")
SECURED = replace(CLEAR, tls=TLS)
SERVER = SessionFacts("s", "10.0.0.7", "c.example")
ALL = (CLEAR, SECURED, SERVER)
SENDERS = tuple(map(parse_address, ("a@p.example", "a@o.example", "a@elsewhere.example")))
STRANGE = decide_recipient(DIRECTORY, CLEAR, SENDERS[2], parse_address("b@o.example"))
RECIPIENTS = tuple(map(parse_address, ("b@o.example", "c@o.example", "d@elsewhere.example")))


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def count(name, decide):
        monkeypatch.setattr(repeated, name, lambda *facts: calls.append(name) or decide(*facts))

    count("decide_mail", decide_mail)
    count("decide_recipient", decide_recipient)
    count("header_trust", header_trust)
    return calls


def test_an_envelope_that_is_repeated_is_decided_once(asked):
    last = RepeatedDecisions()
    for _ in range(3):
        mail = last.mail(DIRECTORY, SECURED, SENDERS[0])
        verdict = last.recipient(DIRECTORY, SECURED, SENDERS[0], RECIPIENTS[0], mail.attribution)
        assert verdict.accepted
        assert last.trust(DIRECTORY, SECURED, SENDERS[0], [verdict])
    assert asked == ["decide_mail", "decide_recipient", "header_trust"]


def test_any_order_of_facts_and_addresses_has_the_verdicts_of_policy_itself():
    last = RepeatedDecisions()
    for facts in (*ALL, *reversed(ALL)):
        for sender in (*SENDERS, SENDERS[0]):
            mail = last.mail(DIRECTORY, facts, sender)
            assert mail == decide_mail(DIRECTORY, facts, sender)
            for recipient in (*RECIPIENTS, RECIPIENTS[-1]):
                verdict = last.recipient(DIRECTORY, facts, sender, recipient, mail.attribution)
                assert verdict == decide_recipient(DIRECTORY, facts, sender, recipient, mail.attribution)
                for verdicts in ([verdict], [verdict] * 2, [verdict, STRANGE], [verdict]):
                    trust = last.trust(DIRECTORY, facts, sender, verdicts)
                    assert trust == header_trust(DIRECTORY, facts, sender, verdicts)


def test_what_is_learned_of_the_session_is_decided_anew():
    last = RepeatedDecisions()
    verdicts = [last.mail(DIRECTORY, facts, SENDERS[0]).accepted for facts in (CLEAR, SECURED, CLEAR)]
    assert verdicts == [False, True, False]


def test_another_attribution_of_the_same_envelope_is_decided_anew():
    last = RepeatedDecisions()
    known = last.mail(DIRECTORY, SERVER, SENDERS[1]).attribution
    stranger = decide_mail(DIRECTORY, SECURED, SENDERS[1]).attribution
    accepted = [
        last.recipient(DIRECTORY, SERVER, SENDERS[1], RECIPIENTS[-1], attribution).accepted
        for attribution in (known, stranger, known)
    ]
    assert accepted == [True, False, True]
