from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.unit.analysis.conftest import certified, hop_row, session_row, stored

from gatepost.analysis.rehearsal.recorded import Effect
from gatepost.analysis.rehearsal.replay import COLUMNS, Replay, RowReplay, enforced
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.connectors.values import Mode

MakeDirectory = Callable[[str], Directory]

BEFORE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "bank"
sender_domains = ["bank.example"]
enabled = false
[[organization.contoso.outbound_connector]]
name = "lab"
recipient_domains = ["lab.example"]
mode = "rehearse"
tls_settings = "encryption-only"
[organization.fabrikam]
"""
RULED = BEFORE.replace(
    "[organization.fabrikam]",
    '[[organization.contoso.mail_flow_rule]]\nname = "r"\nsenders = ["ann@contoso.example"]\nrequire_tls = true',
)
CLEAR = {"tls": {}, "achieved": "none/none", "detail": {"starttls_offered": False, "attempt": 1}}


def decide_again(event, directory):
    """By one configuration, which is taken for the one that the row was decided by as well."""
    return Replay(directory).decide(event)


def test_inbound_and_outbound_rows_are_decided_and_others_are_not(directory: MakeDirectory) -> None:
    assert decide_again(session_row(), directory(BEFORE)).outcome is Effect.ACCEPTED
    assert decide_again(hop_row(**CLEAR), directory(BEFORE)).outcome is Effect.DELIVERED
    with pytest.raises(ValueError, match="HOLD is no decision"):
        decide_again(hop_row(event="HOLD"), directory(BEFORE))


@pytest.mark.parametrize(("kind", "row"), [("inbound", session_row()), ("outbound", hop_row(**CLEAR))])
def test_a_connector_can_be_thought_enforced(directory: MakeDirectory, kind: str, row: TraceEvent) -> None:
    before = directory(BEFORE)
    owner = before.resources.organizations[0]
    connector = (owner.inbound_connectors if kind == "inbound" else owner.outbound_connectors)[0]
    after = enforced(before, "contoso", connector)
    assert decide_again(row, after).outcome in {Effect.REFUSED, Effect.HELD}
    assert decide_again(row, after).connector == connector.name
    changed = after.resources.organizations[0]
    other = changed.outbound_connectors[0] if kind == "inbound" else changed.inbound_connectors[0]
    assert (other.mode is Mode.REHEARSE) is isinstance(other, OutboundConnector), "the other one stays as it was"
    assert after.resources.organizations[1] is before.resources.organizations[1]


def user_row(**fields: Any) -> TraceEvent:
    return session_row(**{"detail": {"basis": "login", "user": "ann@contoso.example", "mechanism": "PLAIN"}, **fields})


# A row, what differs in the other, whether both are decided at once; with rules, other things matter.
SAME: list[tuple[Callable[..., TraceEvent], dict[str, Any], bool, bool]] = [
    (session_row, {"message": "2b", "session": "other", "peer_host": "other", "at": 5.0}, True, True),
    (session_row, {"sender": "other@bank.example"}, True, True),
    (session_row, {"sender": "other@x.example"}, False, False),
    (session_row, {"recipient": "joe@contoso.example"}, False, False),
    (session_row, {"peer_address": "192.0.2.2"}, False, False),
    (session_row, {"tls": certified("a")}, False, False),
    (session_row, {"detail": {"basis": "login", "user": "ann@contoso.example"}}, False, False),
    (user_row, {"message": "2b"}, True, True),
    (user_row, {"sender": "other@bank.example"}, False, False),
    (hop_row, {"message": "3c", "session": "other", "reply": "250 other"}, True, True),
    (hop_row, {"recipient": "other@lab.example"}, True, True),
    (hop_row, {"subject": "other"}, True, True),
    (hop_row, {"sender": "other@contoso.example"}, True, False),
    (hop_row, {"recipient": "joe@x.example"}, False, False),
    (hop_row, {"recipient": "a@contoso.example"}, False, False),
    (hop_row, {"detail": {"attempt": 1, "reasons": ["other"]}}, True, True),
    (hop_row, {"detail": {"attempt": 1, "handshake_error": "alert"}}, False, False),
    (hop_row, {"organization": "fabrikam"}, False, False),
    (hop_row, {"direction": "incoming"}, False, False),
    (hop_row, {"peer_host": "other"}, False, False),
    (hop_row, {"requirement": "encrypted"}, False, False),
]


@pytest.mark.parametrize(("make", "change", "plain", "ruled"), SAME)
def test_the_same_facts_are_decided_once(
    directory: MakeDirectory,
    make: Callable[..., TraceEvent],
    change: dict[str, Any],
    plain: bool,
    ruled: bool,
) -> None:
    for text, same in ((BEFORE, plain), (RULED, ruled)):
        rows = RowReplay([Replay(directory(text)), Replay(directory(BEFORE))])
        first = rows.decide(stored(COLUMNS, make()))
        assert rows.decide(stored(COLUMNS, make())) is first
        assert (rows.decide(stored(COLUMNS, make(**change))) is first) is same


@pytest.mark.parametrize(
    ("asks", "change", "same"),
    [
        ('recipients = ["lab.example"]', {"recipient": "other@lab.example"}, False),
        ('except_recipients = ["lab.example"]', {"recipient": "other@lab.example"}, False),
        ('except_senders = ["x.example"]', {"sender": "other@contoso.example"}, False),
        ('header_name = "X-Secret"', {"sender": "other@contoso.example", "recipient": "other@lab.example"}, True),
        ('header_name = "X-Secret"', {"subject": "other"}, True),
        ('header_name = "Subject"', {"subject": "other"}, False),
    ],
)
def test_of_what_rules_do_not_ask_nothing_depends(
    directory: MakeDirectory, asks: str, change: dict[str, Any], same: bool
) -> None:
    rule = f'[[organization.contoso.mail_flow_rule]]\nname = "r"\n{asks}\nrequire_tls = true\n'
    ruled = BEFORE.replace("[organization.fabrikam]", f"{rule}[organization.fabrikam]")
    assert ruled != BEFORE
    rows = RowReplay([Replay(directory(BEFORE)), Replay(directory(ruled))])
    first = rows.decide(stored(COLUMNS, hop_row()))
    assert (rows.decide(stored(COLUMNS, hop_row(**change))) is first) is same


def test_a_row_is_decided_as_the_event_it_is_of(directory: MakeDirectory) -> None:
    both = directory(BEFORE), directory(RULED)
    rows = RowReplay([Replay(one) for one in both])
    for event in (session_row(), hop_row(**CLEAR), session_row(sender='"a@b"@bank.example', recipient="postmaster")):
        assert rows.decide(stored(COLUMNS, event)) == tuple(decide_again(event, one) for one in both)


def test_what_is_known_is_bounded(directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.analysis.rehearsal.replay._KEPT", 2)
    rows = RowReplay([Replay(directory(BEFORE))])
    events = [msgspec.structs.replace(session_row(), peer_address=f"192.0.2.{number}") for number in range(5)]
    decided = [rows.decide(stored(COLUMNS, event)) for event in events]
    assert [rows.decide(stored(COLUMNS, event)) for event in events] == decided
