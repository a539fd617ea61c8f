from __future__ import annotations

import json
import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.evidence_log import evidence_log
from gatepost.manage.use_cases.message_evidence import message_evidence
from gatepost.manage.use_cases.refusal import Kind, Refusal

MESSAGE = "0cac32df48800000"


def event(organization, place=0.0, message=MESSAGE):
    at = time.time() - 60 + place
    return TraceEvent(at, "HOLD", message, organization, "originating", "5e55", "a@a.example", "b@b.example")


def chosen(file):
    with file:
        text = file.read().decode()
    json.loads(text)
    return text.count('\\"event\\":\\"HOLD\\"') + text.count('"event": "HOLD"') + text.count('"event":"HOLD"')


def test_the_entries_of_what_is_seen_are_handed_out(gateway):
    contoso, fabrikam = event("contoso"), event("fabrikam", 1)
    evidence_log(gateway.settings)([contoso, fabrikam, event("contoso", 2, "0cac32df48800001")])
    assert chosen(message_evidence(gateway, MESSAGE, [contoso, fabrikam])) == 2
    assert chosen(message_evidence(gateway, MESSAGE, [contoso])) == 1


def test_what_the_log_does_not_have(gateway):
    evidence_log(gateway.settings)([event("contoso")])
    with pytest.raises(Refusal) as refused:
        message_evidence(gateway, "0cac32df48800001", [event("contoso")])
    assert refused.value.kind is Kind.MISSING
