"""What reports count by, asked of rows in SQLite; system tests ask PostgreSQL the same."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.trace import write_events
from gatepost.store.trace import HopKind, tally_days
from gatepost.store.trace_kinds import Dialect, counted, refused_for_recipient
from gatepost.values import replace

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
NAMES = '["mx.partner.example"]'
ROW = {
    "connector": "out",
    "requirement": "authenticated(mx.partner.example)",
    "achieved": "mx/authenticated",
    "tls_version": "TLSv1.3",
    "tls_group": "X25519",
    "peer_host": "MX.partner.example",
    "tls": {"suite": "TLS_AES_256_GCM_SHA384", "chain": "trusted", "certificate": {"names": ["mx.partner.example"]}},
}
SOURCES = ["connector:out", "rule:r", "sender:all"]
WHOLE = {
    "connector": "out", "requirement": "authenticated(mx.partner.example)", "host": "mx.partner.example",
    "names": NAMES, "sources": '["connector:out","rule:r","sender:all"]',
}  # fmt: skip
LEVEL_ALONE = {"connector": "", "requirement": "authenticated", "host": "", "names": "", "sources": '["sender:all"]'}


def kinds(directory, *events):
    write_events(directory, "0", list(events))
    days = tally_days(SqliteTrace(directory), "2025-11-24", "2025-11-24")
    return [kind for _, found in days for kind in found.elements()]


def event(event="SEND", detail=None, **more):
    people = "ann@Contoso.example", "bob@Partner.example"
    return TraceEvent(NOON, event, "01", "contoso", "originating", "s", *people, detail=detail or {}, **more)


@pytest.mark.parametrize(
    ("whose", "shown"),
    [
        ({}, WHOLE),
        ({"connector_organization": "fabrikam"}, LEVEL_ALONE),
        ({"domain_organization": "fabrikam"}, LEVEL_ALONE | {"connector": "out"}),
        ({"connector_of_recipient": True}, WHOLE | {"connector": "", "requirement": "authenticated"}),
    ],
)
def test_what_is_another_organizations_is_not_counted_by(tmp_path, whose, shown):
    (kind,) = kinds(tmp_path, event(detail={"requirement_sources": SOURCES} | whose, **ROW))
    assert {name: getattr(kind, name) for name in shown} == shown


@pytest.mark.parametrize("requirement", ["", "encrypted", "encrypted with TLSv1.3"])
def test_a_requirement_that_names_nobody_is_counted_by_whole(tmp_path, requirement):
    row = event(requirement=requirement, detail={"connector_organization": "fabrikam"})
    assert [kind.requirement for kind in kinds(tmp_path, row)] == [requirement]


@pytest.mark.parametrize(
    ("name", "partner"),
    [
        ("RECEIVE", "contoso.example"),
        ("REFUSE", "contoso.example"),
        ("SEND", "partner.example"),
        ("DEFER", "partner.example"),
        ("FAIL", "partner.example"),
    ],
)
def test_the_partner_is_the_other_side(tmp_path, name, partner):
    assert [(kind.event, kind.partner) for kind in kinds(tmp_path, event(name))] == [(name, partner)]


def test_a_handshake_that_failed_is_no_mail(tmp_path):
    assert [kind.event for kind in kinds(tmp_path, event("TLSFAIL", **ROW), event())] == ["SEND"]


def test_what_another_organization_refuses_counts_there_as_of_a_stranger(tmp_path):
    """Its sender's connector and requirement are not told; its host and certificate were shown to the gateway."""
    detail = {"recipient_organization": "fabrikam", "refused_by_connector": "in", "requirement_sources": SOURCES}
    refused = event("REFUSE", detail, reply="550 5.7.51 no", result_type="x", **ROW)
    received, own, theirs = sorted(kinds(tmp_path, refused, replace(refused, event="RECEIVE")))
    assert received.organization == "contoso", "what was received is counted once"
    assert (own.organization, own.connector, own.status) == ("contoso", "out", "")
    assert theirs == HopKind(
        "fabrikam", "incoming", "REFUSE", "in", "contoso.example", "", "", "mx/authenticated", "TLSv1.3", "X25519",
        "TLS_AES_256_GCM_SHA384", "trusted", "mx.partner.example", NAMES, "x", "5.7.51",
    )  # fmt: skip


OTHERS = {"recipient_organization": "fabrikam", "would_refuse_connector": "in"}
TRIALS = {
    "refused by a connector": (event(event="REFUSE", connector="in", reply="530 5.7.0 Must issue it"), ("5.7.0", "")),
    "a code alone": (event(event="REFUSE", reply="550 5.1.1"), ("5.1.1", "")),
    "not refused": (event(event="DEFER", reply="451 4.4.1 later"), ("", "")),
    "would be refused": (event(event="RECEIVE", detail={"would_refuse_connector": "it's"}), ("", "it's")),
    "would be refused by the recipient's organization": (
        event(event="RECEIVE", detail=OTHERS | {"would_refuse_organization": "fabrikam"}),
        ("", ""),
    ),
    "would be refused on the way to another organization": (
        event(event="RECEIVE", detail=OTHERS | {"would_refuse_organization": "contoso"}),
        ("", "in"),
    ),
    "refused by the recipient's organization": (
        event(event="REFUSE", connector="in", reply="550 5.7.51 no", detail={"recipient_organization": "fabrikam"}),
        ("", ""),
    ),
    "would be held": (
        event(connector="out", detail={"rehearsal": {"passed": False, "sources": ["rule:r", "connector:out"]}}),
        ("", "out"),
    ),
    "would be held by a rule": (
        event(connector="out", detail={"rehearsal": {"passed": False, "sources": ["rule:r"]}}),
        ("", ""),
    ),
    "would be held by another organization's connector": (
        event(
            connector="out",
            detail={"rehearsal": {"passed": False, "sources": ["connector:out"]}, "connector_organization": "fabrikam"},
        ),
        ("", ""),
    ),
    "would be sent": (
        event(connector="out", detail={"rehearsal": {"passed": True, "sources": ["connector:out"]}}),
        ("", ""),
    ),
}


@pytest.mark.parametrize(("row", "found"), TRIALS.values(), ids=TRIALS)
def test_what_connectors_said_is_counted_too(tmp_path, row, found):
    (kind,) = kinds(tmp_path, row)
    assert (kind.status, kind.trial_failed_by) == found


def test_each_engine_selects_the_fields_of_a_kind_in_their_order():
    """Rows are read by place: one field too few or too many would shift all behind it."""
    words = {name: f"<{name}>" for name in Dialect._fields}
    dialect = Dialect(**words | {"domain": "<domain of {}>".format})
    for fields in (counted(dialect), refused_for_recipient(dialect)):
        by_name = dict(zip(HopKind._fields, fields, strict=True))
        assert "<domain of sender>" in by_name["partner"]
        assert (by_name["achieved"], by_name["result_type"]) == ("achieved", "result_type")
        assert "<tls> ->> 'suite'" in by_name["suite"]
        assert "<names>" in by_name["names"]
        assert "<code>" in by_name["status"]
