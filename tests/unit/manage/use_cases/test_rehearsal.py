from __future__ import annotations

import time

import msgspec
import pytest

from gatepost.analysis.rehearsal.recorded import session_facts
from gatepost.analysis.rehearsal.verdicts import ConnectorKey
from gatepost.language import in_language
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.connector_views import CountVerdicts, count_verdicts
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.rehearsal import RehearsalQuestion, show_rehearsal
from gatepost.manage.use_cases.resources import apply_document
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.sentences import ours
from gatepost.store.sqlite.trace import write_events

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ}), frozenset({"fabrikam"}))
NOW = time.time()
BANK = {"name": "bank", "mode": "rehearse", "sender_domains": ["bank.example"]}
RULE = {"name": "secret", "require_tls": True}
BASE = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [BANK],
        "mail_flow_rule": [RULE],
    },
    "fabrikam": {"inbound_connector": [BANK | {"mode": "enforce", "enabled": False}]},
}
WOULD = {"would_refuse": "530 5.7.0 Must issue a STARTTLS command first", "would_refuse_connector": "bank"}


def received(message, **detail):
    addresses = "till@bank.example", "ann@contoso.example"
    facts = {"connector": "bank", "peer_address": "192.0.2.1", "detail": detail}
    return TraceEvent(NOW - 60, "RECEIVE", message, "contoso", "incoming", "s", *addresses, **facts)


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    write_events(gateway.data / "trace", "0", [received("1"), received("2", **WOULD), received("3")])
    return gateway


def rehearsed(base, who, name="bank", **more):
    return LocalClient(base, who).call(show_rehearsal, RehearsalQuestion(name=name, since="1h", **more))


def test_what_a_connector_in_rehearsal_would_have_done(base):
    found = rehearsed(base, OWNER, organization="contoso")
    assert (found.label, found.is_trial, found.formed) == ("inbound connector 'bank' of contoso", True, 1)
    assert found.words == ("would pass", "would be refused")
    assert found.conclusion == (
        "not ready to enforce: 1 of 3 messages would have been refused; see one with: gatepost trace show 2"
    )
    assert (found.answer, found.messages, found.passed, found.failed) == (False, 3, 2, 1)
    assert [(one.peer, one.messages, one.sample) for one in found.groups] == [("192.0.2.1", 1, "2")]
    assert [one.failed for one in found.days] == [1]
    assert (found.mode, found.unreadable) == ("rehearse", [])
    assert found.since == pytest.approx(found.until - 3600, abs=5)


@pytest.mark.parametrize("language", ["de", "sv"])
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("mode", ["enforce", "rehearse"])
def test_its_words_are_in_every_language(base, language, direction, mode):
    report = msgspec.structs.replace(rehearsed(base, OWNER, organization="contoso"), direction=direction, mode=mode)
    with in_language(language):
        assert [word for word in report.words if ours(word) == word] == []


def test_a_tenant_is_told_of_its_own_connectors_alone(base):
    found = rehearsed(base, TENANT)
    assert (found.label, found.messages, found.words) == (
        "inbound connector 'bank' of fabrikam",
        0,
        ("accepted", "refused"),
    )
    assert found.conclusion == (
        "inconclusive: no matching mail in this time; it is disabled: re-evaluate past mail to get a result"
    )
    for asked in ({"organization": "contoso"}, {"name": "secret", "rule": True}):
        with pytest.raises(Refusal) as refused:
            rehearsed(base, TENANT, **asked)
        assert refused.value.kind is RefusalKind.MISSING


def test_a_connector_for_somebodys_address_tells_a_tenant_of_no_mail_that_its_trace_has_not(gateway):
    """The mail came before there was the connector: in the name of the tenant's domain, to another's or to nobody."""
    network = {"sender_ip_addresses": ["203.0.113.0/24"], "senders_by_address": "any"}
    resources = {
        "contoso": {"accepted_domain": [{"name": "contoso.example"}]},
        "fabrikam": {
            "accepted_domain": [{"name": "fabrikam.example"}],
            "inbound_connector": [{"name": "any", "connector_type": "on-premises", **network}],
        },
    }
    apply_document(gateway, OWNER, {"organization": resources}, ChangeOptions("ann"))
    came = {"peer_address": "203.0.113.9", "peer_host": "mx.strange.example"}
    rows = [
        ("RECEIVE", "1", "contoso", "ann@fabrikam.example", "ann@contoso.example"),
        ("REFUSE", "", "", "till@strange.example", "x@elsewhere.example"),
        ("RECEIVE", "3", "fabrikam", "", "ann@fabrikam.example"),
    ]
    write_events(
        gateway.data / "trace",
        "0",
        [TraceEvent(NOW - 60, *row[:3], "incoming", f"s{row[1]}", *row[3:], **came) for row in rows],
    )
    assert [rehearsed(gateway, who, "any", replay=True).messages for who in (OWNER, TENANT)] == [3, 1]


def test_a_rule_and_what_cannot_be_asked_of_it(base):
    found = rehearsed(base, OWNER, "SECRET", rule=True)
    assert (found.label, found.direction, found.formed) == ("mail flow rule 'secret' of contoso", "outbound", 0)
    for more in ({"replay": True}, {"direction": "inbound"}):
        with pytest.raises(Refusal, match="reports of rules cover outbound mail") as refused:
            rehearsed(base, OWNER, "secret", rule=True, **more)
        assert refused.value.kind is RefusalKind.INPUT


def two_of_a_name(gateway, mode, name="in"):
    """Contoso's own server, and a partner connector of Fabrikam that has demands on it; both are named alike."""
    own = {"connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.7"]}
    lock = {"restrict_domains_to_certificate": True, "tls_sender_certificate_name": "mx.secret.example"}
    partner = {"sender_domains": ["contoso.example"], "mode": mode, **lock}
    resources = {
        "contoso": {
            "accepted_domain": [{"name": "contoso.example"}],
            "inbound_connector": [{"name": "in", **own}],
        },
        "fabrikam": {
            "accepted_domain": [{"name": "fabrikam.example"}],
            "inbound_connector": [{"name": name, **partner}],
        },
    }
    apply_document(gateway, OWNER, {"organization": resources}, ChangeOptions("ann"))
    sender, recipient = "ann@contoso.example", "till@fabrikam.example"
    tls = {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384", "group": "X25519", "resumed": False}
    facts = {"sender": sender, "recipient": recipient, "session": "s", "peer_address": "192.0.2.7", "tls": tls}
    came = TraceEvent(NOW - 60, "RECEIVE", "1", "contoso", direction="originating", **facts)
    paths = [parse_path(f"<{text}>", smtputf8=False) for text in (sender, recipient)]
    verdict = decide_recipient(gateway.directory(), session_facts(came), *paths)
    event, message = ("RECEIVE", "1") if verdict.accepted else ("REFUSE", "")
    said = {"connector": verdict.connector, "reply": verdict.reply.text, "detail": verdict.detail()}
    write_events(gateway.data / "trace", "0", [msgspec.structs.replace(came, event=event, message=message, **said)])


@pytest.mark.parametrize("mode", ["rehearse", "enforce"])
@pytest.mark.parametrize("replay", [False, True])
def test_what_the_recipients_organization_demands_is_not_put_down_to_a_connector_of_the_same_name(
    gateway, mode, replay
):
    two_of_a_name(gateway, mode)
    contoso = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    found = rehearsed(gateway, contoso, "in", replay=replay)
    assert ("secret" in repr(found), found.failed) == (False, 0)
    counted = count_verdicts.function(
        Context(gateway, contoso, lambda: None), CountVerdicts(connectors=[ConnectorKey("contoso", "inbound", "in")])
    )
    assert sum(verdicts.failed for verdicts in counted.values()) == 0


@pytest.mark.parametrize("name", ["in", "from partners"])
@pytest.mark.parametrize("mode", ["rehearse", "enforce"])
def test_what_it_refuses_of_another_tenants_server_is_in_its_own_report(gateway, mode, name):
    two_of_a_name(gateway, mode, name)
    found = rehearsed(gateway, TENANT, name)
    assert (found.failed, found.passed) == (1, 0)
    assert "mx.secret.example" in found.groups[0].why
