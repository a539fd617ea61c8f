from __future__ import annotations

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.domain_conflicts import judge_grants
from gatepost.language import in_language
from gatepost.policy.connectors.grants import mark
from gatepost.policy.connectors.model import parse
from gatepost.sentences import ours

NOTHING = {"contoso": {"granted": []}}


def resources(*mailboxes):
    boxes = [{"address": f"{name}@a.example", "delivery": f"lmtp:unix:/run/{name}"} for name in mailboxes]
    return parse({"organization": {"contoso": {"accepted_domain": [{"name": "a.example"}], "mailbox": boxes}}})


@pytest.mark.parametrize(("mailboxes", "more"), [(["ann"], ""), (["ann", "bob", "cy"], "And 2 more.")])
def test_what_no_owner_granted_is_said_once(mailboxes, more):
    (alarm,) = judge_grants(mark(resources(*mailboxes), NOTHING))
    assert (alarm.kind, alarm.severity, alarm.kind.of_mail) == (Kind.NOT_GRANTED, Severity.ERROR, False)
    assert "lmtp:unix:/run/ann" in alarm.detail
    assert more in alarm.detail


@pytest.mark.parametrize(("mailboxes", "end"), [(["ann"], "entfernen Sie es."), (["ann", "bob"], "Und 1 weitere.")])
def test_it_is_translated_as_a_whole(mailboxes, end):
    (alarm,) = judge_grants(mark(resources(*mailboxes), NOTHING))
    with in_language("de"):
        text = ours(alarm.detail)
    assert "was kein Besitzer dieses Gateways freigegeben hat: Es hat keine Wirkung" in text
    assert text.endswith(end)


def test_what_is_granted_is_no_alarm():
    assert judge_grants(resources("ann")) == ()
