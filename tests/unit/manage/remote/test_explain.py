from __future__ import annotations

import msgspec
import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote.connection import RestResponse
from gatepost.manage.use_cases import explain as here
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.explain import ExplainMessage, explain_message
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

from .conftest import OWNER, plain

ANN, LIZ, OUT = "ann@contoso.example", "liz@fabrikam.example", "joe@bank.example"
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
QUESTIONS = {
    "to a mailbox": ExplainMessage(sender=OUT, to=ANN),
    "to a partner": ExplainMessage(sender=ANN, to=OUT, tls="TLSv1.3"),
    "the null reverse-path": ExplainMessage(sender="<>", to=ANN),
    "between organizations": ExplainMessage(sender=ANN, to=LIZ, ip="192.0.2.7"),
    "with a header": ExplainMessage(sender=ANN, to=OUT, header=["Subject: grüße", "TLS-Required: No"]),
    "with REQUIRETLS": ExplainMessage(sender=ANN, to=OUT, requiretls=True),
    "nobody's": ExplainMessage(sender="x@other.test", to="y@internet.test"),
    "nobody there": ExplainMessage(sender=OUT, to="nobody@contoso.example"),
}
WRONG = {
    "no address": ExplainMessage(sender="a b", to=""),
    "no session": ExplainMessage(sender=ANN, to=OUT, ip="here", tls="none", requiretls=True),
    "no certificate": ExplainMessage(sender=ANN, to=OUT, certificate="none"),
    "a damaged certificate": ExplainMessage(sender=ANN, to=OUT, certificate="-----BEGIN CERTIFICATE-----\nAAAA"),
    "no field": ExplainMessage(sender=ANN, to=OUT, header=["no field"]),
}


def said(ask):
    """What is told, or why it is not."""
    try:
        return plain(msgspec.to_builtins(ask()))
    except Refusal as refusal:
        return refusal.kind, refusal.errors, refusal.text


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("who", [OWNER, TENANT], ids=["owner", "tenant"])
def test_what_would_happen_is_the_same(there, remote, question, who):
    there.api.who = who
    expected = said(lambda: LocalClient(there.api.gateway, who).call(explain_message, question))
    assert said(lambda: remote.call(explain_message, question)) == expected
    assert who is TENANT or isinstance(expected, dict)


@pytest.mark.parametrize("question", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_the_same(remote, local, question):
    expected = said(lambda: local.call(explain_message, question))
    assert said(lambda: remote.call(explain_message, question)) == expected
    assert expected[0] is RefusalKind.INPUT


def test_too_many_looks_at_once_are_a_conflict_as_here(remote, monkeypatch):
    monkeypatch.setattr(here, "_LIVE", ConcurrencyLimit(0, 0, "under way"))
    with pytest.raises(Refusal, match="under way") as refused:
        remote.call(explain_message, ExplainMessage(sender=ANN, to=OUT, live=True))
    assert refused.value.kind is RefusalKind.CONFLICT


def test_an_answer_that_lacks_something_is_none(remote, there, monkeypatch):
    question = ExplainMessage(sender=ANN, to=OUT)
    whole = msgspec.to_builtins(remote.call(explain_message, question))
    for name in ("withheld", "dkim", "from"):
        told = {key: value for key, value in whole.items() if key != name}
        monkeypatch.setattr(there, "call", lambda *_, told=told, **__: RestResponse(told, ""))
        with pytest.raises(Refusal, match="not what this version of the command expects"):
            remote.call(explain_message, question)
